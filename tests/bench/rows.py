"""What is measured and what it must reach.

A figure is one run of a program: (program, peer, work, keys...). A row compares two figures of the
same round. `must` and `aim` are None for rows that only inform.
"""

from dataclasses import dataclass

SHORT_S, LONG_S = 0.2, 0.5
BRIDGE_BYTES = 3 << 30


@dataclass(frozen=True)
class Figure:
    program: str       # pair, grpc, locks, dict; shell: see shell_bench.sh
    peer: str
    work: str
    metric: str = "per_s"
    keys: tuple = ()   # ("bytes", 64), ...
    server: str = ""   # whose socket it is given, see servers.py

    def command_key(self):
        """Figures that differ only in the metric are one run."""
        return (self.program, self.peer, self.work, self.keys, self.server)


@dataclass(frozen=True)
class Row:
    group: str
    work: str
    ours: Figure
    peer: Figure
    how: str           # ">=" or "<=" of ours / peer; "+" of ours - peer
    must: float = None
    aim: float = None


def pair(peer, work, metric="per_s", server="", **keys):
    keys.setdefault("bytes", 64)
    keys.setdefault("seconds", SHORT_S)
    return Figure("pair", peer, work, metric, tuple(sorted(keys.items())), server)


def grpc(peer, work, server, metric="per_s", **keys):
    keys.setdefault("seconds", LONG_S)
    return Figure("grpc", peer, work, metric, tuple(sorted(keys.items())), server)


SERVERS = {"redis": "redis", "redis_pipelined": "redis", "nats": "nats",
           "beanstalkd": "beanstalkd", "memcached": "memcached",
           "iceoryx": "roudi", "iceoryx_zero_copy": "roudi"}


def against(group, work, ours, targets, kind, metric="per_s", how=">=", **keys):
    for peer, goals in targets.items():
        yield Row(group, f"{work} / {peer}", ours,
                  pair(peer, kind, metric, SERVERS.get(peer, ""), **keys), how, *(goals or ()))


def queue_rows():
    single = pair("heddle", "rate")
    yield from against("rate", "64 B", single, {
        "pipe": (5, 8), "boost_mq": (4, 7), "zeromq": (2.5, 3.7), "iceoryx": (20, 35),
        "posix_mq": None, "unix_stream": None, "nats": None, "redis": None,
        "redis_pipelined": None, "beanstalkd": None}, "rate")
    yield Row("rate", "64 B / its bare memory protocol", single, pair("heddle_bare", "rate"), ">=")
    yield Row("lease", "64 B, lease and ack / auto-ack", pair("heddle_lease", "rate"), single,
              ">=", 0.5, 0.8)
    yield Row("many", "64 B, 2 and 2 / 1 and 1",
              pair("heddle", "rate", producers=2, consumers=2), single, ">=", 0.7, 0.9)
    yield Row("many", "64 B, lease and ack, 2 and 2 / 1 and 1",
              pair("heddle_lease", "rate", producers=2, consumers=2),
              pair("heddle_lease", "rate"), ">=")
    yield Row("batch", "64 B, put_many and get_many of 32 / single",
              pair("heddle_batch", "rate", batch=32), single, ">=", 1.1, 1.5)
    yield from against("size", "1 KiB", pair("heddle", "rate", bytes=1024), {
        "pipe": (3.5, 5.5), "iceoryx": (6, 13), "boost_mq": None, "zeromq": None,
        "unix_stream": None}, "rate", bytes=1024)
    yield from against("size", "64 KiB copying", pair("heddle", "rate", bytes=65536), {
        "memcpy": (0.5, 0.62), "pipe": None, "iceoryx": None, "unix_stream": None}, "rate",
        bytes=65536)
    zero_copy = pair("heddle_zero_copy", "rate", bytes=1 << 20)
    yield Row("zerocopy", "zero-copy 1 MiB / 64 KiB", zero_copy,
              pair("heddle_zero_copy", "rate", bytes=65536), ">=", 0.9, 1.0)
    yield from against("zerocopy", "zero-copy 1 MiB", zero_copy, {"iceoryx_zero_copy": (4, 10)},
                       "rate", bytes=1 << 20)


