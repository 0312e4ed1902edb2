"""Memory, numbers of objects, restart: figures of one heddled, without peers.

Memory is counted as Pss of anonymous and file pages of all processes of the daemon plus every page
of its memfds, mapped or not: never less than the sum of Pss. Pss shares libraries out among all
who have them loaded, so other brokers on the machine make it smaller; Rss is what it cannot exceed.
"""

import json
import os
import subprocess
import time
from dataclasses import dataclass

KIB = 1024
SETTLE_S = 1.0


@dataclass
class Sizes:
    queues: int = 4000
    churned: int = 10000
    gets: int = 1000
    restart_queues: int = 1000
    restart_messages: int = 100000


SMOKE = Sizes(queues=40, churned=100, gets=20, restart_queues=20, restart_messages=200)


@dataclass
class Limit:
    work: str
    value: float
    unit: str
    must: float = None


def family(pid):
    """The process and what it started."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children", encoding="ascii") as file:
                    found += [int(child) for child in file.read().split()]
        except FileNotFoundError:
            pass
    return found


def memory_bytes(pid):
    total, memfds = 0, {}
    for process in family(pid):
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as file:
            for line in file:
                if line.startswith(("Pss_Anon:", "Pss_File:")):
                    total += int(line.split()[1]) * KIB
        for fd in os.listdir(f"/proc/{process}/fd"):
            path = f"/proc/{process}/fd/{fd}"
            try:
                if os.readlink(path).startswith("/memfd:"):
                    about = os.stat(path)
                    memfds[about.st_dev, about.st_ino] = about.st_blocks * 512
            except FileNotFoundError:
                pass
    return total + sum(memfds.values())


def rollup_bytes(pid, field):
    total = 0
    for process in family(pid):
        with open(f"/proc/{process}/smaps_rollup", encoding="ascii") as file:
            total += sum(int(line.split()[1]) * KIB for line in file if line.startswith(field))
    return total


def broker_pid(supervisor):
    for process in family(supervisor)[1:]:
        try:
            with open(f"/proc/{process}/comm", encoding="ascii") as file:
                if file.read().startswith("heddle-broker"):
                    return process
        except FileNotFoundError:
            pass
    raise RuntimeError("heddled has no heddle-broker")


class Footprint:
    def __init__(self, servers, sizes):
        self.servers, self.sizes = servers, sizes
        self.socket = servers.address("footprint")
        self.pid = servers.pid("footprint")
        self.environment = dict(servers.environment,
                                HEDDLE_RUNTIME_DIR=servers.runtime_dir("footprint"))

    def objects(self, *arguments):
        command = [self.servers.build + "/bin/heddle_bench_objects", *map(str, arguments)]
        run = subprocess.run(command, env=self.environment, capture_output=True, text=True,
                             timeout=300, check=False)
        if run.returncode != 0:
            raise RuntimeError(f"{' '.join(command[1:])}: {run.stderr.strip()}")
        return run.stdout

    def memory(self):
        time.sleep(SETTLE_S)
        return memory_bytes(self.pid)

    def idle(self):
        time.sleep(SETTLE_S)
        for field, must in (("Pss:", 30), ("Rss:", None)):
            figure = rollup_bytes(self.pid, field) / 1e6
            yield Limit(f"idle heddled, {field[:-1]} of all processes", figure, "MB", must)

    def queues(self):
        n = self.sizes.queues
        self.objects("create", 1)  # what the first of its kind costs
        self.objects("delete", 1)
        before = self.memory()
        started = time.monotonic()
        self.objects("create", n)
        took = time.monotonic() - started
        yield Limit(f"an idle queue, mean of {n}", (self.memory() - before) / n / KIB, "KiB", 64)
        yield Limit(f"{n} queues at once, made in", took, "s")
        self.objects("delete", n)
        yield Limit(f"left after these {n} were deleted", (self.memory() - before) / KIB, "KiB")
        self.objects("churn", max(self.sizes.churned // 10, 1))
        before = self.memory()
        started = time.monotonic()
        self.objects("churn", self.sizes.churned)
        took = time.monotonic() - started
        grown = max(self.memory() - before, 0) / KIB
        yield Limit(f"growth by {self.sizes.churned} queues made and deleted", grown, "KiB", 1024)
        yield Limit("making and deleting one queue", took / self.sizes.churned * 1e6, "us")

    def gets(self):
        n = self.sizes.gets
        self.objects("make", "bench-blocked", 16)
        before = self.memory()
        with subprocess.Popen(
                [self.servers.build + "/bin/heddle_bench_grpc", "heddle", "block",
                 "socket=" + self.socket, "queue=bench-blocked", f"outstanding={n}"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            try:
                if client.stdout.readline().strip() != "ready":
                    raise RuntimeError("the blocked gets did not block")
                each = (self.memory() - before) / n / 1e3
            finally:
                client.communicate(timeout=30)
        yield Limit(f"a blocked gRPC Get, mean of {n}", each, "KB", 40)

    def restart(self):
        queues, messages = self.sizes.restart_queues, self.sizes.restart_messages
        self.objects("create", queues)
        self.objects("fill", queues, messages)
        found = json.loads(self.objects("restart", broker_pid(self.pid), queues))
        if found["messages"] != messages:
            raise RuntimeError(f"{messages} messages before, {found['messages']} after")
        self.objects("delete", queues)
        yield Limit(f"broker killed with {queues} queues and {messages} messages, serves after",
                    found["ms"] / 1e3, "s", 1)

    def all(self):
        for part in (self.idle, self.queues, self.gets, self.restart):
            yield from part()
