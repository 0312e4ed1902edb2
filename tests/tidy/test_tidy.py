#!/usr/bin/python3
"""Plants each violation in a temporary tree and expects tidy to find it, and only it."""

import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import functions  # noqa: E402
import tidy  # noqa: E402

GUARD = "#ifndef HEDDLE_X_H_\n#define HEDDLE_X_H_\n{}\n#endif\n"


class Planted(unittest.TestCase):
    def found(self, files):
        """Violations of a clean tree with these files put in, without their line numbers."""
        with tempfile.TemporaryDirectory() as root:
            for path, text in files.items():
                full = os.path.join(root, path)
                os.makedirs(os.path.dirname(full), exist_ok=True)
                with open(full, "w", encoding="utf-8") as file:
                    file.write(text)
            for folder, _, names in os.walk(root):
                if folder != root and "README.md" not in names:
                    with open(folder + "/README.md", "w", encoding="utf-8") as file:
                        file.write("# Folder\n")
            return [f"{path}: {what}" for path, _, what in tidy.violations(root)]

    def expect(self, path, text, *words, built=True):
        files = {path: text}
        if built and path.endswith((".cc", ".c")):
            files[os.path.dirname(path) + "/CMakeLists.txt"] = os.path.basename(path)
        found = self.found(files)
        self.assertEqual(len(found), len(words), found)
        for word, line in zip(words, found):
            self.assertIn(word, line)

    def test_clean_files_pass(self):
        self.expect("daemon/os/x.h", GUARD.format("#include <heddle/status.h>"))
        self.expect("daemon/server/x.cc", '#include <grpcpp/grpcpp.h>\n'
                    '#include "daemon/broker/broker.h"\n#include "proto/local/attach.h"\n')
        self.expect("tests/unit/x_test.cc", '#include "daemon/objects/queue.h"\n')

    def test_each_forbidden_arrow(self):
        for path, include in (
                ("daemon/os/x.cc", "daemon/config/options.h"),
                ("daemon/supervisor/x.cc", "daemon/broker/broker.h"),
                ("daemon/supervisor/x.cc", "proto/shm/queue.h"),
                ("daemon/objects/x.cc", "daemon/broker/broker.h"),
                ("daemon/broker/x.cc", "daemon/services/queue_service.h"),
                ("daemon/services/x.cc", "daemon/server/server.h"),
                ("daemon/services/x.cc", "proto/shm/queue.h"),
                ("daemon/server/x.cc", "client/src/channel.h"),
                ("client/src/x.cc", "daemon/os/clock.h"),
                ("client/src/x.cc", "client/src/grpc_channel.h"),
                ("client/cli/x.cc", "client/src/channel.h"),
                ("client/cli/x.cc", "proto/shm/queue.h"),
                ("proto/x.cc", "daemon/os/clock.h"),
                ("proto/local/x.cc", "proto/shm/queue.h")):
            with self.subTest(path=path, include=include):
                self.expect(path, f'#include "{include}"\n', "may not include")

    def test_each_forbidden_library(self):
        for path, header in (
                ("daemon/objects/x.cc", "grpcpp/grpcpp.h"), ("client/src/x.cc", "grpcpp/grpcpp.h"),
                ("daemon/supervisor/x.cc", "spdlog/spdlog.h"),
                ("daemon/broker/x.cc", "google/protobuf/message.h"),
                ("client/include/heddle/x.cc", "nlohmann/json.hpp"),
                ("proto/shm/x.cc", "spdlog/spdlog.h")):
            with self.subTest(path=path, header=header):
                self.expect(path, f"#include <{header}>\n", "may not use")

    def test_main_of_the_broker_may_use_the_server(self):
        self.expect("daemon/broker/main.cc", '#include "daemon/server/server.h"\n')

    def test_memory_protocol_without_heap_exceptions_and_output(self):
        self.expect("proto/shm/x.cc", "#include <vector>\n", "does without <vector>")
        for code in ("int* p = new int;", "throw 1;", "delete p;", "free(p);", "try {"):
            with self.subTest(code=code):
                self.expect("proto/shm/x.cc", f"void f() {{\n  {code}\n}}\n", "proto/shm has no")
        self.expect("proto/shm/x.cc", "// a new try to free\nX(const X&) = delete;\n"
                    "auto* q = new (place) Queue;\nbool try_take();\nint new_owner, free_slots;\n")

    def test_lengths(self):
        body = "  step();\n" * 69
        self.expect("daemon/os/x.cc", f"namespace a {{\nint f(int x) {{\n{body}}}\n}}\n",
                    "f has 71 lines")
        self.expect("daemon/os/x.cc", f"namespace a {{\nint f(int x) {{\n{body[10:]}}}\n}}\n")
        self.expect("daemon/os/x.cc", f"TEST(A, FailsWhenFull) {{\n{body}}}\n", "FailsWhenFull")
        self.expect("tests/x/y.py", "def f():\n" + "    pass\n" * 70, "f has 71 lines")
        self.expect("deploy/x.sh", "#!/bin/bash\nf() {\n" + "  :\n" * 69 + "}\n", "f has 71 lines")
        self.expect("daemon/os/x.cc", "int x;\n" * 801, "801 lines")
        self.expect("daemon/os/README.md", "x\n" * 31, "31 lines in a folder's README")
        self.expect("daemon/os/CMakeLists.txt", "#\n" * 41, "41 lines")
        self.expect("daemon/os/x.cc", "//" + "x" * 99 + "\n", "101 columns")
        self.expect("daemon/os/lock_word.cc", "//" + "x" * 99 + "\n", "101 columns")

    def test_names_and_places(self):
        self.expect("daemon/os/utils.h", GUARD.format(""), "'utils'")
        self.expect("daemon/os/file_helper.cc", "", "'helper'")
        self.expect("daemon/common/x.cc", "", "'common'", "'common'", "'common'")
        self.expect("scripts/x.sh", "", "scripts is not part", "scripts is not part")
        self.assertIn("notes.txt is not part", self.found({"./notes.txt": "x\n"})[0])
        self.expect("daemon/os/x.h", "int x;\n", "no include guard")
        self.expect("daemon/os/x.cc", "", "no CMakeLists.txt names it", built=False)
        with tempfile.TemporaryDirectory() as root:
            os.makedirs(root + "/daemon/os")
            open(root + "/daemon/os/notes.json", "w", encoding="utf-8").close()
            found = [f"{path}: {what}" for path, _, what in tidy.violations(root)]
        self.assertEqual(found, [f"{f}: a folder without a README.md"
                                 for f in ("daemon", "daemon/os")])

    def test_words(self):
        for line in ("// TODO: later", "// TODO(me): later", "// XXX", "// a HACK", "// FIXME",
                     'open("/' 'work/x")', "see /home/me/x", "https://pypi.org/x", "closes issue #12",
                     "see CONTRACT.md", "as in DESIGN 4"):
            with self.subTest(line=line):
                self.expect("daemon/os/x.cc", f"{line}\n", "")
        self.expect("daemon/os/x.cc", "// TODO(perf): batch this\nmkdtemp(\"/tmp/a-XXXXXX\");\n"
                    "// the issue is memory; design first\n")


class Tokenizer(unittest.TestCase):
    def names(self, text):
        return [(name, length) for name, _, length in functions.cpp_functions(text)]

    def test_knows_functions_from_other_braces(self):
        self.assertEqual(self.names('''
#define BODY { \\
  {
namespace a::b {
extern "C" {
struct alignas(64) Line {
  int x{0};
  Line() : x{1}, y_(2) {
    x = 2;
  }
  bool operator==(const Line& o) const {
    return o.x == 1'000 && "}" [0] == '}';
  }
};
constexpr Line kLines[] = {{1}, {2}};
enum class Kind : int { kA, kB };
template <typename T>
auto f(T t = {}) -> int
    requires(true) {
  auto g = [&] { return R"({{{)"; };
  if (t) {
    return 1;
  }
}
}
}
int h() { return 1; }
''')[-4:], [("Line", 3), ("operator==", 3), ("f", 8), ("h", 1)])


if __name__ == "__main__":
    unittest.main()