def latency_rows():
    ours = pair("heddle", "rtt", "p50_us")
    yield from against("rtt", "round trip 64 B", ours, {
        "spin": (3, 2), "pipe": (0.1, 0.05), "zeromq": None, "iceoryx": None, "redis": None,
        "nats": None, "beanstalkd": None}, "rtt", "p50_us", "<=")
    yield from against("rtt", "round trip 48 B", pair("heddle", "rtt", "p50_us", bytes=48),
                       {"spin": (3, 1.4)}, "rtt", "p50_us", "<=")
    yield from against("wake", "wake-up 64 B", pair("heddle", "wake", "p50_us"), {
        "eventfd": (1.2, 1.05), "pipe": None}, "wake", "p50_us", "<=")


def grpc_rows():
    for outstanding in (16, 1):
        ours = grpc("heddle", "calls", "pinned", outstanding=outstanding)
        bare = grpc("echo", "calls", "echo", outstanding=outstanding)
        yield Row("grpc", f"gRPC Put and Get, calls/s, {outstanding} in flight / empty echo",
                  ours, bare, ">=", 0.8, 0.95)
    yield Row("grpc", "gRPC Put and Get, p50 us, 1 in flight - empty echo",
              grpc("heddle", "calls", "pinned", "p50_us", outstanding=1),
              grpc("echo", "calls", "echo", "p50_us", outstanding=1), "+", 15, 5)
    ours = grpc("heddle", "stream", "pinned", batch=256)
    yield Row("grpc", "gRPC streams, batches of 256 / echo of them", ours,
              grpc("echo", "stream", "echo", batch=256), ">=", 0.4, 0.6)
    yield Row("grpc", "gRPC streams, batches of 256 / echo of them as Message", ours,
              grpc("typed_echo", "stream", "echo", batch=256), ">=")
    yield Row("grpc", "gRPC streams, batches of 256 / echo of them packed", ours,
              grpc("packed_echo", "stream", "echo", batch=256), ">=")
    ours = grpc("heddle", "rate", "daemon", batch=256)
    yield from against("grpc", "gRPC streams, batches of 256, two processes", ours, {
        "redis_pipelined": (6, 10), "nats": (2, 3)}, "rate")


def locks(peer, work, metric="per_s", server="", **keys):
    keys.setdefault("seconds", SHORT_S)
    keys.setdefault("producers", 2 if work == "contended" else 1)
    return Figure("locks", peer, work, metric, tuple(sorted(keys.items())),
                  server or SERVERS.get(peer, ""))


