"""Servers that figures need: heddled, the bare echo, and the peers' own, each on a socket in the
directory of the run (RouDi, which has fixed places, apart)."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time

READY_S = 20
SERVING = "heddled: notice: serving; broker "
LEADS_ELSEWHERE = ("HEDDLE_ADDRESS", "HEDDLE_RUNTIME_DIR", "HEDDLE_STATE_DIR", "HEDDLE_PLANE",
                   "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "NOTIFY_SOCKET")
PEERS = {"redis": "redis-server", "nats": "nats-server", "beanstalkd": "beanstalkd",
         "memcached": "memcached", "roudi": "iox-roudi"}


class Absent(Exception):
    """A peer that is not installed; why."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def second_core():
    cores = sorted(os.sched_getaffinity(0))
    return {cores[1 % len(cores)]}


def push_neighbours_away():
    """What the measured programs do for themselves, as far as this user may."""
    os.setsid()
    for act in (lambda: open("/proc/self/autogroup", "w", encoding="ascii").write("-20"),
                lambda: os.setpriority(os.PRIO_PROCESS, 0, -20)):
        try:
            act()
        except OSError:
            pass


class Servers:
    """Started at first use, ended together."""

    def __init__(self, build, directory):
        self.build, self.directory = build, directory
        self.environment = {k: v for k, v in os.environ.items() if k not in LEADS_ELSEWHERE}
        self.running, self.addresses, self.absent = {}, {}, {}

    def address(self, name):
        """Of its socket. Raises Absent."""
        if name in self.absent:
            raise Absent(self.absent[name])
        if name not in self.addresses:
            try:
                self.addresses[name] = self._start(name)
            except Absent as why:
                self.absent[name] = str(why)
                raise
        return self.addresses[name]

    def runtime_dir(self, name):
        return os.path.join(self.directory, name)

    def pid(self, name):
        return self.running[name].pid

    def _start(self, name):
        if name in ("daemon", "pinned", "footprint"):
            return self._start_daemon(name)
        path = os.path.join(self.directory, name + ".sock")
        if name == "echo":
            self._spawn(name, [self.build + "/bin/heddle_bench_grpc", "echo", "serve",
                               "socket=" + path], pinned=True)
            self._await(name, lambda: "ready" in self.log(name))
            return path
        program = shutil.which(PEERS[name], path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            raise Absent(f"{PEERS[name]} is not installed")
        if name == "nats":
            port = free_port()
            self._spawn(name, [program, "-a", "127.0.0.1", "-p", str(port)])
            self._await(name, lambda: "Server is ready" in self.log(name))
            return f"nats://127.0.0.1:{port}"
        if name == "roudi":
            self._spawn(name, [program])
            self._await(name, lambda: "ready for clients" in self.log(name))
            return ""
        arguments = {
            "redis": ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no",
                      "--dir", self.directory],
            "beanstalkd": ["-l", "unix:" + path, "-z", str(4 << 20)],
            "memcached": ["-s", path, "-m", "256", "-u", getpass.getuser()]}[name]
        self._spawn(name, [program, *arguments])
        self._await(name, lambda: os.path.exists(path))
        return path

    def _start_daemon(self, name):
        run = self.runtime_dir(name)
        self._spawn(name, [self.build + "/bin/heddled", "--foreground", "--runtime-dir", run,
                           "--state-dir", run + "-state", "--config", self._config()],
                    pinned=name == "pinned")
        self._await(name, lambda: SERVING in self.log(name))
        return run + "/grpc.sock"

    def _config(self):
        path = os.path.join(self.directory, "heddled.json")
        with open(path, "w", encoding="ascii") as file:
            file.write("{}")
        return path

    def _spawn(self, name, command, pinned=False):
        def prepare():
            push_neighbours_away()
            if pinned:
                os.sched_setaffinity(0, second_core())

        log = open(os.path.join(self.directory, name + ".log"), "wb")
        self.running[name] = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=self.environment,
            cwd=self.directory,
            preexec_fn=prepare)
        log.close()

    def log(self, name):
        path = os.path.join(self.directory, name + ".log")
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def _await(self, name, ready):
        deadline = time.monotonic() + READY_S
        while not ready():
            if self.running[name].poll() is not None or time.monotonic() > deadline:
                why = f"{name} did not start: {self.log(name)[-300:].strip()}"
                raise Absent(why) if name in PEERS else RuntimeError(why)
            time.sleep(0.01)

    def stop(self):
        for process in self.running.values():
            process.stdin.close()
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
