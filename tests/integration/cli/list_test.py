"""heddle list and heddle block: every verb on both planes. With a daemon."""

import json
import os
import subprocess
import unittest

from command import HEDDLE, both_planes, heddle


class Members:
    """Mixed into a TestCase together with `noun`."""

    plane = "shm"
    options = ()

    def setUp(self):
        self.name = f"{self.plane}.{self.id().rsplit('.', 1)[1]}"
        self.ok("create", *self.options)

    def run_verb(self, verb, *arguments, given="", **more):
        return heddle(self.noun, verb, self.name, *arguments, given=given, plane=self.plane, **more)

    def ok(self, verb, *arguments, **more):
        ended = self.run_verb(verb, *arguments, **more)
        self.assertEqual((ended.status, ended.err), (0, ""), ended)
        return ended.out

    def ends(self, status, verb, *arguments, **more):
        ended = self.run_verb(verb, *arguments, **more)
        self.assertEqual(ended.status, status, ended)
        return ended

    def shown(self):
        return json.loads(self.ok("info", "--json"))

    def watching(self, *arguments):
        return subprocess.Popen([HEDDLE, self.noun, "watch", self.name, *arguments,
                                 "--plane", self.plane], stdout=subprocess.PIPE, text=True)

    def look_at_the_common_verbs(self):
        rows = json.loads(heddle(self.noun, "ls", self.name, "--json", given="",
                                 plane=self.plane).out)
        self.assertEqual([row["name"] for row in rows], [self.name])
        self.assertIn(self.name, heddle(self.noun, "ls", "--names", given="").out.split())
        self.assertIn("NAME", heddle(self.noun, "ls", given="").out)
        everything = heddle("ls", self.name, "--json", given="", plane=self.plane)
        self.assertIn((self.noun, self.name, os.getuid()),
                      [(row["kind"], row["name"], row["owner_uid"])
                       for row in everything.json["objects"]])
        self.assertIn("mode              0600", self.ok("info"))
        self.assertEqual(self.ends(13, "create", *self.options, "--exclusive", "--json")
                         .error["reason"], "EXISTS_OTHER_OPTIONS")
        self.ok("create", *self.options)
        self.assertEqual(json.loads(self.ok("delete", "--json")),
                         {"name": self.name, "deleted": True})
        self.assertIn(f"heddle {self.noun} create", self.ends(4, "info").err)


class Lists(Members):
    noun = "list"

    def all(self):
        return self.ok("slice").splitlines()

    def test_common_verbs(self):
        self.look_at_the_common_verbs()

    def test_elements_come_and_go(self):
        self.ok("append", "b", "d")
        self.ok("insert", "0", "a")
        self.ok("insert", "-1", "c")
        self.assertEqual(self.all(), ["a", "b", "c", "d"])
        self.ok("set", "-1", "D")
        self.assertEqual(self.ok("get", "3"), "D\n")
        self.assertEqual(self.ok("get", "0", "--raw"), "a")
        self.assertEqual(self.ok("len"), "4\n")
        self.assertEqual(self.ok("pop"), "D\n")
        self.assertEqual(self.ok("pop", "0", "--raw"), "a")
        self.ok("remove", "1")
        self.assertEqual(self.all(), ["b"])
        changed = json.loads(self.ok("append", "e", "--json"))
        self.assertEqual((changed["index"], changed["length"]), (1, 2))
        self.ok("clear")
        self.assertEqual(self.all(), [])

    def test_values_of_every_type_come_back(self):
        for value, kind in (("caf\u00e9", "text"), ("-7", "int"), ("0.5", "double"),
                            ("true", "bool"), ('{"a": [1, 2]}', "json"), ("", "null")):
            self.ok("append", "--type", kind, "--", value)
            self.assertEqual(json.loads(self.ok("get", "-1", "--json"))["type"], kind)
        self.assertEqual(self.all(), ["caf\u00e9", "-7", "0.5", "true", '{"a": [1, 2]}', "null"])
        raw = bytes(range(256))
        ended = heddle("list", "append", self.name, "-", "--type", "data", given=raw,
                       plane=self.plane)
        self.assertEqual(ended.status, 0, ended)
        got = heddle("list", "pop", self.name, given=b"", plane=self.plane)
        self.assertEqual(got.out, raw)
        self.assertIn("not a whole number", self.ends(2, "append", "x", "--type", "int").err)

    def test_slices(self):
        self.ok("append", *[str(n) for n in range(10)])
        self.assertEqual(self.ok("slice", "7").split(), ["7", "8", "9"])
        self.assertEqual(self.ok("slice", "-2").split(), ["8", "9"])
        self.assertEqual(self.ok("slice", "2", "4").split(), ["2", "3"])
        self.assertEqual(self.ok("slice", "5", "-3").split(), ["5", "6"])
        self.assertEqual(self.ok("slice", "10"), "")
        self.assertEqual(self.ok("slice", "0", "2", "--raw"), "0\x001\x00")
        rows = [json.loads(line) for line in self.ok("slice", "8", "--json").splitlines()]
        self.assertEqual([(row["index"], row["value"]) for row in rows], [(8, "8"), (9, "9")])
        revision = self.shown()["revision"]
        self.ends(14, "slice", "--if-revision", str(revision - 1))

    def test_refusals_have_exit_codes(self):
        self.ends(5, "pop")
        self.assertEqual(self.ends(1, "get", "0", "--json").error["reason"], "OUT_OF_RANGE")
        self.ok("append", "a")
        self.assertEqual(self.ends(14, "set", "0", "b", "--if-revision", "0", "--json")
                         .error["reason"], "MISMATCH")
        self.ok("set", "0", "b", "--if-revision", "1")
        small = self.name + ".small"
        heddle("list", "create", small, "--max-len", "1", given="", plane=self.plane)
        ended = heddle("list", "append", small, "1", "2", given="", plane=self.plane)
        self.assertEqual(ended.status, 7, ended)
        self.assertIn("max_len", ended.err)

    def test_watch(self):
        watch = self.watching("--from", "1", "-n", "2")
        self.ok("append", "a")
        self.assertEqual(watch.stdout.readline(), "1\n")
        self.ok("append", "b")
        self.assertEqual(watch.stdout.readline(), "2\n")
        self.assertEqual(watch.wait(), 0)
        watch.stdout.close()
        self.ends(5, "watch", "--timeout", "20ms")


