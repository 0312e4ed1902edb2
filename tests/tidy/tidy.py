#!/usr/bin/python3
"""Checks the tree against the project's style. Usage: tidy.py [ROOT]

Prints "path:line: what" for each violation and exits 1 if there is one; warnings do not count.
Looks at what git tracks, or at every file where there is no repository.
"""

import os
import re
import subprocess
import sys

import arrows
import functions

FOLDERS = {"client", "daemon", "deploy", "proto", "tests", ".ci"}
ROOT_FILES = {
    "CMakeLists.txt", "CMakePresets.json", "README.md", "CHANGELOG.md", "LICENSE",
    ".clang-format", ".clang-tidy", ".gitignore", ".gitattributes",
}
FILE_LINES_MAX, FILE_LINES_WARN, FUNCTION_LINES_MAX, COLUMNS_MAX = 800, 500, 70, 100
README_LINES_MAX, CMAKE_LINES_MAX = 30, 40
BANNED_FILE_WORDS = {"util", "utils", "manager", "common", "helper", "helpers"}
CPP, LINED = (".h", ".cc", ".c"), (".h", ".cc", ".c", ".py", ".sh", ".proto", ".cmake")
# Written by the program they are about, and compared with what it writes.
MADE_BY = re.compile(r"\b[Mm]ade by `heddle ")
# Not written by hand, or quoting what is banned.
TEXT_EXEMPT = re.compile(r"^tests/tidy/|(^|/)(LICENSE|go\.sum|[\w-]+\.lock|package-lock\.json)$")
# A folder that its parent's README speaks for.
README_EXEMPT = re.compile(
    r"(^|/)(include|decisions)(/|$)|^proto/(heddle|google|grpc)(/(?!heddle/v1$)(?!v1$)|$)|^proto/grpc/|^tests/unit/|^\.ci$"
    r"|^client/python/.|^tests/[^/]+/.|^deploy/[^/]+(/|$)")
BANNED_TEXT = [(re.compile(rule), why) for rule, why in (
    (r"\bTODO\b(?!\((perf|soon|security)\): )", "TODO without a type: TODO(perf|soon|security): "),
    (r"\b(XXX|HACK|FIXME)\b", "say what is wrong, or mend it"),
    (r"(?<![\w.$}/-])/(work|home|root)/", "a path of one machine"),
    (r"\b(pypi|pythonhosted)\.org|\bnpmjs\.(org|com)|\bcrates\.io|\bproxy\.golang\.org"
     r"|\bdeb\.debian\.org|\brubygems\.org", "the name of a package host"),
    (r"(?i)\bissue\s*#?\d|\b(DESIGN|CONTRACT|BRIEF)(\.md|\s+\d)|\bresearch/[\w-]+\.md",
     "a reference to what is not in this tree"),
)]


def tracked(root):
    if os.path.exists(os.path.join(root, ".git")):
        listing = subprocess.run(["git", "-C", root, "ls-files", "-z"], check=True,
                                 capture_output=True, text=True).stdout
        names = [name for name in listing.split("\0") if name]
        return [name for name in names if os.path.isfile(os.path.join(root, name))]
    return sorted(os.path.relpath(os.path.join(folder, name), root)
                  for folder, _, names in os.walk(root) for name in names)


def check_place(path, files):
    top = path.split("/")[0]
    if "/" in path and top not in FOLDERS or "/" not in path and path not in ROOT_FILES:
        yield 1, f"the top level is fixed; {top} is not part of it"
    for piece in path.split("/"):
        for word in set(re.split(r"[_.-]", piece.lower())) & BANNED_FILE_WORDS:
            yield 1, f"'{word}' in a name says nothing; name what it does"


def check_text(path, lines):
    if TEXT_EXEMPT.search(path):
        return
    for number, line in enumerate(lines, 1):
        for rule, why in BANNED_TEXT:
            if rule.search(line):
                yield number, f"{rule.search(line)[0].strip()}: {why}"
        if path.endswith(LINED + ("CMakeLists.txt",)) and len(line) > COLUMNS_MAX:
            yield number, f"{len(line)} columns, {COLUMNS_MAX} at most"


