"""heddle queue work: what becomes of messages, and of commands, however they end. With a daemon."""

import json
import os
import signal
import subprocess
import tempfile
import time
import unittest

from command import HEDDLE, OnPlane, both_planes


def eventually(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Work(OnPlane):
    def setUp(self):
        super().setUp()
        self.ok("create")

    def put(self, *bodies):
        self.ok("put", "-", "--lines", given="".join(body + "\n" for body in bodies))

    def work(self, *arguments, command):
        return self.on_queue("work", *arguments, "--", *command)

    def start(self, *arguments, command):
        return subprocess.Popen(
            [HEDDLE, "queue", "work", self.queue, "--plane", self.plane, *arguments, "--",
             *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def counts(self):
        return json.loads(self.ok("info", "--json"))["counts"]

    def test_done(self):
        self.put("a", "b", "[c]")
        ended = self.work("--timeout", "0", command=["sed", "s/^/got /;s/$/\\n/"])
        self.assertEqual(ended.status, 0, ended)
        self.assertEqual(ended.out.split(), "got a got b got [c]".split())
        self.assertEqual(ended.err, f"heddle: queue {self.queue}: 3 done\n")
        self.assertEqual(self.counts()["unfinished"], 0)

    def test_environment_and_arguments(self):
        identity = json.loads(self.ok("put", "x", "--json"))["id"]
        script = 'echo "$HEDDLE_QUEUE $HEDDLE_MESSAGE_ID $HEDDLE_DELIVERY $1 $(cat)"'
        ended = self.work("-t", "0", command=["sh", "-c", script, "sh", "[1,2]"])
        self.assertEqual(ended.out, f"{self.queue} {identity} 1 [1,2] x\n")

    def test_parallel(self):
        self.put(*[str(number) for number in range(8)])
        # Each waits for three others to run beside it.
        with tempfile.TemporaryDirectory() as here:
            script = ('read -r n; : > "$0/$n"; '
                      'until [ "$(ls "$0" | wc -l)" -ge 4 ]; do sleep 0.02; done')
            ended = self.work("-P", "4", "-t", "0", "--json", command=["sh", "-c", script, here])
        self.assertEqual(ended.status, 0, ended)
        self.assertEqual(ended.json["done"], 8)

    def test_large_message_nobody_reads(self):
        self.assertEqual(self.on_queue("put", "-", given=b"x" * 3_000_000).status, 0)
        self.assertEqual(self.work("-t", "0", command=["true"]).status, 0)

    def test_fails_then_succeeds(self):
        self.put("x")
        ended = self.work("-t", "0", "--json", command=["sh", "-c", "test $HEDDLE_DELIVERY = 3"])
        self.assertEqual(ended.status, 0, ended)
        self.assertEqual((ended.json["done"], ended.json["failed"]), (1, 2))

    def test_buried(self):
        self.put("x")
        started = time.monotonic()
        ended = self.work("-t", "0", "--max-deliveries", "3", command=["sh", "-c", "exit 9"])
        self.assertEqual(ended.status, 3, ended)
        self.assertGreaterEqual(time.monotonic() - started, 0.3)  # 100 ms and 200 ms of back-off
        self.assertIn("exit 9; delivery 1 of 3, again in 100ms", ended.err)
        self.assertIn("exit 9; delivery 2 of 3, again in 200ms", ended.err)
        self.assertIn("buried after 3 deliveries", ended.err)
        self.assertEqual(self.counts()["buried"], 1)
        rows = json.loads(self.ok("browse", "--state", "buried", "--json"))["messages"]
        self.assertEqual([row["delivery_count"] for row in rows], [3])

    def test_the_queue_s_own_limit_is_met_too(self):
        for limit in (["--max-deliveries", "2"], ["--max-deliveries", "5"]):
            self.ok("delete")
            self.ok("create", *limit)
            self.put("x")
            asked = "5" if limit[1] == "2" else "2"
            ended = self.work("-t", "0", "--max-deliveries", asked, command=["sh", "-c", "exit 9"])
            self.assertEqual(ended.status, 3, ended)
            self.assertIn("exit 9; delivery 1 of 2, again in 100ms", ended.err)
            self.assertIn("buried after 2 deliveries", ended.err)
            self.assertIn(": 0 done, 1 failed and returned, 1 buried", ended.err)
            self.assertEqual(self.counts()["buried"], 1)

    def test_back_off_blocks_nobody(self):
        self.put("bad", "good")
        script = 'read -r m; echo "$m $HEDDLE_DELIVERY"; [ $m = good ] || [ $HEDDLE_DELIVERY = 2 ]'
        ended = self.work("-t", "0", command=["sh", "-c", script])
        self.assertEqual(ended.out, "bad 1\ngood 1\nbad 2\n")

    def test_try_again_is_not_counted(self):
        self.put("x")
        with tempfile.TemporaryDirectory() as here:
            script = 'echo $HEDDLE_DELIVERY; [ -e "$0/seen" ] || { : > "$0/seen"; exit 75; }'
            ended = self.work("-t", "0", command=["sh", "-c", script, here])
        self.assertEqual((ended.status, ended.out), (0, "1\n1\n"), ended)

    def test_killed_by_a_signal(self):
        self.put("x")
        ended = self.work("-t", "0", "--max-deliveries", "1", command=["sh", "-c", "kill -9 $$"])
        self.assertIn("killed by signal 9 (Killed)", ended.err)
        self.assertEqual(self.counts()["buried"], 1)

    def test_no_such_command(self):
        self.put("x")
        ended = self.work(command=["/no/such/command"])
        self.assertEqual(ended.status, 127, ended)
        self.assertIn("cannot run /no/such/command", ended.err)
        ended = self.work(command=["/etc/passwd"])
        self.assertEqual(ended.status, 126, ended)
        self.assertEqual(json.loads(self.ok("get", "--json"))["delivery_count"], 1)
        self.ends(2, "work")
        self.ends(2, "work", "--")

    def test_max(self):
        self.put("a", "b", "c")
        self.assertEqual(self.work("-n", "2", command=["cat"]).out, "a\nb\n".replace("\n", ""))
        self.assertEqual(self.counts()["ready"], 1)

    def test_end_of_stream(self):
        self.put("x")
        self.ok("shutdown")
        ended = self.work(command=["sh", "-c", "test $HEDDLE_DELIVERY = 2"])
        self.assertEqual(ended.status, 0, ended)
        self.assertEqual(self.counts()["unfinished"], 0)

    def test_term_finishes_what_runs(self):
        self.put("a", "b")
        with tempfile.TemporaryDirectory() as here:
            script = ': > "$0/started"; until [ -e "$0/go" ]; do sleep 0.02; done; cat'
            with self.start(command=["sh", "-c", script, here]) as worker:
                self.assertTrue(eventually(lambda: os.path.exists(here + "/started")))
                worker.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                self.assertIsNone(worker.poll())
                with open(here + "/go", "w", encoding="ascii"):
                    pass
                out, err = worker.communicate(timeout=20)
        self.assertEqual((worker.returncode, out), (0, "a"), err)
        self.assertEqual(self.counts()["ready"], 1)

    def test_second_signal_ends_what_runs(self):
        self.put("a")
        with tempfile.TemporaryDirectory() as here:
            script = ': > "$0/started"; exec sleep 60'
            with self.start("--json", command=["sh", "-c", script, here]) as worker:
                self.assertTrue(eventually(lambda: os.path.exists(here + "/started")))
                worker.send_signal(signal.SIGINT)
                time.sleep(0.1)
                worker.send_signal(signal.SIGINT)
                out, err = worker.communicate(timeout=20)
        self.assertEqual(json.loads(out)["released"], 1, err)
        self.assertEqual(json.loads(self.ok("get", "--json"))["delivery_count"], 1)

    def test_killed_takes_its_commands_along(self):
        self.put("a")
        with tempfile.TemporaryDirectory() as here:
            script = 'echo $$ > "$0/pid.new"; mv "$0/pid.new" "$0/pid"; exec sleep 60'
            with self.start(command=["sh", "-c", script, here]) as worker:
                self.assertTrue(eventually(lambda: os.path.exists(here + "/pid")))
                with open(here + "/pid", encoding="ascii") as file:
                    child = int(file.read())
                worker.kill()
            self.assertTrue(eventually(lambda: not alive(child)))
        if self.plane == "shm":  # over gRPC when the session's lease has run out
            got = json.loads(self.ok("get", "-t", "20s", "--json"))
            self.assertEqual((got["message"]["text"], got["delivery_count"]), ("a", 2))


load_tests = both_planes(Work)

if __name__ == "__main__":
    unittest.main()
