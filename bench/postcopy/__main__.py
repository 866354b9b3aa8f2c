# SPDX-License-Identifier: Apache-2.0
"""Runs the comparison of Godwit's post-copy with QEMU's own, and prints it."""

import argparse
import json
import os
import subprocess
import sys

from harness import paths
from moves import lab, series
from moves.measure import Place
from moves.rows import rows as make_rows

from . import lab_faults, report
from .contenders import all_tools
from .measure import METRICS, Measure
from .profiles import PROFILES


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench-postcopy", description="Godwit's post-copy against QEMU's own.")
    parser.add_argument("--runs", type=int, default=5, help="moves per tool and guest (default 5)")
    parser.add_argument("--json", metavar="FILE", type=os.path.abspath, help="write rows, targets and curves there")
    parser.add_argument("--quick", action="store_true", help="a guest of 1 GiB instead of 4")
    parser.add_argument("--qemu", choices=["7.2", "10.0"], default="10.0", help="which QEMU (default 10.0)")
    parser.add_argument("--profile", action="append", choices=[profile.name for profile in PROFILES])
    parser.add_argument("--tool", action="append", choices=[tool.name for tool in all_tools()])
    parser.add_argument("--memory-folder", default="/dev/shm", metavar="DIR",
                        help="where guest memory lies: a tmpfs or hugetlbfs mount (default /dev/shm)")
    parser.add_argument("--lab", action="store_true",
                        help="faults over RDMA instead, in the RDMA lab, with Godwit alone (takes --runs, --json, --qemu)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds after which a move has not ended")
    return parser.parse_args()


def measure_floor():
    """What fault_floor says: the least that a missing page costs here."""
    return json.loads(subprocess.run([paths.BUILD / "fault_floor"], check=True, capture_output=True, text=True).stdout)


def run_in_lab(arguments):
    if not lab.is_here():
        lab.enter("postcopy", "4G", arguments.json)
    return lab_faults.run(arguments.runs, arguments.qemu, measure_floor)


def run_here(arguments):
    if os.geteuid() != 0:
        sys.exit("bench-postcopy: needs root (network namespaces, userfaultfd, other processes' memory)")
    profiles = [item.quick() if arguments.quick else item for item in PROFILES
                if not arguments.profile or item.name in arguments.profile]
    chosen = [item for item in all_tools() if not arguments.tool or item.name in arguments.tool]
    place = Place(arguments.qemu, arguments.memory_folder, timeout_s=arguments.timeout)
    floors = [measure_floor()]
    measure = Measure(floors[0]["ticks_per_s"])
    results, failures = series.run(chosen, profiles, arguments.runs, place, measure)
    floors.append(measure_floor())
    rows = make_rows(results, METRICS)
    targets = report.targets(rows, profiles, floors)
    print(f"QEMU {arguments.qemu}, TCG, {os.cpu_count()} CPUs, kernel {os.uname().release}, "
          f"one network namespace's loopback, memory in {arguments.memory_folder}, preallocated on both sides\n")
    print(report.markdown(rows, profiles, targets, floors, failures))
    return {"schema": "godwit-bench-postcopy-1", "rows": rows, "targets": targets, "floors": floors,
            "curves": measure.curves, "failures": failures}


def main():
    arguments = parse_arguments()
    result = run_in_lab(arguments) if arguments.lab else run_here(arguments)
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
    # A move that failed, or came out wrong, is worse than a missed target.
    return 1 if result["failures"] else 0


sys.exit(main())
