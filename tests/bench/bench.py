#!/usr/bin/python3
"""Measures Heddle beside its peers. Usage: bench.py [--only REGEX] [--rounds N] [--smoke]

The build directory is HEDDLE_BUILD_DIR, else build/bench. Prints one line a row and writes
results.json there (smoke.json with --smoke). Exit status 1 only if something could not run.
"""

import argparse
import json
import os
import platform
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import footprint
import rows
import servers

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("HEDDLE_BUILD_DIR", os.path.join(SOURCE, "build", "bench"))
FIGURE_S_MAX, SKIPPED, QUEUE_LEN = 60, 77, 65536
SMOKE_S, SMOKE_OUTSTANDING, SMOKE_BRIDGE_BYTES = 0.02, 100, 16 << 20


class Failed(Exception):
    """A benchmark that could not run; why."""


class Bench:
    def __init__(self, directory, smoke):
        self.servers = servers.Servers(BUILD, directory)
        self.smoke, self.failures = smoke, []
        self.absent = {}   # command key: why
        self.found = {}    # command key: one dict of metrics, or None, a round

    def command(self, figure):
        keys = dict(figure.keys)
        if self.smoke:
            if "seconds" in keys:
                keys["seconds"] = SMOKE_S
            if figure.program == "shell":
                keys["bytes"] = SMOKE_BRIDGE_BYTES
            for crowd in ("outstanding", "remote"):
                if crowd in keys:
                    keys[crowd] = min(keys[crowd], SMOKE_OUTSTANDING)
        if figure.server:
            keys["socket"] = self.servers.address(figure.server)
        runtime = "pinned" if figure.server == "pinned" else "daemon"
        environment = dict(self.servers.environment, HEDDLE_PLANE="shm",
                           HEDDLE_RUNTIME_DIR=self.servers.runtime_dir(runtime))
        if figure.peer.startswith("heddle"):
            self.servers.address(runtime)
        if figure.program == "grpc" and figure.peer == "heddle" and figure.work != "pipe":
            keys["queue"] = "bench/" + figure.work
            subprocess.run([BUILD + "/bin/heddle_bench_objects", "make", keys["queue"],
                            str(QUEUE_LEN)], env=environment, check=True)
        words = [f"{key}={value}" for key, value in keys.items() if value != ""]
        program = f"{BUILD}/bin/heddle_bench_{figure.program}"
        if figure.program == "shell":
            program = os.path.join(os.path.dirname(__file__), "shell_bench.sh")
            environment["PATH"] = BUILD + "/bin:" + environment.get("PATH", os.defpath)
        return [program, figure.peer, figure.work, *words], environment

    def measure(self, figure):
        """One run. Raises Absent or Failed."""
        command, environment = self.command(figure)
        label = " ".join(command[1:3])
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        try:
            out, err = process.communicate(timeout=FIGURE_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()  # its sides end with it
            process.communicate()
            raise Failed(f"{label} did not end in {FIGURE_S_MAX} s") from None
        if process.returncode == SKIPPED:
            raise servers.Absent(err.strip())
        if process.returncode != 0:
            raise Failed(f"{label}: {err.strip()[-300:]} (exit status {process.returncode})")
        return json.loads(out)

    def round(self, figures):
        random.shuffle(figures)
        for figure in figures:
            key = figure.command_key()
            if key in self.absent:
                continue
            result = None
            try:
                result = self.measure(figure)
            except servers.Absent as why:
                self.absent[key] = str(why)
            except (Failed, RuntimeError, subprocess.SubprocessError) as why:
                self.failures.append(str(why))
                print(f"FAILED {why}", file=sys.stderr, flush=True)
            self.found.setdefault(key, []).append(result)

    def compare(self, row):
        """The row as it is printed and stored."""
        line = {"group": row.group, "work": row.work, "must": row.must, "aim": row.aim,
                "how": row.how}
        for figure in (row.ours, row.peer):
            if figure.command_key() in self.absent:
                return dict(line, verdict="skipped", why=self.absent[figure.command_key()])
        ours, peers = (self.found.get(f.command_key(), []) for f in (row.ours, row.peer))
        pairs = [(a[row.ours.metric], b[row.peer.metric]) for a, b in zip(ours, peers) if a and b]
        if not pairs:
            return dict(line, verdict="failed", why="no round had both figures")
        ratios = [a - b if row.how == "+" else a / b for a, b in pairs]
        middle = statistics.median(ratios)
        line.update(ours=statistics.median(a for a, _ in pairs), pairs=pairs,
                    peer=statistics.median(b for _, b in pairs), ratio=middle,
                    low=min(ratios), high=max(ratios))
        return dict(line, verdict=verdict(middle, row.how, row.must))


def verdict(value, how, must):
    if must is None:
        return "-"
    return "met" if (value >= must if how == ">=" else value <= must) else "MISSED"


def number(value):
    if value is None:
        return "-"
    for limit, sign in ((1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            return f"{value / (1e6 if sign == 'M' else 1e3):.3g}{sign}"
    return f"{value:.3g}"


def show(line):
    if line["verdict"] in ("skipped", "failed"):
        return f"{line['work']} | {line['verdict']}: {line['why']}"
    must = "-" if line["must"] is None else f"{line['how'].replace('+', '<=')} {line['must']:g}"
    return (f"{line['work']} | {number(line['ours'])} | {number(line['peer'])} | "
            f"{number(line['ratio'])} [{number(line['low'])}-{number(line['high'])}] | {must} | "
            f"{number(line['aim'])} | {line['verdict']}")


def show_limit(limit):
    must = "-" if limit.must is None else f"<= {limit.must:g}"
    return (f"{limit.work} | {number(limit.value)} {limit.unit} | - | - | {must} | - | "
            f"{verdict(limit.value, '<=', limit.must)}")


def measure_rows(bench, chosen, rounds):
    figures = {}
    for row in chosen:
        for figure in (row.ours, row.peer):
            figures[figure.command_key()] = figure
    for number_of_round in range(rounds):
        print(f"round {number_of_round + 1} of {rounds}", file=sys.stderr, flush=True)
        bench.round(list(figures.values()))
    return [bench.compare(row) for row in chosen]


def measure_footprint(bench, smoke):
    limits = []
    try:
        sizes = footprint.SMOKE if smoke else footprint.Sizes()
        for limit in footprint.Footprint(bench.servers, sizes).all():
            limits.append(limit)
            print(show_limit(limit), flush=True)
    except (RuntimeError, OSError, subprocess.SubprocessError) as why:
        bench.failures.append(f"footprint: {why}")
        print(f"footprint | failed: {why}", flush=True)
    return limits


def machine():
    with open("/proc/loadavg", encoding="ascii") as file:
        load = file.read().split()[:3]
    return {"kernel": platform.release(), "cores": os.cpu_count(), "load": load,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--only", default="", help="rows whose group or work matches; "
                        "groups: rate lease many batch size zerocopy rtt wake grpc locks "
                        "pipes dicts footprint")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="tiny; shows only that it runs")
    options = parser.parse_args()
    wanted = re.compile(options.only)
    chosen = [row for row in rows.all_rows()
              if wanted.search(row.group) or wanted.search(row.work)]
    directory = tempfile.mkdtemp(prefix="heddle-bench-")
    bench = Bench(directory, options.smoke)
    before = machine()
    try:
        print("work | ours | peer | ratio [min-max] | must | aim | met/missed", flush=True)
        lines = measure_rows(bench, chosen, 1 if options.smoke else options.rounds)
        for line in lines:
            print(show(line))
        limits = measure_footprint(bench, options.smoke) if wanted.search("footprint") else []
    finally:
        bench.servers.stop()
        shutil.rmtree(directory, ignore_errors=True)
    results = BUILD + ("/smoke.json" if options.smoke else "/results.json")
    with open(results, "w", encoding="ascii") as file:
        json.dump({"before": before, "after": machine(), "rows": lines,
                   "footprint": [vars(limit) for limit in limits],
                   "failures": bench.failures}, file, indent=1)
    missed = sum(line["verdict"] == "MISSED" for line in lines) + sum(
        verdict(limit.value, "<=", limit.must) == "MISSED" for limit in limits)
    print(f"{len(lines) + len(limits)} rows, {missed} missed, "
          f"{sum(line['verdict'] == 'skipped' for line in lines)} skipped, "
          f"{len(bench.failures)} could not run")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