def check_lengths(path, text, lines):
    kind = "shell" if lines[0].startswith("#!") and "sh" in lines[0] else os.path.splitext(path)[1]
    long = len(lines) > FILE_LINES_MAX and not MADE_BY.search("\n".join(lines[:2]))
    if long and not path.endswith((".md", ".json")) and path != "LICENSE":
        yield 1, f"{len(lines)} lines, {FILE_LINES_MAX} at most"
    if path.endswith("README.md") and "/" in path and len(lines) > README_LINES_MAX:
        yield 1, f"{len(lines)} lines in a folder's README, {README_LINES_MAX} at most"
    if path.endswith("CMakeLists.txt") and len(lines) > CMAKE_LINES_MAX:
        yield 1, f"{len(lines)} lines, {CMAKE_LINES_MAX} at most in a CMakeLists.txt"
    finder = {".h": functions.cpp_functions, ".cc": functions.cpp_functions,
              ".c": functions.cpp_functions, ".py": functions.python_functions,
              ".sh": functions.shell_functions, "shell": functions.shell_functions}.get(kind)
    for name, first, length in finder(text) if finder else ():
        if length > FUNCTION_LINES_MAX:
            yield first, f"{name} has {length} lines, {FUNCTION_LINES_MAX} at most"


def check_header(path, text, lines):
    if path.endswith(".h") and "#pragma once" not in text:
        guard = re.search(r"^#ifndef (HEDDLE_\w+_H_?)\n#define \1$", text, re.M)
        if not guard:
            yield 1, "no include guard (HEDDLE_..._H_)"
    if path.startswith("proto/shm/") and path.endswith(CPP):
        for number, line in enumerate(functions.code_only(text).split("\n"), 1):
            for word in arrows.BARE_WORDS.finditer(line):
                yield number, f"'{word[0]}': proto/shm has no heap, exceptions or output"


def check_built(path, lists):
    """A source is dead when neither a list above it names it nor another one by its folder."""
    folder, name = os.path.split(path)
    if not path.endswith((".cc", ".c")):
        return
    for place, text in lists.items():
        above = not place or folder == place or folder.startswith(place + "/")
        known_as = name if above else f"{os.path.basename(folder)}/{name}"
        if re.search(r"(?<![\w-])" + re.escape(known_as) + r"\b", text):
            return
    yield 1, "no CMakeLists.txt names it"


def build_lists(root, files):
    lists = {}
    for path in files:
        if os.path.basename(path) == "CMakeLists.txt":
            with open(os.path.join(root, path), encoding="utf-8") as file:
                lists[os.path.dirname(path)] = file.read()
    return lists


def check_readmes(files):
    folders = set()
    for path in files:
        parts = path.split("/")[:-1]
        folders.update("/".join(parts[:n]) for n in range(1, len(parts) + 1))
    for folder in sorted(folders):
        if not README_EXEMPT.search(folder) and folder + "/README.md" not in files:
            yield folder, 1, "a folder without a README.md"


def violations(root):
    files = set(tracked(root))
    lists = build_lists(root, files)
    yield from check_readmes(files)
    for path in sorted(files):
        for number, what in check_place(path, files):
            yield path, number, what
        try:
            with open(os.path.join(root, path), encoding="utf-8") as file:
                text = file.read()
        except UnicodeDecodeError:
            continue
        lines = text.rstrip("\n").split("\n")
        checks = [check_text(path, lines), check_lengths(path, text, lines),
                  check_header(path, text, lines), check_built(path, lists)]
        if path.endswith(CPP):
            checks.append(arrows.check(path, lines, files))
        for check in checks:
            for number, what in check:
                yield path, number, what
        if len(lines) > FILE_LINES_WARN and path.endswith(LINED):
            print(f"warning: {path}: {len(lines)} lines; {FILE_LINES_WARN} is much")


def main():
    default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    found = list(violations(os.path.normpath(sys.argv[1] if len(sys.argv) > 1 else default)))
    for path, number, what in found:
        print(f"{path}:{number}: {what}")
    print(f"tidy: {len(found)} violations")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
