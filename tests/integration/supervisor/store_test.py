#!/usr/bin/python3
"""The real daemon under a service manager that this test plays: what is parked in its descriptor
store outlives kill -9 of the supervisor, and a stop."""

import array
import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest

BUILD = os.environ["HEDDLE_BUILD_DIR"]
PR_SET_CHILD_SUBREAPER = 36


class Manager:
    """Keeps descriptors by name as systemd does, and hands them to the next daemon."""

    def __init__(self, directory):
        self.directory = directory
        self.store = {}
        self.said = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(directory + "/notify")
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data, ancillary, _, _ = self.socket.recvmsg(65536, socket.CMSG_SPACE(4))
            except OSError:
                return
            text = data.decode()
            name = re.search(r"FDNAME=(.*)", text)
            if "FDSTOREREMOVE=1" in text and name[1] in self.store:
                os.close(self.store.pop(name[1]))
            for _, kind, content in ancillary:
                if kind == socket.SCM_RIGHTS:
                    self.store[name[1]] = array.array("i", content)[0]
            self.said.append(text)

    def start(self):
        """A daemon that serves; its pid."""
        self.said.clear()
        names = list(self.store)
        pid = os.fork()
        if pid == 0:
            self.become_the_daemon(names)
        while not any("READY=1" in text for text in self.said):
            assert os.waitpid(pid, os.WNOHANG) == (0, 0), self.log()
            time.sleep(0.01)
        return pid

    def become_the_daemon(self, names):
        environment = dict(os.environ, NOTIFY_SOCKET=self.directory + "/notify",
                           LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(names)),
                           LISTEN_FDNAMES=":".join(names))
        for i, name in enumerate(names):
            os.dup2(self.store[name], 500 + i)
        for i in range(len(names)):
            os.dup2(500 + i, 3 + i, inheritable=True)
        log = os.open(self.directory + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.closerange(3 + len(names), 1024)
        os.execve(BUILD + "/bin/heddled", [
            "heddled", "--runtime-dir", self.directory + "/run", "--state-dir",
            self.directory + "/state"], environment)

    def log(self):
        with open(self.directory + "/log", encoding="utf-8") as file:
            return file.read()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        for fd in self.store.values():
            os.close(fd)


class Store(unittest.TestCase):
    def setUp(self):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self.directory = tempfile.TemporaryDirectory(prefix="heddle-")
        self.addCleanup(self.directory.cleanup)
        self.manager = Manager(self.directory.name)
        self.addCleanup(self.manager.close)
        self.addCleanup(self.end_all)

    def end_all(self):
        """Whatever a failure left: all are our children, or become that."""
        while True:
            try:
                with open("/proc/thread-self/children", encoding="ascii") as file:
                    for pid in file.read().split():
                        os.kill(int(pid), signal.SIGKILL)
                os.wait()
            except ChildProcessError:
                return

    def heddle(self, *arguments, text=None):
        environment = dict(os.environ, HEDDLE_RUNTIME_DIR=self.directory.name + "/run")
        done = subprocess.run([BUILD + "/bin/heddle", *arguments], input=text, text=True,
                              capture_output=True, check=False, env=environment)
        self.assertEqual(done.returncode, 0, done.stderr + self.manager.log())
        return done.stdout

    def test_messages_outlive_the_supervisor(self):
        daemon = self.manager.start()
        self.heddle("queue", "create", "kept")
        self.heddle("queue", "put", "kept", "-", "--lines",
                    text="".join(f"{i}\n" for i in range(100)))
        broker = json.loads(self.heddle("status", "--json"))["broker_pid"]
        os.kill(daemon, signal.SIGKILL)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(daemon, 0)[1]), -signal.SIGKILL)
        daemon = self.manager.start()
        self.assertEqual(os.waitpid(broker, 0)[1], 0, self.manager.log())  # it was replaced
        self.assertNotEqual(json.loads(self.heddle("status", "--json"))["broker_pid"], broker)
        self.assertEqual(self.heddle("queue", "get", "kept", "-n", "40").split(),
                         [str(i) for i in range(40)])
        os.kill(daemon, signal.SIGTERM)
        self.assertEqual(os.waitpid(daemon, 0)[1], 0)
        self.assertTrue(any("STOPPING=1" in text for text in self.manager.said))
        daemon = self.manager.start()
        self.assertEqual(self.heddle("queue", "get", "kept", "-n", "60").split(),
                         [str(i) for i in range(40, 100)])
        os.kill(daemon, signal.SIGTERM)
        self.assertEqual(os.waitpid(daemon, 0)[1], 0)


if __name__ == "__main__":
    unittest.main()
