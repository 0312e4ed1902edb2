#!/usr/bin/python3
"""Counts one ctest run by its cases. Usage: summary.py NAME JUNIT RESULTS_DIR

JUNIT is what `ctest --output-junit` wrote; RESULTS_DIR holds NAME.xml of each GoogleTest program
of this run. A program counts by its cases, anything else as one. Prints a line
"SKIPPED what: reason" per skip and "FAILED what" per failure, what the tests want to be seen, then
"passed failed skipped".

A test asks for that by a line "shown: WHAT; FIGURES" or "shown: WHAT; CASE; FIGURES". Figures are
"12 points, 3.5 s" and so on; of the cases of one WHAT they are added up.
"""

import os
import re
import sys
import xml.etree.ElementTree as xml


def first_line(text):
    lines = [line.strip() for line in (text or "").split("\n") if line.strip()]
    lines = [line for line in lines if not re.match(r"^[^ ]+\.(cc|h):\d+$", line)]
    return lines[0] if lines else "no reason given"


def cases(path):
    """(name, "passed" | "failed" | "skipped", reason) of each case of a GoogleTest program."""
    for case in xml.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.find("failure") is not None:
            yield name, "failed", ""
        elif case.find("skipped") is not None:
            skipped = case.find("skipped")
            yield name, "skipped", first_line(skipped.get("message") or skipped.text)
        elif case.get("status") != "notrun":
            yield name, "passed", ""


def tests(junit, results):
    for test in xml.parse(junit).getroot().iter("testcase"):
        name, status = test.get("name"), test.get("status")
        verdict = "passed" if status == "run" else "failed"
        skipped = test.find("skipped")
        if skipped is not None and "SKIP_RETURN_CODE" in skipped.get("message", ""):
            verdict = "skipped"  # any other "notrun" is a program that is not there
        output = (test.findtext("system-out") or "").strip().split("\n")
        report = os.path.join(results, name + ".xml")
        try:
            found = list(cases(report)) if os.path.exists(report) else []
        except xml.ParseError:
            found = []  # it died while it wrote
        yield from found
        if not found:
            yield name, verdict, first_line(output[-1])
        elif verdict == "failed" and not any(state == "failed" for _, state, _ in found):
            yield name + " (the program itself)", "failed", ""


def shown(junit):
    """Lines such as "step_kill_test: kill: 29 cases, 36903 points, 680 states, 22.7 s"."""
    for test in xml.parse(junit).getroot().iter("testcase"):
        sums = {}
        for line in (test.findtext("system-out") or "").split("\n"):
            what, *rest = line.removeprefix("shown: ").strip().split("; ")
            if not line.startswith("shown: ") or not rest:
                continue
            if len(rest) == 1:
                yield f"{test.get('name')}: {what}: {rest[0]}"
                continue
            figures = sums.setdefault(what, {"cases": 0})
            figures["cases"] += 1
            for number, unit in re.findall(r"(\d+(?:\.\d+)?) ([^,]+)", rest[-1]):
                figures[unit] = figures.get(unit, 0) + float(number)
        for what, figures in sums.items():
            numbers = [f"{value:.1f} {unit}" if unit == "s" else f"{value:.0f} {unit}"
                       for unit, value in figures.items()]
            yield f"{test.get('name')}: {what}: {', '.join(numbers)}"


def main():
    run, junit, results = sys.argv[1:]
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name, state, reason in tests(junit, results):
        counts[state] += 1
        if state == "skipped":
            print(f"SKIPPED {name} ({run}): {reason}")
        elif state == "failed":
            print(f"FAILED {name} ({run})")
    for line in shown(junit):
        print("SHOWN " + line)
    print(*counts.values())


if __name__ == "__main__":
    main()