class Blocks(Members):
    noun = "block"
    options = ("--size", "1000")

    def test_common_verbs(self):
        self.look_at_the_common_verbs()

    def test_bytes_are_what_they_were(self):
        raw = bytes(range(256)) * 3
        ended = heddle("block", "write", self.name, "-", "--at", "10", given=raw, plane=self.plane)
        self.assertEqual(ended.status, 0, ended)
        got = heddle("block", "read", self.name, given=b"", plane=self.plane)
        self.assertEqual(got.out, bytes(10) + raw + bytes(1000 - 10 - len(raw)))
        part = heddle("block", "read", self.name, "--at", "12", "--bytes", "2", given=b"",
                      plane=self.plane)
        self.assertEqual(part.out, b"\2\3")
        self.ok("write", "hello")
        row = json.loads(self.ok("read", "--bytes", "5", "--json"))
        self.assertEqual(row, {"at": 0, "data": "aGVsbG8=", "version": 2, "torn": False})

    def test_refusals_have_exit_codes(self):
        self.assertEqual(self.ends(1, "read", "--at", "990", "--bytes", "11", "--json")
                         .error["limit"], 1000)
        self.assertEqual(self.ends(1, "write", "x", "--at", "1000", "--json").error["reason"],
                         "OUT_OF_RANGE")
        self.assertEqual(json.loads(self.ok("write", "a", "--json"))["version"], 1)
        self.assertEqual(self.ends(14, "write", "b", "--if-version", "0", "--json")
                         .error["reason"], "MISMATCH")
        self.ok("write", "b", "--if-version", "1")
        self.assertIn("needs its size", heddle("block", "create", self.name + ".new", given="",
                                               plane=self.plane).err)

    def test_mend_and_force(self):
        self.ok("mend")
        ended = self.ends(0, "force", "--json")
        self.assertEqual(json.loads(ended.out)["ended"], False)
        self.assertFalse(self.shown()["torn"])

    def test_watch(self):
        watch = self.watching("--seen", "0", "-n", "2")
        self.ok("write", "a")
        self.assertEqual(watch.stdout.readline(), "1\n")
        self.ok("write", "b")
        self.assertEqual(watch.stdout.readline(), "2\n")
        self.assertEqual(watch.wait(), 0)
        watch.stdout.close()
        self.ends(5, "watch", "--timeout", "20ms")


load_tests = both_planes(Lists, Blocks)

if __name__ == "__main__":
    unittest.main()
