#!/usr/bin/python3
"""What the tests' own tools report: with_daemon over a made-up heddled, summary.py over reports."""

import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))

FAKE_HEDDLED = """#!/usr/bin/python3
import os, signal, subprocess, sys
kind = os.environ.get("FAKE", "")
run = sys.argv[sys.argv.index("--runtime-dir") + 1]
if kind == "does not start":
    sys.exit("no room")
os.mkdir(run)
if kind == "leaves a process":
    subprocess.Popen(["sleep", "60"])
if kind == "leaves a file":
    open(run + "/local.sock", "w").close()
signal.signal(signal.SIGTERM, lambda *_: os._exit(3 if kind == "fails at the end" else 0))
print("heddled: notice: serving; broker 1", flush=True)
signal.pause()
"""

JUNIT = """<testsuite>
<testcase name="prog" status="fail"><system-out>x</system-out></testcase>
<testcase name="died" status="fail"><system-out>x</system-out></testcase>
<testcase name="odd" status="fail"><system-out>leak</system-out></testcase>
<testcase name="script" status="run"><system-out>x
shown: kill; put; 3 points, 1 states, 0.25 s
  shown: no
shown: kill; take of 2; 4 points, 2 states, 1.5 s
shown: soak; 5 clients killed
</system-out></testcase>
<testcase name="skip" status="notrun"><skipped message="SKIP_RETURN_CODE=77"/>
<system-out>start
no tracing here
</system-out></testcase>
<testcase name="gone" status="notrun"><skipped message="Unable to find executable"/></testcase>
</testsuite>"""
PROG = """<testsuites><testsuite name="A">
<testcase name="Passes" classname="A" status="run"/>
<testcase name="Fails" classname="A" status="run"><failure message="1 != 2"/></testcase>
<testcase name="Skips" classname="A" status="run"><skipped message="a.cc:2&#10;no root"/></testcase>
</testsuite></testsuites>"""
ODD = """<testsuites><testsuite><testcase name="P" classname="O" status="run"/></testsuite>
</testsuites>"""


class WithDaemon(unittest.TestCase):
    def run_fake(self, kind, *command):
        with tempfile.TemporaryDirectory() as build:
            os.mkdir(build + "/bin")
            with open(build + "/bin/heddled", "w", encoding="utf-8") as file:
                file.write(FAKE_HEDDLED)
            os.chmod(build + "/bin/heddled", 0o755)
            done = subprocess.run(
                [HERE + "/with_daemon", *command], text=True, capture_output=True, check=False,
                env={**os.environ, "HEDDLE_BUILD_DIR": build, "FAKE": kind,
                     "HEDDLE_WATCHDOG_S": "2"})
            return done.returncode, done.stdout, done.stderr

    def test_command_sees_its_daemon_and_passes_its_status_on(self):
        status, out, err = self.run_fake(
            "", "sh", "-c", 'test -d "$HEDDLE_RUNTIME_DIR" && kill -0 $HEDDLE_DAEMON_PID &&'
            ' command -v heddled && exit 7')
        self.assertEqual((status, out.strip().endswith("/bin/heddled")), (7, True), err)
        self.assertEqual(self.run_fake("", "true")[0], 0)

    def test_each_leftover_is_named(self):
        for kind, words in (("leaves a process", "(sleep)"), ("leaves a file", "local.sock"),
                            ("fails at the end", "status 3")):
            with self.subTest(kind=kind):
                status, _, err = self.run_fake(kind, "true")
                self.assertEqual(status, 99)
                self.assertIn(words, err)

    def test_daemon_that_does_not_start_shows_its_log(self):
        status, _, err = self.run_fake("does not start", "true")
        self.assertEqual(status, 98)
        self.assertIn("no room", err)

    def test_command_that_hangs_is_killed(self):
        status, _, err = self.run_fake("", "sleep", "60")
        self.assertEqual(status, 124)
        self.assertIn("did not end", err)


class Summary(unittest.TestCase):
    def test_counts_by_cases_and_names_what_did_not_pass(self):
        with tempfile.TemporaryDirectory() as root:
            for name, text in (("junit", JUNIT), ("prog.xml", PROG), ("odd.xml", ODD)):
                with open(f"{root}/{name}", "w", encoding="utf-8") as file:
                    file.write(text)
            out = subprocess.run([sys.executable, HERE + "/summary.py", "demo", root + "/junit",
                                  root], text=True, capture_output=True, check=True).stdout
        self.assertEqual(out.split("\n"), [
            "FAILED A.Fails (demo)", "SKIPPED A.Skips (demo): no root", "FAILED died (demo)",
            "FAILED odd (the program itself) (demo)", "SKIPPED skip (demo): no tracing here",
            "FAILED gone (demo)", "SHOWN script: soak: 5 clients killed",
            "SHOWN script: kill: 2 cases, 7 points, 3 states, 1.8 s", "3 4 2", ""])


if __name__ == "__main__":
    unittest.main()
