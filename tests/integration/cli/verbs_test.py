"""Every verb of the command, on both planes. Run under with_daemon."""

import json
import os
import signal
import subprocess
import time
import unittest

from command import HAS_GRPC, HEDDLE, LEASE_DIGITS, OnPlane, both_planes

COUNTS = {"ready", "leased", "returned", "buried", "unfinished", "bytes", "puts", "gets", "acks",
          "drops", "producers"}
OPTIONS = {"max_len", "max_bytes", "max_msg_bytes", "max_leases", "max_deliveries", "overflow",
           "eos", "on_producer_death"}
ERROR = {"reason", "code", "message", "object", "limit", "actual"}


class Verbs(OnPlane):
    def take(self, *arguments):
        """A message under a lease that outlives the command."""
        ended = self.on_manual("get", "--ack", "manual", "--json", *arguments)
        self.assertEqual(ended.status, 0, ended)
        return ended.json

    def on_manual(self, verb, *arguments):
        # Such leases are held over gRPC whatever the plane of the rest.
        if not HAS_GRPC:
            self.skipTest("libheddle_grpc.so is not built")
        plane, self.plane = self.plane, "grpc"
        try:
            return self.on_queue(verb, *arguments)
        finally:
            self.plane = plane

    def test_lifetimes_and_names_of_the_brokers_own(self):
        made = self.heddle("queue", "create", "--anonymous", "--max-len", "5")
        self.assertEqual(made.status, 0, made)
        name = made.out.strip()
        self.assertRegex(name, r"^anon/[0-9]+$")
        # Time to open it: the command that made it has ended.
        self.assertEqual(self.heddle("queue", "put", name, "x").status, 0)
        info = self.heddle("queue", "info", name, "--json").json
        self.assertEqual(info["lifetime"], "attached")
        self.assertEqual(info["options"]["max_len"], 5)
        self.assertEqual(self.heddle("queue", "get", name, "--timeout", "0").out, "x\n")
        self.ok("create", "--lifetime", "attached", "--json")
        self.assertEqual(json.loads(self.ok("info", "--json"))["lifetime"], "attached")
        error = self.ends(13, "create", "--lifetime", "kept", "--json").error
        self.assertIn("lifetime", error["message"])
        self.assertEqual(self.heddle("queue", "create").status, 2)
        self.assertEqual(self.heddle("queue", "create", "x", "--anonymous").status, 2)
        self.ends(2, "create", "--lifetime", "session")  # it would end with the command

    def test_create_info_ls_delete(self):
        made = json.loads(self.ok("create", "--max-len", "2", "--max-bytes", "1M", "--overflow",
                                  "reject", "--mode", "0640", "--json"))
        self.assertTrue(made["created"])
        again = json.loads(self.ok("create", "--max-len", "2", "--json"))
        self.assertFalse(again["created"])
        info = json.loads(self.ok("info", "--json"))
        self.assertEqual(set(info["counts"]), COUNTS)
        self.assertEqual(set(info["options"]), OPTIONS)
        self.assertEqual(info["options"]["max_len"], 2)
        self.assertEqual(info["options"]["max_bytes"], 1 << 20)
        self.assertEqual(info["options"]["overflow"], "reject")
        self.assertEqual((info["name"], info["mode"]), (self.queue, "0640"))
        self.assertIn("max_len             2\n", self.ok("info"))
        names = self.heddle("queue", "ls", self.queue, "--names")
        self.assertEqual(names.out, self.queue + "\n")
        rows = self.heddle("queue", "ls", self.queue, "--json").json["queues"]
        self.assertEqual([row["name"] for row in rows], [self.queue])
        objects = self.heddle("ls", self.queue, "--json").json["objects"]
        self.assertEqual([(row["kind"], row["name"]) for row in objects], [("queue", self.queue)])
        self.assertEqual(self.ok("delete"), "")
        self.ends(4, "info")
        self.ends(4, "delete")

    def test_exists_with_other_options(self):
        self.ok("create", "--max-len", "5")
        error = self.ends(13, "create", "--max-len", "6", "--json").error
        self.assertEqual(set(error), ERROR)
        self.assertEqual(error["reason"], "EXISTS_OTHER_OPTIONS")
        self.assertEqual(error["object"], "queue " + self.queue)
        for word in ("max_len", "5", "6"):
            self.assertIn(word, error["message"])
        self.ends(13, "create", "--exclusive")
        self.assertIn("there already", self.ends(0, "create").err)

    def test_not_found_names_the_command(self):
        for verb, *more in (["put", "x"], ["get", "-t", "0"], ["info"], ["who"], ["purge"],
                            ["shutdown"], ["join"], ["peek"], ["browse"], ["kick"], ["reopen"]):
            with self.subTest(verb):
                self.assertIn("heddle queue create " + self.queue, self.ends(4, verb, *more).err)
        error = self.ends(4, "put", "x", "--json").error
        self.assertEqual((error["reason"], error["code"]), ("NOT_FOUND", "NOT_FOUND"))

    def test_put_get_text(self):
        self.ok("create")
        self.assertEqual(self.ok("put", "h\u00e9llo"), "")
        self.assertEqual(self.ok("get"), "h\u00e9llo\n")
        self.ok("put", "")
        self.assertEqual(self.ok("get"), "\n")
        self.ok("put", "--", "-x")
        self.assertEqual(self.ok("get", "--raw"), "-x")
        for body in ("[1,2]", "status", "ls", "put", "-5", "a=b", "{}"):
            self.ok("put", body)
            self.assertEqual(self.ok("get"), body + "\n")
        identity = json.loads(self.ok("put", "x", "--json"))
        self.assertEqual(identity["name"], self.queue)
        got = json.loads(self.ok("get", "--json"))
        self.assertEqual(got, {"id": identity["id"], "message": {"text": "x", "kind": "text"},
                               "delivery_count": 1})

    def test_put_get_bytes(self):
        self.ok("create")
        body = bytes(range(256)) * 5000 + b"\n"
        self.assertEqual(self.on_queue("put", "-", given=body).status, 0)
        got = self.on_queue("get", given=b"")
        self.assertEqual((got.status, got.out == body), (0, True))
        self.assertEqual(self.on_queue("put", "-", given=b"\xff\n").status, 0)
        self.assertEqual(json.loads(self.ok("get", "--json"))["message"],
                         {"data": "/wo=", "kind": "data"})

    def test_put_get_json(self):
        self.ok("create")
        body = '{"b": 1, "a": [1.5, "x"]}'
        self.ok("put", body, "--kind", "json")
        self.assertEqual(json.loads(self.ok("peek", "--json"))["kind"], "json")
        self.assertEqual(json.loads(self.ok("get", "--json"))["message"],
                         {"json": json.loads(body), "kind": "json"})
        big = "[123456789012345678901234567890]"
        self.ok("put", big, "--kind", "json_text")
        self.assertEqual(json.loads(self.ok("get", "--json"))["message"]["json_text"], big)
        self.assertIn("not JSON", self.ends(2, "put", "{", "--kind", "json").err)

    def test_lines(self):
        self.ok("create")
        lines = [f"line {number}" for number in range(1000)] + ["", "last"]
        put = self.ok("put", "-", "--lines", "--json", given="\n".join(lines))
        self.assertEqual(json.loads(put), {"name": self.queue, "put": 1002})
        self.assertEqual(self.ok("get", "-n", "1002").split("\n"), lines + [""])
        self.ends(2, "put", "x", "--lines")

    def test_lines_into_a_full_queue(self):
        self.ok("create", "--max-len", "2")
        ended = self.ends(3, "put", "-", "--lines", "-t", "0", "--json", given="a\nb\nc\n")
        self.assertEqual((ended.error["reason"], ended.error["put"]), ("FULL", 2))
        self.assertIn("line 1 ", self.ends(7, "put", "-", "--lines", "-t", "0", given="d\n").err)

    def test_full(self):
        self.ok("create", "--max-len", "1")
        self.ok("put", "a")
        error = self.ends(7, "put", "b", "-t", "0", "--json").error
        self.assertEqual((error["reason"], error["limit"], error["actual"]), ("FULL", 1, 1))
        self.assertIn("still full after 100ms", self.ends(5, "put", "b", "-t", "100ms").err)

    def test_too_large(self):
        self.ok("create", "--max-msg-bytes", "10")
        error = self.ends(1, "put", "x" * 11, "--json").error
        self.assertEqual((error["reason"], error["limit"], error["actual"]), ("TOO_LARGE", 10, 11))

    def test_empty(self):
        self.ok("create")
        self.assertIn("empty", self.ends(5, "get", "--timeout", "0").err)
        self.assertIn("nothing came within 100ms", self.ends(5, "get", "--timeout", "100ms").err)
        self.assertEqual(self.ends(5, "get", "--timeout", "0", "--quiet").err, "")
        self.assertEqual(self.ends(5, "get", "-t", "0", "--json").error["reason"], "EMPTY")
        self.ends(5, "peek")

    def test_get_waits(self):
        self.ok("create")
        with subprocess.Popen([HEDDLE, "queue", "get", self.queue, "--plane", self.plane],
                              stdout=subprocess.PIPE, text=True) as waiting:
            time.sleep(0.2)
            self.assertIsNone(waiting.poll())
            self.ok("put", "x")
            self.assertEqual(waiting.communicate(timeout=20)[0], "x\n")
            self.assertEqual(waiting.returncode, 0)

    def test_interrupted(self):
        self.ok("create")
        with subprocess.Popen([HEDDLE, "queue", "get", self.queue, "--plane", self.plane]) as wait:
            time.sleep(0.2)
            wait.send_signal(signal.SIGINT)
            self.assertEqual(wait.wait(20), -signal.SIGINT)  # 130 for the shell
        self.ok("put", "x")
        self.assertEqual(self.ok("get"), "x\n")

    def test_follow(self):
        self.ok("create")
        self.ok("put", "-", "--lines", given="a\nb\nc\n")
        self.assertEqual(self.ok("get", "--follow", "-n", "2"), "a\nb\n")
        self.assertEqual(self.ends(5, "get", "--follow", "--timeout", "50ms").out, "c\n")
        self.ok("put", "d")
        self.ok("shutdown")
        self.assertEqual(self.ok("get", "--follow"), "d\n")

    def test_a_reader_that_has_enough(self):
        self.ok("create")
        self.ok("put", "-", "--lines", given="".join(f"{n}\n" for n in range(5000)))
        command = f"{HEDDLE} queue get {self.queue} --follow --plane {self.plane} | head -n 1"
        shell = subprocess.run(["bash", "-c", command + "; exit ${PIPESTATUS[0]}"],
                               capture_output=True, text=True, timeout=25, check=False)
        self.assertEqual((shell.stdout, shell.stderr), ("0\n", ""))
        self.assertEqual(shell.returncode, 128 + signal.SIGPIPE)
        info = json.loads(self.ok("info", "--json"))["counts"]
        self.assertEqual(info["leased"], 0)
        self.assertEqual(info["unfinished"] + info["acks"], 5000)

    def test_what_cannot_be_written_goes_back(self):
        self.ok("create")
        self.ok("put", "x")
        with open("/dev/full", "wb") as full:
            process = subprocess.run([HEDDLE, "queue", "get", self.queue, "--plane", self.plane],
                                     stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(process.returncode, 1)
        self.assertIn("cannot write to stdout", process.stderr)
        self.assertEqual(json.loads(self.ok("get", "--json"))["message"]["text"], "x")

    def test_ack_outlives_the_command(self):
        self.ok("create")
        self.ok("put", "x")
        taken = self.take("--lease", "30s")
        self.assertEqual(len(taken["lease"]), LEASE_DIGITS)
        self.assertEqual(json.loads(self.ok("info", "--json"))["counts"]["leased"], 1)
        self.assertEqual(self.on_manual("extend", taken["lease"], "--lease", "1m").status, 0)
        row = json.loads(self.ok("browse", "--json", "--body", "10"))["messages"][0]
        self.assertEqual((row["state"], row["message"]["text"]), ("leased", "x"))
        self.assertEqual(set(row["holder"]), {"session", "pid", "uid", "command"})
        who = json.loads(self.ok("who", "--json"))
        self.assertEqual([user["leases"] for user in who["holders"]], [1])
        self.assertIn("1 unfinished", self.ends(5, "join", "-t", "0").err)
        self.assertTrue(self.ends(5, "join", "-t", "0", "--json").error["object"])
        self.ok("browse", "--state", "ready", "--state", "leased,buried")
        self.assertIn("--mode is given more than once",
                      self.ends(2, "create", "--mode", "0600", "--mode", "0640").err)
        self.assertEqual(self.on_manual("ack", taken["lease"]).status, 0)
        self.ok("join")
        lost = self.on_manual("ack", taken["lease"], "--json")
        self.assertEqual((lost.status, lost.error["reason"]), (8, "LEASE_LOST"), lost)

    def test_nack_bury_kick(self):
        self.ok("create")
        self.ok("put", "x")
        self.assertEqual(self.on_manual("nack", self.take()["lease"]).status, 0)
        taken = self.take()
        self.assertEqual(taken["delivery_count"], 2)
        self.assertEqual(self.on_manual("nack", taken["lease"], "--uncounted").status, 0)
        taken = self.take()
        self.assertEqual(taken["delivery_count"], 2)
        self.assertEqual(self.on_manual("bury", taken["lease"]).status, 0)
        self.ends(5, "get", "-t", "0")
        rows = json.loads(self.ok("browse", "--state", "buried", "--json"))["messages"]
        self.assertEqual([row["state"] for row in rows], ["buried"])
        self.assertEqual(self.ok("kick"), "kicked 1 message\n")
        self.assertEqual(self.take()["delivery_count"], 1)

    def test_partly_settled(self):
        self.ok("create")
        self.ok("put", "x")
        lease = self.take()["lease"]
        ended = self.on_manual("ack", lease, "0" * LEASE_DIGITS, "--json")
        self.assertEqual((ended.status, ended.json["acked"]), (3, 1), ended)
        self.assertEqual(self.on_manual("ack", "nonsense").status, 2)

    def test_lease_in_text_stands_before_the_body(self):
        self.ok("create")
        self.ok("put", "two\nlines")
        lines = self.on_manual("get", "--ack", "manual").out.split("\n")
        self.assertEqual(len(lines[0]), LEASE_DIGITS)
        self.assertEqual(lines[1:], ["two", "lines", ""])

    def test_a_lease_that_runs_out(self):
        self.ok("create")
        self.ok("put", "x")
        self.take("--lease", "200ms")
        self.assertEqual(json.loads(self.ok("get", "-t", "10s", "--json"))["delivery_count"], 2)

    def test_peek_browse(self):
        self.ok("create")
        self.ok("put", "-", "--lines", given="a\nb\x1b[31m\nc\n")
        self.assertEqual(self.ok("peek"), "a\n")
        self.assertEqual(self.ok("peek", "--raw"), "a")
        rows = json.loads(self.ok("browse", "--json"))["messages"]
        self.assertEqual([row["bytes"] for row in rows], [1, 6, 1])
        self.assertEqual({row["state"] for row in rows}, {"ready"})
        after = json.loads(self.ok("browse", "--after", str(rows[1]["id"]), "--json"))["messages"]
        self.assertEqual([row["id"] for row in after], [rows[2]["id"]])
        table = self.ok("browse", "-n", "2")
        self.assertEqual(len(table.splitlines()), 3)
        self.assertIn("b\\x1b[31m", table)  # nobody's message drives the terminal
        self.assertEqual(self.ok("get", "-n", "3").count("\n"), 3)

    def test_purge(self):
        self.ok("create")
        self.ok("put", "-", "--lines", given="a\nb\n")
        self.assertEqual(self.ok("purge"), "purged 2 messages\n")
        self.assertEqual(json.loads(self.ok("purge", "--state", "all", "--json"))["purged"], 0)

    def test_end_of_stream(self):
        self.ok("create")
        self.ok("put", "x")
        self.ok("shutdown")
        self.assertIn("reopen", self.ends(11, "put", "y").err)
        self.assertEqual(self.ok("get"), "x\n")
        self.assertEqual(self.ends(6, "get", "--json").error["reason"], "END_OF_STREAM")
        self.assertIn("closed", self.heddle("queue", "ls", self.queue).out)
        self.ok("reopen")
        self.ok("put", "z")
        self.ok("shutdown", "--immediate")
        self.ends(6, "get")

    def test_last_producer(self):
        self.ok("create", "--eos", "last_producer", "--on-producer-death", "error")
        self.ok("put", "-", "--lines", "--producer", given="a\nb\n")
        self.assertEqual(self.ok("get", "--follow"), "a\nb\n")

    def test_names(self):
        for name in ("", "/x", ".x", "a b", "x" * 201, "sys/x"):
            with self.subTest(name):
                ended = self.heddle("queue", "create", name)
                self.assertIn(ended.status, (2, 9), ended)
        self.assertEqual(self.heddle("queue", "create", "~/own." + self.plane).status, 0)
        self.assertEqual(self.heddle("queue", "info", "~/own." + self.plane).status, 0)

    def test_the_daemon(self):
        ping = self.heddle("ping", "--json").json
        self.assertEqual(ping["plane"], self.plane)
        self.assertGreater(ping["round_trip_ns"], 0)
        self.assertIn(f"over {self.plane} at", self.heddle("ping").out)
        status = self.heddle("status", "--json").json
        self.assertGreater(status["broker_pid"], 1)
        self.assertGreaterEqual(status["incarnation"], 1)
        self.assertEqual(status["supervisor_pid"], int(os.environ["HEDDLE_DAEMON_PID"]))
        self.assertRegex(status["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual(status["version"], ping["version"])
        broker = next(line for line in self.heddle("status").out.splitlines()
                      if line.startswith("broker "))
        self.assertIn(f"pid {status['broker_pid']}", broker)
        # The suite of the other plane, which kills one, may have run before.
        times = status["incarnation"] - 1
        self.assertIn("not restarted since heddled started" if times == 0 else
                      f"restarted {times} time", broker)
        sessions = self.heddle("session", "ls", "--json").json["sessions"]
        self.assertIn(self.plane, {session["plane"] for session in sessions})
        self.assertIn("SESSION", self.heddle("session", "ls").out)

    def test_the_broker_dies(self):
        self.ok("create")
        self.ok("put", "before")
        broker = self.heddle("status", "--json").json["broker_pid"]
        with subprocess.Popen([HEDDLE, "queue", "get", self.queue, "-f", "-n", "2", "-t", "20s",
                               "--plane", self.plane], stdout=subprocess.PIPE, text=True) as get:
            self.assertEqual(get.stdout.readline(), "before\n")
            os.kill(broker, signal.SIGKILL)
            self.ok("put", "after")
            self.assertEqual(get.communicate(timeout=25)[0], "after\n")
            self.assertEqual(get.returncode, 0)
        status = self.heddle("status", "--json").json
        self.assertNotEqual(status["broker_pid"], broker)
        self.assertGreaterEqual(status["incarnation"], 2)
        self.assertIn("since heddled started", self.heddle("status").out)
        self.assertNotIn("not restarted", self.heddle("status").out)
        self.assertEqual(json.loads(self.ok("info", "--json"))["counts"]["unfinished"], 0)


@unittest.skipUnless(os.geteuid() == 0 and HAS_GRPC, "needs root to be somebody else, and gRPC")
class Rights(OnPlane, unittest.TestCase):
    """Another user, who may read a queue, and one that does not exist for him."""

    plane = "auto"

    def as_nobody(self, verb, name, *arguments):
        os.chmod(os.path.dirname(os.environ["HEDDLE_RUNTIME_DIR"]), 0o711)
        command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", HEDDLE]
        if subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
            self.skipTest("the build is not readable for others")
        return subprocess.run([*command, "queue", verb, name, *arguments], capture_output=True,
                              text=True, timeout=25, check=False)

    def test_reading_alone(self):
        self.ok("create", "--mode", "0644")
        self.ok("put", "x")
        self.assertEqual(self.as_nobody("peek", self.queue).stdout, "x\n")
        denied = self.as_nobody("put", self.queue, "y", "--json")
        self.assertEqual(denied.returncode, 9, denied)
        self.assertEqual(json.loads(denied.stderr)["error"]["reason"], "DENIED")
        self.assertEqual(self.as_nobody("get", self.queue, "--timeout", "0").returncode, 9)
        self.assertEqual(self.as_nobody("delete", self.queue).returncode, 9)

    def test_hidden(self):
        self.ok("create")
        self.assertEqual(self.as_nobody("peek", self.queue).returncode, 4)
        self.assertNotIn(self.queue, self.as_nobody("ls", self.queue, "--names").stdout)


class ProducerDeath(OnPlane, unittest.TestCase):
    """Told by the kernel, so on the shared-memory plane at once."""

    def test_it(self):
        self.ok("create", "--eos", "last_producer", "--on-producer-death", "error")
        with subprocess.Popen([HEDDLE, "queue", "put", self.queue, "-", "--lines", "--producer"],
                              stdin=subprocess.PIPE, text=True) as producer:
            producer.stdin.write("a\n")
            producer.stdin.flush()
            self.assertEqual(self.ok("get"), "a\n")
            producer.kill()
        error = self.ends(12, "get", "--json").error
        self.assertEqual(error["reason"], "PRODUCER_DIED")

    def test_manual_leases_are_not_of_this_plane(self):
        self.ok("create")
        error = self.ends(1, "get", "--ack", "manual", "--json").error
        self.assertEqual(error["reason"], "UNSUPPORTED")


def load_tests(loader, tests, pattern):
    suite = both_planes(Verbs)(loader, tests, pattern)
    suite.addTests(loader.loadTestsFromTestCase(ProducerDeath))
    suite.addTests(loader.loadTestsFromTestCase(Rights))
    return suite


if __name__ == "__main__":
    unittest.main()