def lock_rows():
    """Faster is >= in rates and <= in times, as in the other rows."""
    mutex = locks("heddle", "pair", "ns")
    yield Row("locks", "mutex pair / pthread robust", mutex, locks("robust", "pair", "ns"), "<=",
              1.3, 1.0)
    for peer, goals in {"boost": (), "posix_sem": (), "flock": (10, 17), "redis": (1000, 2000),
                        "python": ()}.items():
        yield Row("locks", f"mutex pairs/s / {peer}", locks("heddle", "pair"),
                  locks(peer, "pair"), ">=", *goals)
    for work, what, goals in (("contended", "contended acquisitions/s", (0.9, 1.0)),
                              ("handoff", "hand-offs/s, two in turns", (1, 1.5))):
        for peer in ("robust", "boost", "posix_sem", "flock", "redis", "python"):
            yield Row("locks", f"{what} / {peer}", locks("heddle", work), locks(peer, work), ">=",
                      *(goals if peer == "robust" else ()))
    yield Row("locks", "blocked hand-off / half a futex round trip",
              locks("heddle", "blocked", "p50_us"), locks("futex", "rtt", "p50_us"), "<=", 1.3, 1.1)
    yield Row("locks", "two readers at once, pair / one reader",
              locks("heddle", "read", "ns", producers=2), locks("heddle", "read", "ns"), "<=",
              1.5, 1.1)
    yield Row("locks", "semaphore pair / mutex pair", locks("heddle", "permit", "ns"), mutex,
              "<=", 1.5, 1.2)
    yield Row("locks", "acquire_many of 2 / mutex pair", locks("heddle", "many", "ns"), mutex,
              "<=", 2.5, 2)
    yield Row("locks", "owner killed, next one runs / its pidfd readable",
              locks("heddle", "death", "next_us"), locks("heddle", "death", "pidfd_us"), "<=",
              1.5, 1.1)
    yield Row("locks", "gRPC Acquire and Release, p50 us - empty echo",
              grpc("heddle", "locks", "pinned", "p50_us", outstanding=1),
              grpc("echo", "calls", "echo", "p50_us", outstanding=1), "+", 15, 5)
    crowd = {"outstanding": 2000, "seconds": LONG_S}
    for far in (0, 8000):
        waits = dict(crowd, remote=far)
        yield Row("locks", f"circle told with 2,000 local and {far:,} gRPC waits, us / 100 ms",
                  locks("heddle", "deadlock", "told_us", server="daemon", **waits),
                  locks("heddle", "deadlock", "bar_us", server="daemon", **waits), "<=", 1, 0.2)


def pipe_rows():
    single = pair("heddle_pipe", "rate")
    yield from against("pipes", "pipe, 64 B", single, {"pipe": (8, 15), "zeromq": (4, 6)}, "rate")
    yield Row("pipes", "pipe, 64 B in batches of 32 / pipe",
              pair("heddle_pipe_batch", "rate", batch=32), pair("pipe", "rate"), ">=", 10, 14)
    yield Row("pipes", "pipe, 64 B, two senders / one",
              pair("heddle_pipe", "rate", producers=2), single, ">=", 0.5, 0.7)
    ours = pair("heddle_pipe", "rtt", "p50_us")
    yield from against("pipes", "pipe, round trip 64 B", ours,
                       {"spin": (2, 1.4), "unix_stream": (0.1, 0.05)}, "rtt", "p50_us", "<=")
    yield from against("pipes", "pipe, wake-up 64 B", pair("heddle_pipe", "wake", "p50_us"),
                       {"eventfd": (1.2, 1.05)}, "wake", "p50_us", "<=")
    yield from against("pipes", "pipe, 64 KiB copying", pair("heddle_pipe", "rate", bytes=65536),
                       {"memcpy": (0.5, 0.65)}, "rate", bytes=65536)
    yield from against("pipes", "pipe, round trip 1 MiB",
                       pair("heddle_pipe", "rtt", "p50_us", bytes=1 << 20),
                       {"unix_stream": (1 / 0.9, 1 / 1.1)}, "rtt", "p50_us", "<=", bytes=1 << 20)
    yield Row("pipes", "pipe, 64 KiB, local to gRPC / bare gRPC stream",
              grpc("heddle", "pipe", "daemon", bytes=65536),
              grpc("echo", "pipe", "echo", bytes=65536), ">=", 0.8, 0.95)
    yield Row("pipes", "pipe, shell bridge, bytes/s / three shell pipes in a row",
              Figure("shell", "heddle", "bridge", keys=(("bytes", BRIDGE_BYTES),)),
              Figure("shell", "pipes", "bridge", keys=(("bytes", BRIDGE_BYTES),)), ">=", 0.7, 1)
    yield from against("pipes", "pipe, zero-copy 64 KiB",
                       pair("heddle_pipe_zero_copy", "rate", bytes=65536),
                       {"iceoryx_zero_copy": (10, 20)}, "rate", bytes=65536)


