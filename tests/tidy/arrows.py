"""Who may include what. Longest matching prefix of a file's path gives its part."""

import re

# Of ours; each part may always include itself.
VOCAB = {"proto/include"}
LOCAL = {"proto/local", "proto/local/fd.h"}  # fd.h: a descriptor that closes itself
API = VOCAB | {"client/include"}
FOUNDATION = VOCAB | {"daemon/os", "daemon/config", "proto/local/fd.h"}
STATUSES = {"proto/local/outcome_status", "proto/local/lock_status", "proto/local/pipe_status",
            "proto/local/dict_status", "proto/local/dict_calls", "proto/local/json_document",
            "proto/local/list_status", "proto/local/list_calls", "proto/local/block_status",
            "proto/local/memory_asks", "proto/local/dict_lease"}
OBJECTS = FOUNDATION | STATUSES | {"proto/shm"}
BROKER = OBJECTS | LOCAL | {"daemon/objects"}
SERVICES = FOUNDATION | {"proto/heddle", "daemon/broker", "daemon/objects"}
SERVER = BROKER | SERVICES | {"daemon/services"}
ANYTHING = None

# part: (parts it may include, outside libraries it may include)
ARROWS = {
    "proto/include": (set(), set()),
    "proto": (VOCAB, set()),
    "proto/heddle": (set(), set()),
    "proto/shm": (VOCAB, set()),
    "proto/local": (VOCAB | LOCAL, set()),
    "proto/local/fd.h": (set(), set()),
    "proto/local/outcome_status": (VOCAB | {"proto/shm"}, set()),
    "proto/local/lock_status": (VOCAB | {"proto/shm"}, set()),
    "proto/local/pipe_status": (VOCAB | {"proto/shm", "proto/local/outcome_status"}, set()),
    "proto/local/dict_status": (VOCAB | {"proto/shm", "proto/local/outcome_status"}, set()),
    "proto/local/json_document": (VOCAB, {"json"}),
    "proto/local/dict_calls": (VOCAB | {"proto/shm", "proto/local/json_document",
                                        "proto/local/memory_asks"}, set()),
    "proto/local/memory_asks": ({"proto/shm"}, set()),
    "proto/local/list_status": (VOCAB | {"proto/shm", "proto/local/outcome_status"}, set()),
    "proto/local/list_calls": (VOCAB | {"proto/shm", "proto/local/memory_asks"}, set()),
    "proto/local/block_status": (VOCAB | {"proto/shm", "proto/local/outcome_status"}, set()),
    "proto/local/dict_lease": (VOCAB | {"proto/shm", "proto/local/dict_calls"}, set()),
    "client/include": (VOCAB, set()),
    "client/src": (API | LOCAL | STATUSES | {"proto/shm"}, {"json", "boost"}),
    "client/src/grpc": (API | {"client/src", "proto/heddle"}, {"grpc", "json"}),
    "client/cli": (API, {"cli", "json"}),
    "client/python": (API, {"python"}),
    "client/examples": (API, set()),
    "daemon/os": (VOCAB | {"proto/local/fd.h"}, set()),
    "daemon/config": (FOUNDATION, {"json", "cli"}),
    "daemon/supervisor": (FOUNDATION | LOCAL, set()),
    "daemon/spawner": (FOUNDATION | LOCAL, set()),
    "daemon/objects": (OBJECTS, {"json", "boost"}),
    "daemon/broker": (BROKER, {"json", "boost", "spdlog", "sqlite"}),
    "daemon/broker/main": (SERVER | {"daemon/server"}, {"grpc", "json", "spdlog", "cli"}),
    "daemon/services": (SERVICES, {"grpc", "json"}),
    "daemon/server": (SERVER, {"grpc", "json", "spdlog"}),
    "tests": ANYTHING,
    "tests/support": (VOCAB, set()),
    "tests/conformance": (API | {"tests/support"}, {"json"}),
    "tests/install": (API, set()),
}

LIBRARIES = {
    "grpc": r"(grpc|grpcpp|google/protobuf|google/rpc)/",
    "json": r"nlohmann/",
    "boost": r"boost/",
    "cli": r"CLI/",
    "spdlog": r"(spdlog|fmt)/",
    "sqlite": r"sqlite3\.h",
    "python": r"Python\.h",
    "gtest": r"(gtest|gmock)/",
    "benchmark": r"benchmark/",
    "relacy": r"relacy/",
}

# Headers and words that stand for the heap, exceptions or output; proto/shm does without.
BARE_HEADERS = (
    "deque exception fstream functional iostream list map memory set sstream stdexcept "
    "string unordered_map unordered_set vector"
).split()
BARE_WORDS = re.compile(
    r"\b(throw|try|catch|malloc|calloc|realloc|free|printf|fprintf)\b(?=\s*[({;\w])"
    r"|\bnew\b(?!\s*\()|\bdelete\b(?!\s*;)"
)

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def part_of(path):
    fits = [p for p in ARROWS if path == p or path.startswith(p + "/")
            or (p.count("/") == 2 and path.startswith(p))]
    return max(fits, key=len, default=None)


def target_part(name, path, files):
    """The part an include names, or None when it is not one of ours."""
    if name.startswith(("heddle/v1/", "google/rpc/")):
        return "proto/heddle"
    if name.startswith("heddle/"):
        return "client/include" if "client/include/" + name in files else "proto/include"
    beside = path.rsplit("/", 1)[0] + "/" + name
    if beside in files:
        return part_of(beside)
    return part_of(name) if "/" in name else None


def library_of(name):
    return next((lib for lib, rule in LIBRARIES.items() if re.match(rule, name)), None)


def check(path, lines, files):
    """Yields (line, message) for each include that goes against an arrow."""
    part = part_of(path)
    if part is None or ARROWS[part] is ANYTHING:
        return
    ours, outside = ARROWS[part]
    for number, line in enumerate(lines, 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        target = target_part(match[1], path, files)
        library = library_of(match[1])
        if target and target != part and target not in ours:
            yield number, f"{part} may not include {target} ({match[1]})"
        elif not target and library and library not in outside:
            if not (path.startswith("tests/") and library in ("gtest", "benchmark")):
                yield number, f"{part} may not use {library} ({match[1]})"
        elif part == "proto/shm" and match[1] in BARE_HEADERS:
            yield number, f"proto/shm does without <{match[1]}> (heap, exceptions, output)"
