"""Runs the walk-through of README.md word for word. Run under with_daemon.

Each ```console block is typed into the same bash. A line "$ command" is followed by what it must
print, stdout and stderr together; "..." stands for anything, on its own line for any lines.
"""

import os
import re
import subprocess
import sys

SOURCE = os.environ["HEDDLE_SOURCE_DIR"]
MARK = "-- end of command --"


def steps_of(text):
    """(command, expected output) of every console block, in order."""
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        command, expected = None, []
        for line in block.splitlines():
            if line.startswith("$ "):
                if command is not None:
                    yield command, expected
                command, expected = line[2:], []
            else:
                expected.append(line)
        if command is not None:
            yield command, expected


def matches(expected, printed):
    """On a line with a wildcard, runs of spaces count as one: columns are as wide as their rows."""
    pattern = []
    for line in expected:
        if line == "...":
            pattern.append(r"(?:.*\n)*")
        elif "..." in line:
            words = re.split(r" *\.\.\. *", line)
            pattern.append("[^\n]*".join(
                r" +".join(map(re.escape, re.split(" +", word))) for word in words) + "\n")
        else:
            pattern.append(re.escape(line) + "\n")
    return re.fullmatch("".join(pattern), printed) is not None


def main():
    with open(SOURCE + "/README.md", encoding="utf-8") as file:
        steps = list(steps_of(file.read()))
    if len(steps) < 10:
        sys.exit("README.md has no walk-through")
    shell = subprocess.Popen(["bash"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
    wrong = 0
    status = 0
    for command, expected in steps:
        # The mark has a line to itself, and $? stays what the command left.
        shell.stdin.write(f"(exit {status}); {command}\nprintf '%s %s\\n' '{MARK}' $?\n")
        shell.stdin.flush()
        printed = ""
        while MARK not in (line := shell.stdout.readline()):
            if not line:
                sys.exit(f"$ {command}\nended the shell:\n{printed}")
            printed += line
        before, _, after = line.partition(MARK)
        printed += before + "\n" if before else ""
        status = int(after)
        if not matches(expected, printed):
            wrong += 1
            print(f"$ {command}\n--- README.md says\n" + "\n".join(expected) +
                  f"\n--- it printed\n{printed}")
    shell.stdin.close()
    shell.wait()
    print(f"{len(steps)} commands of README.md, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