def dict_figure(peer, work, metric="ns", **keys):
    keys.setdefault("seconds", SHORT_S)
    return Figure("dict", peer, work, metric, tuple(sorted(keys.items())), SERVERS.get(peer, ""))


def dict_rows():
    """64-byte values, 12-byte keys, 10,000 of them; ns of an operation, so less is faster."""
    get, put = dict_figure("heddle", "get"), dict_figure("heddle", "put")
    for peer, get_goals, put_goals in (
            ("map", (1.5, 0.8), (3, 1.5)), ("lmdb", (1 / 3, 1 / 7), (1 / 4, 1 / 10)),
            ("redis", (1 / 150, 1 / 400), (1 / 80, 1 / 200)), ("memcached", (), ()),
            ("boost", (), ()), ("python", (), ())):
        for work, ours, goals in (("get", get, get_goals), ("put", put, put_goals)):
            yield Row("dicts", f"dict {work} / {peer}", ours, dict_figure(peer, work), "<=", *goals)
    for work, ours, goals in (("get", get, (1 / 14, 1 / 40)), ("put", put, (1 / 10, 1 / 25))):
        yield Row("dicts", f"dict {work} / redis, 64 in flight", ours,
                  dict_figure("redis", work, outstanding=64), "<=", *goals)
    yield Row("dicts", "dict get over a read-only mapping / get",
              dict_figure("heddle_read_only", "get"), get, "<=")
    yield Row("dicts", "dict get, two processes at once / one",
              dict_figure("heddle", "get", producers=2), get, "<=", 1.3, 1.05)
    yield Row("dicts", "dict put, two processes on different keys / one",
              dict_figure("heddle", "put", producers=2), put, "<=", 2.5, 1.5)
    yield Row("dicts", "dict get of a key that another one hammers / quiet",
              dict_figure("heddle", "hammered", consumers=2), dict_figure("heddle", "hammered"),
              "<=", 8, 4)
    many = {"slots": 1_000_000, "seconds": LONG_S}
    yield Row("dicts", "dict get, 1 M keys / unordered_map", dict_figure("heddle", "get", **many),
              dict_figure("map", "get", **many), "<=", 2, 1.2)
    yield Row("dicts", "dict get, slowest of 1,000, 1 M keys, while it grows / while updated",
              dict_figure("heddle", "grow", "p999_us", **many),
              dict_figure("heddle", "steady", "p999_us", **many), "<=", 3, 1.5)
    for label, keys in (("10,000", {}), ("1 M", many)):
        yield Row("dicts", f"dict memory, {label} keys, bytes an entry - key and value",
                  dict_figure("heddle", "memory", "entry_bytes", **keys),
                  dict_figure("heddle", "memory", "payload_bytes", **keys), "+", 96, 64)
    yield Row("dicts", "dict transaction of 4 / 4 puts", dict_figure("heddle", "transact"),
              dict_figure("heddle_puts", "transact"), "<=", 3, 1.5)
    yield Row("dicts", "gRPC Get, p50 us - empty echo",
              grpc("heddle", "get", "pinned", "p50_us", outstanding=1, bytes=64),
              grpc("echo", "calls", "echo", "p50_us", outstanding=1), "+", 15, 5)
    many_keys = dict(outstanding=1, bytes=64)
    yield Row("dicts", "gRPC GetMany of 256, us a key / 1 us",
              grpc("heddle", "get_many", "pinned", "key_us", **many_keys),
              grpc("heddle", "get_many", "pinned", "bar_us", **many_keys), "<=", 1, 0.4)
    yield Row("dicts", "dict change until a sleeping watcher has it / eventfd",
              dict_figure("heddle", "watch", "p50_us"), pair("eventfd", "wake", "p50_us"), "<=",
              1.5, 1.1)


def all_rows():
    return [*queue_rows(), *latency_rows(), *grpc_rows(), *lock_rows(), *pipe_rows(),
            *dict_rows()]
