# SPDX-License-Identifier: Apache-2.0
"""Measures each link with each tool, in turn, and prints a table for each link as soon as it is measured.

What needs RDMA devices goes on in the lab, in a process of its own that writes its results as JSON.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys

from harness import paths
from moves import lab
from moves.targets import print_targets
from rdma.processes import MeasurementFailed

from . import links, report, series, tools

LINKS = (*links.ON_THIS_HOST, *links.IN_LAB)


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-interconnect", description="godwit bench beside iperf3, qperf, UCX and libfabric over TCP, and "
        "beside perftest over RDMA in the lab.")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each tool on each link (default 3)")
    parser.add_argument("--time", type=int, default=2, metavar="SECONDS", help="of each figure of a run (default 2)")
    parser.add_argument("--link", action="append", choices=LINKS, help="measure this one (several times for several)")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write rows and targets there")
    parser.add_argument("--in-lab", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.runs < 1 or arguments.time < 1:
        parser.error("--runs and --time: at least 1")
    return arguments


def measure_here(name, arguments):
    """Returns the link, the results, how long the sweep took, and what failed."""
    with links.ON_THIS_HOST[name]() as link:
        results, failures = series.run(link, tools.over_tcp(), arguments.runs, arguments.time)
        sweep_s = None
        try:
            sweep_s = series.sweep(link)
        except MeasurementFailed as error:
            failures.append(f"{name}, sweep: {error}")
    return link, results, sweep_s, failures


def measure_in_lab(names, arguments):
    """Yields the same for each, of one boot of the lab."""
    command = [paths.REPOSITORY / "scripts/lab", "--nodes", "1", "--memory", "2G", sys.executable, "-B", "-m",
               "interconnect", "--in-lab", "--runs", str(arguments.runs), "--time", str(arguments.time),
               *(f"--link={name}" for name in names)]
    ran = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    found = json.loads(ran.stdout) if ran.returncode == 0 else {}
    for name in names:
        link = links.IN_LAB[name][0]
        if name not in found:
            yield link, {}, None, [f"{name}: the lab ended with {ran.returncode}"]
            continue
        results = {(name, tool): runs for tool, runs in found[name]["results"].items()}
        yield link, results, None, found[name]["failures"]


def inside_lab(arguments):
    found = {}
    for name in arguments.link:
        with links.IN_LAB[name][1]() as link:
            results, failures = series.run(link, tools.over_rdma(), arguments.runs, arguments.time)
        found[name] = {"results": {tool: runs for (_, tool), runs in results.items()}, "failures": failures}
    json.dump(found, sys.stdout)


def measure_all(names, arguments):
    for name in names:
        if name in links.ON_THIS_HOST:
            yield measure_here(name, arguments)
    there = [name for name in names if name in links.IN_LAB]
    if there:
        yield from measure_in_lab(there, arguments)


def main():
    arguments = parse_arguments()
    if arguments.in_lab:
        if not lab.is_here():
            sys.exit("bench-interconnect: this is not the lab")
        inside_lab(arguments)
        return 0
    if os.geteuid() != 0:
        sys.exit("bench-interconnect: needs root (network namespaces)")
    print(f"{os.cpu_count()} CPUs, kernel {os.uname().release}; {arguments.runs} runs of each in turn: median, range in "
          "brackets, then godwit's by theirs (the median of neighbours)\n", flush=True)
    result = {"schema": "godwit-bench-interconnect-1", "rows": [], "targets": [], "failures": []}
    for link, results, sweep_s, failures in measure_all(arguments.link or LINKS, arguments):
        rows = report.make_rows(results)
        print(report.markdown(link, results, rows), flush=True)
        result["rows"] += rows
        result["targets"] += report.targets(link, results, sweep_s)
        result["failures"] += failures
    print_targets(result["targets"])
    for text in result["failures"]:
        print(f"- did not complete: {text}")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    # A measurement that failed is worse than a missed target.
    return 1 if result["failures"] else 0


sys.exit(main())
