"""heddle pipe: a bridge between shell pipelines, and how it ends. With a daemon."""

import hashlib
import os
import signal
import subprocess
import tempfile
import time
import unittest

from command import HEDDLE, heddle

MIB = 1 << 20


class Pipes(unittest.TestCase):
    def setUp(self):
        self.name = self.id().rsplit(".", 1)[1]

    def pipe(self, verb, *arguments, given=""):
        return heddle("pipe", verb, self.name, *arguments, given=given)

    def start(self, verb, *arguments, **more):
        process = subprocess.Popen([HEDDLE, "pipe", verb, self.name, *arguments],
                                   stderr=subprocess.PIPE, **more)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stderr.close)
        return process

    def wait_until(self, condition):
        deadline = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), deadline, "it did not happen")
            time.sleep(0.01)

    def users(self, end):
        info = self.pipe("info", "--json")
        if info.status != 0 or not info.json["connections"]:
            return []
        return info.json["connections"][0][end]["users"]

    def test_a_stream_passes_from_shell_to_shell(self):
        with tempfile.NamedTemporaryFile() as source:
            data = os.urandom(MIB) * 24 + b"end"
            source.write(data)
            source.flush()
            with open(source.name, "rb") as stdin:
                sender = self.start("send", "--progress", stdin=stdin)
                receiver = self.start("recv", stdout=subprocess.PIPE)
                got = receiver.stdout.read()
                receiver.stdout.close()
        self.assertEqual(hashlib.sha256(got).digest(), hashlib.sha256(data).digest())
        self.assertEqual((sender.wait(), receiver.wait()), (0, 0))
        self.assertEqual(sender.stderr.read(), b"", "progress is for terminals")

    def test_what_was_sent_before_anybody_listened_is_there(self):
        for text in ("first\n", "second\n"):
            ended = self.pipe("send", given=text)
            self.assertEqual((ended.status, ended.err), (0, ""), ended)
        for text in ("first\n", "second\n"):
            ended = self.pipe("recv")
            self.assertEqual((ended.status, ended.out), (0, text), ended)

    def test_a_killed_sender_is_not_taken_for_the_end(self):
        sender = self.start("send", stdin=subprocess.PIPE)
        self.addCleanup(sender.stdin.close)
        sender.stdin.write(b"half of it")
        sender.stdin.flush()
        receiver = self.start("recv", stdout=subprocess.PIPE)
        self.assertEqual(receiver.stdout.read(10), b"half of it")
        sender.send_signal(signal.SIGKILL)
        self.assertEqual(receiver.wait(20), 12)
        said = receiver.stderr.read().decode()
        self.assertIn(f"pid {sender.pid}", said)
        self.assertIn("pipe " + self.name, said)
        receiver.stdout.close()

    def test_a_sender_learns_that_nobody_receives(self):
        sender = self.start("send", stdin=subprocess.PIPE)
        self.addCleanup(sender.stdin.close)
        receiver = self.start("recv", stdout=subprocess.DEVNULL)
        self.wait_until(lambda: self.users("b"))
        receiver.kill()
        receiver.wait()
        self.wait_until(lambda: not self.users("b"))
        sender.stdin.write(b"into nothing")
        sender.stdin.flush()
        self.assertEqual(sender.wait(20), 11)
        self.assertIn("nobody receives", sender.stderr.read().decode())

    def test_timeouts_and_names(self):
        self.assertEqual(self.pipe("recv", "--timeout", "50ms").status, 5)
        missing = self.pipe("info", given="")
        self.assertEqual(missing.status, 0, "recv has made it")
        missing = heddle("pipe", "info", "nobody/made/it", given="")
        self.assertEqual(missing.status, 4, missing)
        self.assertIn("heddle pipe create nobody/made/it", missing.err)

    def test_messages_keep_their_borders(self):
        self.assertEqual(self.pipe("create", "--mode", "message").status, 0)
        other = self.pipe("create", "--mode", "bytes")
        self.assertEqual(other.status, 13, other)
        self.assertIn("mode is message, asked was bytes", other.err)
        self.assertEqual(self.pipe("send", "--lines", given="one\ntwo\n").status, 0)
        first = self.pipe("recv", "-n", "1", "--json")
        self.assertEqual(first.json["text"], "one", first)

    def test_who_is_there_and_who_waits(self):
        receiver = self.start("recv", stdout=subprocess.DEVNULL)
        self.wait_until(lambda: self.users("b"))
        info = self.pipe("info", "--json").json
        self.assertEqual(info["mode"], "bytes")
        self.assertEqual(info["connections"][0]["b"]["users"][0]["pid"], receiver.pid)
        self.wait_until(lambda: self.pipe("info", "--json").json["connections"][0]["b"].get(
            "receive_blocked_ms", 0) > 20)
        text = self.pipe("info").out
        self.assertIn(str(receiver.pid), text)
        self.assertIn("waits for", text)
        listed = heddle("pipe", "ls", self.name, "--json", given="").json
        self.assertEqual([row["name"] for row in listed], [self.name])
        self.assertIn(self.name, heddle("pipe", "ls", given="").out)
        self.assertRegex(heddle("ls", self.name, given="").out, f"pipe +{self.name} .*1 connection")
        self.assertEqual(self.pipe("delete").status, 0)
        self.assertEqual(receiver.wait(20), 11)
        self.assertIn("closed", receiver.stderr.read().decode())


if __name__ == "__main__":
    unittest.main()
