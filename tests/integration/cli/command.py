"""What the tests of the command share: running it, and a queue of one's own per test."""

import json
import os
import subprocess
import unittest

BUILD = os.environ["HEDDLE_BUILD_DIR"]
SOURCE = os.environ["HEDDLE_SOURCE_DIR"]
HEDDLE = BUILD + "/bin/heddle"
HAS_GRPC = os.path.exists(BUILD + "/lib/libheddle_grpc.so")
LEASE_DIGITS = 48


class Ended:
    def __init__(self, process):
        self.status = process.returncode
        self.out = process.stdout
        self.err = process.stderr

    @property
    def json(self):
        return json.loads(self.out)

    @property
    def error(self):
        return json.loads(self.err)["error"]

    def __repr__(self):
        return f"status {self.status}\n--- out\n{self.out!r}\n--- err\n{self.err!r}"


def heddle(*arguments, given=b"", plane=None, environment=None):
    """Runs the command. `given` is its stdin; bytes give bytes, text gives text."""
    text = isinstance(given, str)
    command = [HEDDLE, *arguments]
    if plane:
        at = command.index("--") if "--" in command else len(command)
        command[at:at] = ["--plane", plane]
    process = subprocess.run(command, input=given, capture_output=True, text=text, timeout=25,
                             env={**os.environ, **(environment or {})}, check=False)
    if not text:
        process.stderr = process.stderr.decode()
    return Ended(process)


class OnPlane:
    """Mixed into a TestCase together with `plane`."""

    plane = "shm"

    def setUp(self):
        self.queue = f"{self.plane}.{self.id().rsplit('.', 1)[1]}"

    def heddle(self, *arguments, given="", **more):
        return heddle(*arguments, given=given, plane=self.plane, **more)

    def on_queue(self, verb, *arguments, **more):
        return self.heddle("queue", verb, self.queue, *arguments, **more)

    def ok(self, verb, *arguments, **more):
        """Runs a verb that must succeed; its stdout."""
        ended = self.on_queue(verb, *arguments, **more)
        self.assertEqual((ended.status, ended.err), (0, ""), ended)
        return ended.out

    def ends(self, status, verb, *arguments, **more):
        ended = self.on_queue(verb, *arguments, **more)
        self.assertEqual(ended.status, status, ended)
        return ended


def both_planes(*cases):
    """The suites `cases` once for each plane, as a load_tests function."""

    def load_tests(loader, _tests, _pattern):
        suite = unittest.TestSuite()
        planes = ("shm", "grpc") if HAS_GRPC else ("shm",)
        for case, plane in ((case, plane) for case in cases for plane in planes):
            name = f"{case.__name__}_{plane}"
            typed = type(name, (case, unittest.TestCase), {"plane": plane})
            suite.addTests(loader.loadTestsFromTestCase(typed))
        return suite

    return load_tests
