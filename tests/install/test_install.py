#!/usr/bin/python3
"""Installs the build into a temporary prefix and uses that copy as a stranger would."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

SOURCE = os.environ["HEDDLE_SOURCE_DIR"]
BUILD = os.environ["HEDDLE_BUILD_DIR"]
CONSUMER = SOURCE + "/tests/install/consumer"


def run(*command, **options):
    """The output of a command that must work."""
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False, **options)
    if done.returncode:
        raise AssertionError(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}")
    return done.stdout


class Installed(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.root = tempfile.mkdtemp(prefix="heddle-")
        cls.addClassCleanup(shutil.rmtree, cls.root)
        run("cmake", "--install", BUILD, "--prefix", cls.root + "/first")
        # Moved: nothing in it may know where it was installed.
        cls.prefix = cls.root + "/moved"
        os.rename(cls.root + "/first", cls.prefix)
        found = [f for f in ("lib", "lib64") if os.path.isdir(f"{cls.prefix}/{f}")]
        triplet = run("g++", "-dumpmachine").strip()
        nested = f"{cls.prefix}/lib/{triplet}"
        cls.lib = nested if os.path.isdir(nested) else f"{cls.prefix}/{found[0]}"

    def use(self, program, language):
        """Runs it against the installed heddled."""
        env = {**os.environ, "HEDDLE_BUILD_DIR": self.prefix, "LD_LIBRARY_PATH": self.lib}
        out = run(SOURCE + "/tests/support/with_daemon", program, env=env)
        self.assertIn("hello from " + language, out)
        self.assertIn("NOT_FOUND", out)

    def test_layout(self):
        for path in ("bin/heddled", "bin/heddle", "libexec/heddle/heddle-broker",
                     "include/heddle/heddle.h", "include/heddle/status.h",
                     "include/heddle/c.h", "include/heddle/c_lock.h", "include/heddle/c_pipe.h"):
            self.assertTrue(os.path.exists(f"{self.prefix}/{path}"), path)
        for path in ("libheddle.so", "libheddle.so.0", "cmake/Heddle/HeddleConfig.cmake"):
            self.assertTrue(os.path.exists(f"{self.lib}/{path}"), path)
        self.assertFalse([f for f in os.listdir(self.lib) if f.endswith(".a")])

    def test_moved_programs_find_their_library(self):
        env = {k: v for k, v in os.environ.items() if k != "LD_LIBRARY_PATH"}
        self.assertRegex(run(self.prefix + "/bin/heddle", "version", env=env), r"\d+\.\d+")
        self.assertRegex(run(self.prefix + "/bin/heddled", "--version", env=env), r"\d+\.\d+")

    def test_programs_found_by_cmake(self):
        build = self.root + "/cmake"
        run("cmake", "-S", CONSUMER, "-B", build, "-G", "Ninja",
            "-DCMAKE_PREFIX_PATH=" + self.prefix)
        run("cmake", "--build", build)
        self.use(build + "/cxx", "C++")
        self.use(build + "/c", "C")

    def test_programs_found_by_pkg_config(self):
        env = {**os.environ, "PKG_CONFIG_PATH": self.lib + "/pkgconfig"}
        flags = run("pkg-config", "--cflags", "--libs", "heddle", env=env).split()
        for name, command in (("C++", ["g++", "-std=c++20", CONSUMER + "/consumer.cc"]),
                              ("C", ["gcc", "-std=c11", CONSUMER + "/consumer.c"])):
            program = f"{self.root}/pc-{name}"
            run(*command, "-Wall", "-Wextra", "-Werror", *flags, "-o", program)
            self.use(program, name)

    def test_examples_of_the_readme(self):
        with open(SOURCE + "/README.md", encoding="utf-8") as file:
            text = file.read()
        cxx, c = (re.search(rf"^```{name}\n(.*?)^```$", text, re.M | re.S)[1]
                  for name in ("cpp", "c"))
        # The one in C is what stands in a function.
        c = f"#include <heddle/c.h>\n#include <stdio.h>\nint main(void) {{\n{c}return 0;\n}}\n"
        env = {**os.environ, "PKG_CONFIG_PATH": self.lib + "/pkgconfig"}
        flags = run("pkg-config", "--cflags", "--libs", "heddle", env=env).split()
        for name, source, command in (("readme.cc", cxx, ["g++", "-std=c++20"]),
                                      ("readme.c", c, ["gcc", "-std=c11"])):
            with open(f"{self.root}/{name}", "w", encoding="utf-8") as file:
                file.write(source)
            run(*command, f"{self.root}/{name}", "-Wall", "-Wextra", "-Werror", *flags, "-o",
                f"{self.root}/{name}.out")
        env = {**os.environ, "HEDDLE_BUILD_DIR": self.prefix, "LD_LIBRARY_PATH": self.lib}
        out = run(SOURCE + "/tests/support/with_daemon", "sh", "-c",
                  f"{self.root}/readme.cc.out && {self.root}/readme.c.out", env=env)
        self.assertEqual(out, "resize cat.jpg\nhello")

    def test_each_public_header_compiles_alone(self):
        headers = sorted(os.listdir(self.prefix + "/include/heddle"))
        self.assertIn("heddle.h", headers)
        modes = [("-std=c++20",), ("-std=c++20", "-fno-exceptions", "-fno-rtti")]
        for header in headers:
            is_c = re.fullmatch(r"c(_.*)?\.h", header)
            for mode in modes + ([("-xc", "-std=c11")] if is_c else []):
                with self.subTest(header=header, mode=mode):
                    language = () if "-xc" in mode else ("-xc++",)
                    run("g++", *language, *mode, "-fsyntax-only", "-Wall", "-Wextra", "-Werror",
                        "-I" + self.prefix + "/include", "-include", "heddle/" + header,
                        "/dev/null")

    def test_library_shows_its_own_names_only(self):
        names = run("nm", "-DC", "--defined-only", self.lib + "/libheddle.so").split("\n")
        foreign = [n for n in names if n and not re.search(r"\bheddle(_|::)", n)]
        # Templates of the standard library that the compiler shares between libraries.
        foreign = [n for n in foreign if not re.search(r" [VWuw] .*\bstd::", n)]
        self.assertEqual(foreign, [])

    def test_who_needs_what(self):
        for path, banned in ((self.lib + "/libheddle.so", "grpc|protobuf|absl|spdlog|json"),
                             (self.prefix + "/bin/heddled", "grpc|protobuf|absl|spdlog"),
                             (self.prefix + "/bin/heddle", "grpc|protobuf|absl")):
            needed = re.findall(r"NEEDED.*\[(.*)\]", run("readelf", "-d", path))
            self.assertTrue(needed, path)
            self.assertEqual([n for n in needed if re.search(banned, n)], [], path)


if __name__ == "__main__":
    unittest.main()
