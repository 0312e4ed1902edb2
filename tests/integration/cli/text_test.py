"""What the command says without a daemon: usage, help, completions, the manual."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest

from command import SOURCE, heddle

VERBS = ("create ls info delete put get ack nack bury extend peek browse who join purge kick "
         "shutdown reopen work").split()
OTHERS = {
    "dict": "create ls info clear delete get keys items watch set del incr append touch txn edit "
            "compute dump load",
    "list": "create ls info delete append get set insert pop slice remove clear len watch",
    "block": "create ls info delete read write watch mend force",
    "lock": "create ls info delete run elect acquire release who waiters force-release repair "
            "graph deadlocks orders",
    "sem": "create ls info delete run acquire release who waiters force-release",
    "event": "create ls info delete wait set clear waiters",
    "barrier": "create ls info delete wait abort reset waiters",
}
NOUNS = {"queue": VERBS, **{noun: verbs.split() for noun, verbs in OTHERS.items()}}
RUNNERS = (("lock", "run"), ("lock", "elect"), ("sem", "run"))
TOP = "ping status ls session version completion".split()


def run(*arguments, **environment):
    return heddle(*arguments, given="", environment=environment)


def read(path):
    with open(os.path.join(SOURCE, path), encoding="utf-8") as file:
        return file.read()


class Usage(unittest.TestCase):
    def usage(self, *arguments):
        ended = run(*arguments)
        self.assertEqual((ended.status, ended.out), (2, ""), ended)
        self.assertTrue(ended.err.startswith("heddle: "), ended)
        self.assertEqual(ended.err.count("\n"), 1, ended)
        return ended.err

    def test_wrong_words(self):
        self.assertIn("no noun or verb 'qeue'", self.usage("qeue"))
        self.assertIn("no verb 'pop'", self.usage("queue", "pop", "x"))
        self.assertIn("no option --lenght", self.usage("queue", "get", "x", "--lenght"))
        self.assertIn("heddle queue put --help", self.usage("queue", "put", "x"))
        self.assertIn("heddle queue ls", self.usage())
        self.assertIn("a verb is missing", self.usage("queue"))
        self.assertIn("unexpected argument y", self.usage("queue", "get", "x", "y"))

    def test_wrong_values(self):
        self.assertIn("500ms", self.usage("queue", "get", "x", "--timeout", "5 minutes"))
        for bad in ("-1", "5d", "s", "1e3", ""):
            self.usage("queue", "get", "x", "--timeout=" + bad)
        self.assertIn("16M", self.usage("queue", "create", "x", "--max-bytes", "big"))
        self.assertIn("block|reject|drop_oldest",
                      self.usage("queue", "create", "x", "--overflow", "wait"))
        self.assertIn("octal", self.usage("queue", "create", "x", "--mode", "0999"))
        self.assertIn("auto|shm|grpc", self.usage("ping", "--plane", "tcp"))
        self.assertIn("buried", self.usage("queue", "purge", "x", "--state", "gone"))
        self.assertIn("1 to 256", self.usage("queue", "work", "x", "-P", "0", "--", "true"))
        self.assertIn("1 or more", self.usage("queue", "get", "x", "-n", "0"))
        self.assertIn("mutex|rlock|rw", self.usage("lock", "create", "x", "--kind", "spin"))
        self.assertIn("text|int|double", self.usage("dict", "set", "x", "k", "v", "--type", "map"))
        self.assertIn("--count", self.usage("sem", "create", "x"))
        self.assertIn("--hold", self.usage("lock", "acquire", "x"))
        self.assertIn("lock run", self.usage("lock", "release", "x"))

    def test_runners_leave_the_statuses_of_their_command_alone(self):
        for words in RUNNERS:
            with self.subTest(words):
                ended = run(*words, "x")
                self.assertEqual((ended.status, ended.out), (125, ""), ended)
                self.assertIn(f"heddle {words[0]} {words[1]} x -- COMMAND", ended.err)
                ended = run(*words, "x", "--bogus", "--", "true")
                self.assertEqual(ended.status, 125, ended)
                ended = run(*words, "x", "--json", "--timeout", "soon", "--", "true")
                self.assertEqual((ended.status, ended.error["reason"]), (125, "INVALID_ARGUMENT"))

    def test_as_json(self):
        ended = run("queue", "put", "x", "--json")
        self.assertEqual((ended.status, ended.error["reason"]), (2, "INVALID_ARGUMENT"))
        ended = run("queue", "get", "x", "--lease", "5s", "--json")
        self.assertEqual((ended.status, ended.error["reason"]), (2, "INVALID_ARGUMENT"))

    def test_nobody_there(self):
        with tempfile.TemporaryDirectory() as here:
            ended = run("ping", "--runtime-dir", here)
            self.assertEqual(ended.status, 10, ended)
            self.assertIn(here, ended.err)
            self.assertIn("heddled", ended.err)
            ended = run("queue", "put", "x", "y", "--json", HEDDLE_RUNTIME_DIR=here)
            self.assertEqual((ended.status, ended.error["reason"]), (10, "DAEMON_UNREACHABLE"))


class Help(unittest.TestCase):
    def test_every_verb_has_help(self):
        verbs = [[noun, verb] for noun in NOUNS for verb in NOUNS[noun]]
        for words in verbs + [[verb] for verb in TOP]:
            with self.subTest(words):
                ended = run(*words, "--help")
                self.assertEqual((ended.status, ended.err), (0, ""))
                self.assertIn("Usage: heddle " + " ".join(words), ended.out)
                if words != ["session"]:
                    self.assertIn("Examples:", ended.out)
                self.assertLessEqual(max(map(len, ended.out.split("\n"))), 100)

    def test_version(self):
        self.assertRegex(run("version").out, r"^heddle \d+\.\d+\.\d+\n$")
        self.assertEqual(run("--version").out, run("version").out)
        self.assertEqual(set(run("version", "--json").json), {"version", "library"})

    def test_every_verb_is_tested_here(self):
        for noun, verbs in NOUNS.items():
            listed = re.findall(r"^  ([\w-]+) {2,}", run(noun, "--help").out.split("Verbs:")[1],
                                re.M)
            self.assertEqual(sorted(listed), sorted(verbs))


class Made(unittest.TestCase):
    def test_completions_are_up_to_date(self):
        for shell, name in (("bash", "heddle.bash"), ("zsh", "_heddle"), ("fish", "heddle.fish")):
            with self.subTest(shell):
                self.assertEqual(run("completion", shell).out, read("deploy/completions/" + name),
                                 f"heddle completion {shell} > deploy/completions/{name}")
        self.assertEqual(run("completion", "tcsh").status, 2)

    def complete(self, *words):
        script = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _heddle; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        ended = subprocess.run(
            ["bash", "-c", script, "bash", os.path.join(SOURCE, "deploy/completions/heddle.bash"),
             "heddle", *words], capture_output=True, text=True, check=True)
        self.assertEqual(ended.stderr, "")
        return ended.stdout.split()

    def test_bash_completion(self):
        self.assertIn("queue", self.complete(""))
        self.assertEqual(self.complete("queue", "pu"), ["purge", "put"])
        self.assertEqual(self.complete("queue", "create", "x", "--over"), ["--overflow"])
        self.assertEqual(self.complete("queue", "create", "x", "--overflow", "r"), ["reject"])
        self.assertEqual(self.complete("completion", "f"), ["fish"])
        self.assertEqual(self.complete("queue", "work", "x", "--", ""), [])
        self.assertEqual(self.complete("lock", "rel"), ["release"])
        self.assertEqual(self.complete("lock", "create", "x", "--kind", "r"), ["rlock", "rw"])

    def read_by(self, shell, name):
        if shutil.which(shell) is None:
            self.skipTest(f"there is no {shell}")
        subprocess.run([shell, "-n", f"{SOURCE}/deploy/completions/{name}"], check=True)

    def test_zsh_can_read_its_completions(self):
        self.read_by("zsh", "_heddle")

    def test_fish_can_read_its_completions(self):
        self.read_by("fish", "heddle.fish")
        script = f"source {SOURCE}/deploy/completions/heddle.fish; complete -C 'heddle queue pu'"
        ended = subprocess.run(["fish", "--no-config", "-c", script], capture_output=True,
                               text=True, check=True)
        self.assertEqual([line.split("\t")[0] for line in ended.stdout.splitlines()],
                         ["purge", "put"])

    def test_manual_is_up_to_date(self):
        page = run("manual").out
        self.assertEqual(page, read("deploy/man/heddle.1"), "heddle manual > deploy/man/heddle.1")
        for noun, verbs in NOUNS.items():
            for verb in verbs:
                self.assertIn(f".SS heddle {noun} " + verb.replace("-", r"\-"), page)
        for status in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 124, 125, 126, 127, 130):
            self.assertIn(f".TP\n{status}\n", page)

    def test_manual_can_be_read(self):
        ended = subprocess.run(["man", "--warnings", "-l", SOURCE + "/deploy/man/heddle.1"],
                               capture_output=True, text=True, check=False,
                               env={**os.environ, "MANWIDTH": "80", "LC_ALL": "C.UTF-8"})
        if ended.returncode == 127 or "No such file" in ended.stderr:
            self.skipTest("there is no man")
        self.assertEqual(ended.stderr, "")
        self.assertIn("heddle queue put NAME BODY", ended.stdout)


if __name__ == "__main__":
    unittest.main()
