"""heddle lock, sem, event, barrier: what holds, who is told, how it ends. With a daemon.

On the plane of HEDDLE_TEST_PLANE. Over gRPC the death of a holder is known by its lease alone:
that is not a matter of the command, and tested elsewhere.
"""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import tempfile
import time
import unittest

from command import HEDDLE, heddle

PLANE = os.environ.get("HEDDLE_TEST_PLANE", "shm")
dies = unittest.skipIf(PLANE == "grpc", "a remote holder is known by its lease")
WAIT = "while [ ! -e {} ]; do sleep 0.01; done"


def eventually(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Locks(unittest.TestCase):
    def setUp(self):
        self.name = self.id().rsplit(".", 1)[1]
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.place = place.name

    def heddle(self, *arguments, **more):
        return heddle(*arguments, given=more.pop("given", ""), plane=PLANE, **more)

    def ok(self, *arguments, **more):
        ended = self.heddle(*arguments, **more)
        self.assertEqual((ended.status, ended.err), (0, ""), ended)
        return ended.out

    def ends(self, status, *arguments, **more):
        ended = self.heddle(*arguments, **more)
        self.assertEqual(ended.status, status, ended)
        return ended

    def file(self, name):
        return os.path.join(self.place, name)

    def wait_file(self, name):
        self.assertTrue(eventually(lambda: os.path.exists(self.file(name))), name)

    def read(self, name):
        with open(self.file(name), encoding="utf-8") as file:
            return file.read()

    def start(self, *arguments, **more):
        """In the background, ended with the test."""
        words = list(arguments)
        at = words.index("--") if "--" in words else len(words)
        words[at:at] = ["--plane", PLANE]
        process = subprocess.Popen([HEDDLE, *words], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True, **more)

        def clean():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()

        self.addCleanup(clean)
        return process

    def hold(self, *arguments, name="held"):
        """A command that runs until the file `name`.go is there; its pid is in `name`."""
        script = f"echo $$ > {self.file(name)}.new; mv {self.file(name)}.new {self.file(name)}; "
        script += WAIT.format(self.file(name + ".go"))
        process = self.start(*arguments, "--", "sh", "-c", script)
        self.wait_file(name)
        return process, int(self.read(name))

    def let_go(self, process, name="held"):
        with open(self.file(name + ".go"), "w", encoding="ascii"):
            pass
        out, err = process.communicate(timeout=20)
        self.assertEqual((process.returncode, out), (0, ""), err)
        return err

    def parties(self, noun, verb):
        return json.loads(self.ok(noun, verb, self.name, "--json"))[
            "holders" if verb == "who" else "waiters"]

    def wait_waiters(self, noun, count):
        def there():
            ended = self.heddle(noun, "waiters", self.name, "--json")
            return ended.status == 0 and len(ended.json["waiters"]) == count

        self.assertTrue(eventually(there))


class Run(Locks):
    def test_status_and_environment(self):
        ended = self.ends(7, "lock", "run", self.name, "--", "sh", "-c",
                          'echo "$HEDDLE_LOCK $HEDDLE_LOCK_TOKEN [$HEDDLE_LOCK_ABANDONED] $(cat)"; '
                          "exit 7", given="in")
        name, token, abandoned, given = ended.out.split()
        self.assertEqual((name, abandoned, given, ended.err), (self.name, "[]", "in", ""))
        self.assertEqual(self.ok("lock", "run", self.name, "--", "sh", "-c",
                                 "echo $HEDDLE_LOCK_TOKEN"), f"{int(token) + 1}\n")
        self.ends(128 + signal.SIGUSR1, "lock", "run", self.name, "--", "sh", "-c", "kill -USR1 $$")
        self.assertIn("/not/here", self.ends(127, "lock", "run", self.name, "--", "/not/here").err)
        self.ends(126, "lock", "run", self.name, "--", self.place)
        self.assertFalse(json.loads(self.ok("lock", "info", self.name, "--json"))["locked"])

    def test_the_inner_lock_is_the_one_that_is_told(self):
        out = self.ok("lock", "run", self.name, "--", HEDDLE, "lock", "run", self.name + ".inner",
                      "--", "sh", "-c", "echo $HEDDLE_LOCK; env | grep -c ^HEDDLE_LOCK=")
        self.assertEqual(out, self.name + ".inner\n1\n")

    def test_what_it_writes_is_fenced(self):
        self.ok("queue", "create", self.name)
        self.ok("lock", "run", self.name, "--", "sh", "-c",
                f'echo "$HEDDLE_FENCE" > {self.file("fence")}; '
                f'{HEDDLE} queue put {self.name} in-time --fence "$HEDDLE_FENCE"')
        fence = self.read("fence").strip()
        self.assertEqual(fence.split(":")[0], self.name)
        self.ok("lock", "run", self.name, "--", "true")
        late = self.ends(14, "queue", "put", self.name, "late", "--fence", fence)
        token = int(fence.split(":")[1])
        self.assertIn(f"lock {self.name}: token {token} was given and {token + 1} is the newest",
                      late.err)
        self.assertEqual(self.ends(14, "queue", "put", self.name, "-", "--lines", "--fence", fence,
                                   given="a\nb\n").out, "")
        self.assertIn("LOCK:TOKEN", self.ends(2, "queue", "put", self.name, "x", "--fence",
                                              "nothing").err)
        self.assertEqual(self.ok("queue", "get", self.name), "in-time\n")

    def test_the_same_lock_again_is_no_wait(self):
        inner = [HEDDLE, "lock", "run", self.name, "--", "sh", "-c", "echo $HEDDLE_LOCK_TOKEN"]
        tokens = self.ok("lock", "run", self.name, "--", "sh", "-c",
                         "echo $HEDDLE_LOCK_TOKEN; " + " ".join(map(shlex.quote, inner))).split()
        self.assertEqual(tokens[0], tokens[1])
        self.assertFalse(json.loads(self.ok("lock", "info", self.name, "--json"))["locked"])
        # What the environment claims is asked of the broker: somebody else has it by now.
        holder, _ = self.hold("lock", "run", self.name)
        claim = {**os.environ,
                 "HEDDLE_LOCKS_HELD": f"{self.name}:{tokens[0]}:exclusive:{holder.pid}"}
        process = self.start("lock", "run", self.name, "-t", "50ms", "--", "true", env=claim)
        self.assertEqual(process.wait(timeout=20), 124)
        self.let_go(holder)

    def test_more_than_the_outer_one_holds_fails_at_once(self):
        ended = self.ends(125, "lock", "run", self.name, "--shared", "--", HEDDLE, "lock", "run",
                          self.name, "--", "true")
        self.assertIn("held shared by the heddle lock run around this command", ended.err)
        self.ok("lock", "run", self.name, "--shared", "--", HEDDLE, "lock", "run", self.name,
                "--shared", "--", "true")
        self.assertIn("which waits for this command",
                      self.ends(125, "lock", "run", self.name, "--", HEDDLE, "lock", "elect",
                                self.name, "--", "true").err)

    @unittest.skipIf(PLANE == "grpc", "families are known by the processes of local sessions")
    def test_two_that_nest_the_other_way_round(self):
        script = ("touch {0}; while [ ! -e {1} ]; do sleep 0.01; done; "
                  "{2} lock run {3} -- true; exit $?")
        other = self.name + ".other"
        runs = []
        for mine, theirs, wanted in (("a", "b", other), ("b", "a", self.name)):
            runs.append(self.start("lock", "run", self.name if mine == "a" else other, "--", "sh",
                                   "-c", script.format(self.file(mine), self.file(theirs), HEDDLE,
                                                       wanted)))
        ended = []
        for run in runs:
            _, err = run.communicate(timeout=20)
            ended.append((run.returncode, err))
        self.assertEqual(sorted(status for status, _ in ended), [0, 125], ended)
        self.assertIn("a circle of 2 waits", max(ended)[1])

    def test_they_exclude_one_another(self):
        script = (f"mkdir {self.file('in')} || echo both; sleep 0.05; rmdir {self.file('in')}; "
                  f"echo $HEDDLE_LOCK_TOKEN >> {self.file('tokens')}")
        runs = [self.start("lock", "run", self.name, "--", "sh", "-c", script) for _ in range(4)]
        for run in runs:
            self.assertEqual(run.communicate(timeout=20), ("", ""))
            self.assertEqual(run.returncode, 0)
        tokens = [int(token) for token in self.read("tokens").split()]
        self.assertEqual(tokens, list(range(tokens[0], tokens[0] + 4)))

    def test_not_in_time(self):
        holder, _ = self.hold("lock", "run", self.name)
        start = time.monotonic()
        ended = self.ends(124, "lock", "run", self.name, "--timeout", "200ms", "--", "echo", "ran")
        self.assertGreaterEqual(time.monotonic() - start, 0.2)
        self.assertEqual(ended.out, "")
        self.assertIn(self.name, ended.err)
        self.ends(124, "lock", "run", self.name, "--timeout", "0", "--", "true")
        ended = self.ends(124, "lock", "run", self.name, "-t", "0", "--json", "--", "true")
        self.assertEqual(ended.error["reason"], "EMPTY")
        self.assertEqual(self.let_go(holder), "")
        self.ok("lock", "run", self.name, "--timeout", "0", "--", "true")

    @dies
    def test_killed(self):
        holder, command = self.hold("lock", "run", self.name)
        waiting = self.start("lock", "run", self.name, "--", "sh", "-c",
                             "echo $HEDDLE_LOCK_ABANDONED")
        self.wait_waiters("lock", 1)
        holder.kill()
        out, err = waiting.communicate(timeout=20)
        self.assertEqual((waiting.returncode, out), (0, "1\n"), err)
        self.assertIn("abandoned", err)
        self.assertTrue(eventually(lambda: not alive(command)))
        # Told once.
        self.assertEqual(self.ok("lock", "run", self.name, "--", "sh", "-c",
                                 "echo [$HEDDLE_LOCK_ABANDONED]"), "[]\n")

    def test_signals_go_on_to_the_command(self):
        script = (f"trap 'echo got > {self.file('got')}; exit 9' TERM; echo > {self.file('up')}; "
                  "while :; do sleep 0.01; done")
        holder = self.start("lock", "run", self.name, "--", "sh", "-c", script)
        self.wait_file("up")
        holder.send_signal(signal.SIGTERM)
        holder.communicate(timeout=20)
        self.assertEqual((holder.returncode, self.read("got")), (9, "got\n"))
        self.assertEqual(self.ok("lock", "run", self.name, "-t", "0", "--", "echo", "x"), "x\n")

    def test_a_signal_ends_the_wait(self):
        holder, _ = self.hold("lock", "run", self.name)
        waiting = self.start("lock", "run", self.name, "--", "echo", "ran")
        self.wait_waiters("lock", 1)
        waiting.send_signal(signal.SIGINT)
        self.assertEqual(waiting.communicate(timeout=20)[0], "")
        self.assertEqual(waiting.returncode, -signal.SIGINT)
        self.let_go(holder)

    def test_lost_while_it_ran(self):
        holder, _ = self.hold("lock", "run", self.name)
        self.ok("lock", "force-release", self.name)
        self.assertIn("was lost", self.let_go(holder))
        self.ends(8, "lock", "force-release", self.name)

    def test_shared(self):
        one, _ = self.hold("lock", "run", self.name, "--shared", name="one")
        two, _ = self.hold("lock", "run", self.name, "--shared", name="two")
        self.assertEqual({party["mode"] for party in self.parties("lock", "who")}, {"shared"})
        self.ends(124, "lock", "run", self.name, "-t", "50ms", "--", "true")
        self.let_go(one, "one")
        self.let_go(two, "two")
        self.ok("lock", "run", self.name, "-t", "0", "--", "true")
        self.ok("lock", "create", self.name + ".m")
        self.assertIn("rw", self.ends(125, "lock", "run", self.name + ".m", "--shared", "--",
                                      "true").err)


class Look(Locks):
    def test_who_and_waiters(self):
        holder, _ = self.hold("lock", "run", self.name)
        waiting = self.start("lock", "run", self.name, "--", "true")
        self.wait_waiters("lock", 1)
        held, waits = self.parties("lock", "who"), self.parties("lock", "waiters")
        self.assertEqual([(one["pid"], one["mode"], one["uid"]) for one in held],
                         [(holder.pid, "exclusive", os.getuid())])
        self.assertIn(f"lock run {self.name} --plane {PLANE} -- sh -c", held[0]["command"])
        self.assertEqual([one["pid"] for one in waits], [waiting.pid])
        self.assertTrue(waits[0]["command"].endswith("-- true"), waits)
        self.assertIn(str(holder.pid), self.ok("lock", "who", self.name))
        self.assertRegex(self.ok("lock", "ls", "-l"),
                         rf"held by pid {holder.pid} \(.*\), 1 waiting")
        edges = [edge for edge in json.loads(self.ok("lock", "graph", "--json"))["edges"]
                 if edge["name"] == self.name]
        self.assertEqual([(edge["waiter"]["pid"], edge["holders"][0]["pid"]) for edge in edges],
                         [(waiting.pid, holder.pid)])
        self.assertIn(f"mutex {self.name}\n    held by pid {holder.pid} ", self.ok("lock", "graph"))
        dot = self.ok("lock", "graph", "--dot")
        self.assertRegex(dot, rf'(?s)^digraph waits {{.*-> .*label="mutex {self.name}".*}}\n$')
        self.let_go(holder)
        self.assertEqual(waiting.wait(timeout=20), 0)
        self.assertIn("nobody holds", self.ends(0, "lock", "who", self.name).err)

    def test_manage(self):
        made = json.loads(self.ok("lock", "create", self.name, "--kind", "rlock", "--fair",
                                  "--mode", "0640", "--json"))
        shown = ("created", "variant", "fair", "mode", "locked")
        self.assertEqual({key: made[key] for key in shown},
                         {"created": True, "variant": "rlock", "fair": True, "mode": "0640",
                          "locked": False})
        self.assertIn("already", self.ends(0, "lock", "create", self.name).err)
        self.ends(13, "lock", "create", self.name, "--kind", "rw")
        self.ends(13, "lock", "create", self.name, "--exclusive")
        self.assertEqual(self.ok("lock", "ls", self.name, "--names"), self.name + "\n")
        self.assertIn(f"lock     {self.name} ", self.ok("ls") + self.ok("ls", self.name))
        self.assertEqual(json.loads(self.ok("lock", "ls", self.name, "--json"))["locks"][0]["name"],
                         self.name)
        self.assertEqual(self.ok("lock", "delete", self.name), "")
        for verb in ("info", "who", "delete", "repair", "force-release"):
            self.ends(4, "lock", verb, self.name)

    @dies
    def test_poison(self):
        self.ok("lock", "create", self.name, "--on-death", "poison")
        holder, _ = self.hold("lock", "run", self.name)
        holder.kill()
        holder.wait()
        self.assertIn("repair", self.ends(125, "lock", "run", self.name, "--", "true").err)
        self.ok("lock", "repair", self.name)
        self.assertIn("abandoned", self.ends(0, "lock", "run", self.name, "--", "true").err)

    def test_acquire(self):
        self.assertIn("lock run", self.ends(2, "lock", "acquire", self.name).err)
        holder = self.start("lock", "acquire", self.name, "--hold", stdin=subprocess.PIPE)
        token = int(holder.stdout.readline())
        self.ends(5, "lock", "acquire", self.name, "--hold", "--timeout", "0")
        holder.stdin.close()
        self.assertEqual(holder.wait(timeout=20), 0)
        holder = self.start("lock", "acquire", self.name, "--hold", stdin=subprocess.PIPE)
        self.assertEqual(int(holder.stdout.readline()), token + 1)
        self.ok("lock", "release", self.name, "--any")
        self.ok("lock", "run", self.name, "-t", "0", "--", "true")
        holder.send_signal(signal.SIGTERM)
        self.assertEqual(holder.wait(timeout=20), 8)
        self.ends(8, "lock", "release", self.name, "--any")
        holder.stdin.close()


class Elect(Locks):
    def elect(self, name):
        return self.hold("lock", "elect", self.name, name=name)

    @dies
    def test_moves_on_when_the_leader_dies(self):
        first, command = self.elect("first")
        second = self.start("lock", "elect", self.name, "--", "sh", "-c", "echo $HEDDLE_LOCK_TOKEN")
        self.wait_waiters("lock", 1)
        first.kill()
        out, err = second.communicate(timeout=20)
        self.assertEqual(second.returncode, 0, err)
        token = json.loads(self.ok("lock", "info", self.name, "--json"))["token"]
        self.assertEqual(out, f"{token}\n")
        self.assertTrue(eventually(lambda: not alive(command)))

    def test_stops_when_it_is_taken_away(self):
        for verb in ("force-release", "delete"):
            with self.subTest(verb):
                leader, command = self.elect(verb)
                self.ok("lock", verb, self.name)
                _, err = leader.communicate(timeout=20)
                self.assertEqual(leader.returncode, 128 + signal.SIGTERM)
                self.assertIn("taken away", err)
                self.assertFalse(alive(command))

    def test_kills_what_does_not_stop(self):
        script = f"trap '' TERM; echo > {self.file('up')}; while :; do sleep 0.05; done"
        leader = self.start("lock", "elect", self.name, "--", "sh", "-c", script)
        self.wait_file("up")
        start = time.monotonic()
        self.ok("lock", "force-release", self.name)
        leader.communicate(timeout=20)
        self.assertEqual(leader.returncode, 128 + signal.SIGKILL)
        self.assertGreaterEqual(time.monotonic() - start, 4.5)


class Kin(Locks):
    @dies
    def test_sem_run(self):
        one, _ = self.hold("sem", "run", self.name, "-n", "2", name="one")
        two, _ = self.hold("sem", "run", self.name, "-n", "2", name="two")
        third = self.start("sem", "run", self.name, "-n", "2", "--", "echo", "third")
        self.wait_waiters("sem", 1)
        self.assertEqual({party["pid"] for party in self.parties("sem", "who")}, {one.pid, two.pid})
        self.ends(124, "sem", "run", self.name, "-t", "50ms", "--", "true")
        self.assertIsNone(third.poll())
        one.kill()  # its permit comes back
        out, _ = third.communicate(timeout=20)
        self.assertEqual((third.returncode, out), (0, "third\n"))
        self.let_go(two, "two")
        self.assertEqual(json.loads(self.ok("sem", "info", self.name, "--json"))["free"], 2)
        self.ends(125, "sem", "run", self.name, "-n", "3", "--", "true")
        missing = self.ends(125, "sem", "run", self.name + ".no", "--", "true")
        self.assertIn("sem create", missing.err)
        self.assertIn("sem run", self.ends(2, "sem", "release", self.name).err)

    def test_counting(self):
        self.ok("sem", "create", self.name, "-n", "1", "--counting", "--max", "2")
        self.ok("sem", "acquire", self.name)
        self.ends(5, "sem", "acquire", self.name, "--timeout", "0")
        self.assertEqual(json.loads(self.ok("sem", "release", self.name, "-n", "2", "--json")),
                         {"name": self.name, "free": 2})
        self.ends(2, "sem", "release", self.name)
        self.assertIn("counting", self.ok("sem", "ls"))
        self.ok("sem", "delete", self.name)
        self.ends(4, "sem", "info", self.name)

    def test_event(self):
        self.ends(5, "event", "wait", self.name, "--timeout", "50ms")
        waiting = self.start("event", "wait", self.name)
        self.wait_waiters("event", 1)
        self.ok("event", "set", self.name)
        self.assertEqual((waiting.communicate(timeout=20), waiting.returncode), (("", ""), 0))
        self.ok("event", "wait", self.name, "--timeout", "0")
        self.assertTrue(json.loads(self.ok("event", "info", self.name, "--json"))["set"])
        self.ok("event", "clear", self.name)
        self.ends(5, "event", "wait", self.name, "--timeout", "0")
        self.ok("event", "delete", self.name)

    def test_barrier(self):
        self.assertIn("barrier create", self.ends(4, "barrier", "wait", self.name).err)
        first = self.start("barrier", "wait", self.name, "-n", "2")
        self.wait_waiters("barrier", 1)
        second = self.ok("barrier", "wait", self.name)
        out, _ = first.communicate(timeout=20)
        self.assertEqual((first.returncode, sorted([out, second])), (0, ["0\n", "1\n"]))
        # Aborted, it is broken for who waits and for who comes.
        first = self.start("barrier", "wait", self.name)
        self.wait_waiters("barrier", 1)
        self.ok("barrier", "abort", self.name)
        self.assertEqual(first.wait(timeout=20), 14)
        self.ends(14, "barrier", "wait", self.name)
        self.ok("barrier", "reset", self.name)
        self.ends(5, "barrier", "wait", self.name, "--timeout", "50ms")
        self.ends(13, "barrier", "wait", self.name, "-n", "3")


if __name__ == "__main__":
    unittest.main()
