# SPDX-License-Identifier: Apache-2.0
"""Runs the comparison of Godwit with QEMU's own migration over TCP, and prints it."""

import argparse
import json
import os
import sys

from moves import series
from moves.measure import Place
from moves.rows import rows as make_rows

from . import report
from .contenders import all_tools
from .profiles import PROFILES


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench-migration", description="Godwit against QEMU's own migration.")
    parser.add_argument("--runs", type=int, default=5, help="moves per tool and profile (default 5)")
    parser.add_argument("--json", metavar="FILE", help="write rows and targets there")
    parser.add_argument("--qemu", choices=["7.2", "10.0"], default="7.2", help="which QEMU (default 7.2)")
    parser.add_argument("--profile", action="append", choices=[profile.name for profile in PROFILES])
    parser.add_argument("--tool", action="append", choices=[tool.name for tool in all_tools()])
    parser.add_argument("--memory-folder", default="/dev/shm", metavar="DIR",
                        help="where guest memory lies: a tmpfs or hugetlbfs mount (default /dev/shm)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds after which a move has not converged")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        sys.exit("bench-migration: needs root (network namespaces, userfaultfd, other processes' memory)")
    profiles = [item for item in PROFILES if not arguments.profile or item.name in arguments.profile]
    chosen = [item for item in all_tools() if not arguments.tool or item.name in arguments.tool]
    place = Place(arguments.qemu, arguments.memory_folder, timeout_s=arguments.timeout)
    results, failures = series.run(chosen, profiles, arguments.runs, place)
    rows = make_rows(results)
    targets = report.targets(rows, profiles)
    print(f"QEMU {arguments.qemu}, TCG, {os.cpu_count()} CPUs, kernel {os.uname().release}, "
          f"one network namespace's loopback, memory in {arguments.memory_folder}, preallocated on both sides\n")
    print(report.markdown(rows, targets, failures))
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            json.dump({"schema": "godwit-bench-migration-1", "rows": rows, "targets": targets, "failures": failures},
                      file, indent=2)
    # A move that failed, or came out wrong, is worse than a missed target.
    return 1 if failures else 0


sys.exit(main())
