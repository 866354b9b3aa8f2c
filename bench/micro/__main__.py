# SPDX-License-Identifier: Apache-2.0
"""Runs the microbenchmarks repeatedly, of this tree or of this and another one in turn, and prints a table."""

import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys

from . import programs
from .comparison import CONFIDENCE, compare
from .interleave import RunFailed, run_in_turn


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-micro", description="The microbenchmarks, each several times; with --compare against those of "
        "another revision, in turn, in one run.")
    parser.add_argument("--filter", default="", type=_pattern, metavar="REGEX",
                        help="only benchmarks whose PROGRAM/NAME has this in it")
    parser.add_argument("--runs", type=int, default=10, metavar="N", help="of each program and revision (default 10)")
    parser.add_argument("--min-time", type=float, default=0.1, metavar="SECONDS",
                        help="of each benchmark in each run (default 0.1)")
    parser.add_argument("--compare", metavar="REV", help="a revision to compare with; it is built under .cache")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write all times there, too")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs: at least 1")
    return arguments


def _pattern(text):
    try:
        return re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error


def benchmarks_of(program, pattern):
    """The names in a program that the pattern wants."""
    listed = subprocess.run([program, "--benchmark_list_tests=true"], capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split() if pattern.search(f"{program.name}/{name}")]


def run(name, builds, benchmarks, arguments):
    exact = "^(" + "|".join(re.escape(benchmark) for benchmark in benchmarks) + ")$"
    options = {"builds": [str(path) for path in builds], "runs": arguments.runs, "pattern": exact,
               "min_time_s": arguments.min_time}
    if name not in programs.IN_LAB:
        return run_in_turn(**options)
    command = [programs.ROOT / "scripts/lab", "--nodes", "1", "--memory", "2G", sys.executable, "-B", "-m",
               "micro.interleave", json.dumps(options)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RunFailed(f"{name} in the lab: {result.stderr[-500:]}")
    return json.loads(result.stdout)


def readable(nanoseconds):
    for unit, scale in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if nanoseconds >= scale:
            return f"{nanoseconds / scale:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def line(name, of_all):
    """A row of the table, and of the JSON."""
    current = of_all[-1]
    row = {"benchmark": name, "median_ns": statistics.median(current), "ns": current}
    text = f"| {name} | {readable(row['median_ns'])} [{readable(min(current))}..{readable(max(current))}] |"
    if len(of_all) == 1:
        return row, text
    before = of_all[0]
    row |= {"before_median_ns": statistics.median(before), "before_ns": before, **compare(before, current)}
    verdict = ("**slower**" if row["ratio"] > 1 else "**faster**") if row["differs"] else ""
    return row, (f"{text} {readable(row['before_median_ns'])} | {row['ratio']:.3f} [{row['low']:.3f}..{row['high']:.3f}] "
                 f"| {verdict} |")


def main():
    arguments = parse_arguments()
    before, tree = programs.check_out(arguments.compare) if arguments.compare else (None, None)
    names = [name for name in programs.names(programs.ROOT) if tree is None or name in programs.names(tree)]
    current = programs.build(programs.ROOT, names)
    wanted = {name: benchmarks_of(current[name], arguments.filter) for name in names}
    wanted = {name: benchmarks for name, benchmarks in wanted.items() if benchmarks}
    builds = [programs.build(tree, list(wanted))] if tree and wanted else []
    builds.append(current)

    print("| benchmark | time |" + (f" {before} | ratio | |\n|---|---|---|---|---|" if before else "\n|---|---|"), flush=True)
    rows, skipped = [], {}
    for name, benchmarks in wanted.items():
        times, why = run(name, [build[name] for build in builds], benchmarks, arguments)
        skipped |= {f"{name}/{benchmark}": text for benchmark, text in why.items()}
        for benchmark, of_all in times.items():
            # One that only one of them has says nothing.
            if not all(of_all):
                continue
            row, text = line(f"{name}/{benchmark}", of_all)
            rows.append(row)
            print(text, flush=True)
    print()
    if before:
        marked = sum(row["differs"] for row in rows)
        print(f"The ratio is time / time of {before}, the median of neighbouring runs, with its {CONFIDENCE:.0%} "
              f"interval. {marked} of {len(rows)} are marked; {len(rows) * (1 - CONFIDENCE):.0f} would be by chance.")
    for name, text in skipped.items():
        print(f"- not measured: {name}: {text}")
    if arguments.json:
        result = {"schema": "godwit-bench-micro-1", "compared_with": before, "benchmarks": rows, "skipped": skipped}
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if not rows:
        print("bench-micro: no benchmark was measured (--filter?)", file=sys.stderr)
    return 0 if rows else 1


try:
    sys.exit(main())
except (programs.Unbuildable, RunFailed) as error:
    sys.exit(f"bench-micro: {error}")
