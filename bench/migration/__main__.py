# SPDX-License-Identifier: Apache-2.0
"""Runs the comparison: every tool in turn, and that repeatedly, so that what drifts on the machine hits them all."""

import argparse
import json
import os
import sys
import time

from . import measure, report, tools


def parse_arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench-migration", description="Godwit against QEMU's own migration.")
    parser.add_argument("--runs", type=int, default=5, help="moves per tool and profile (default 5)")
    parser.add_argument("--json", metavar="FILE", help="write rows and targets there")
    parser.add_argument("--qemu", choices=["7.2", "10.0"], default="7.2", help="which QEMU (default 7.2)")
    parser.add_argument("--profile", action="append", choices=[profile.name for profile in measure.PROFILES])
    parser.add_argument("--tool", action="append", choices=[tool.name for tool in tools.all_tools()])
    parser.add_argument("--memory-folder", default="/dev/shm", metavar="DIR",
                        help="where guest memory lies: a tmpfs or hugetlbfs mount (default /dev/shm)")
    parser.add_argument("--timeout", type=float, default=60, help="seconds after which a move has not converged")
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if os.geteuid() != 0:
        sys.exit("bench-migration: needs root (network namespaces, userfaultfd, other processes' memory)")
    profiles = [item for item in measure.PROFILES if not arguments.profile or item.name in arguments.profile]
    chosen = [item for item in tools.all_tools() if not arguments.tool or item.name in arguments.tool]
    results = {(profile.name, tool.name): [] for profile in profiles for tool in chosen}
    failures = []
    started = time.monotonic()
    for run in range(arguments.runs):
        for profile in profiles:
            for tool in chosen:
                try:
                    values = measure.measure(tool, profile, arguments.qemu, arguments.timeout,
                                             arguments.memory_folder)
                except (tools.DidNotComplete, AssertionError) as error:
                    failures.append(f"{profile.name}, {tool.name}, run {run + 1}: {error}")
                    print(f"[{time.monotonic() - started:5.0f} s] {failures[-1]}", file=sys.stderr, flush=True)
                    continue
                results[profile.name, tool.name].append(values)
                print(f"[{time.monotonic() - started:5.0f} s] {profile.name:9} {tool.name:22} "
                      f"{values['wall']:7.0f} ms total, {values['guest-downtime']:7.1f} ms downtime, "
                      f"{values['cpu']:5.2f} s CPU", file=sys.stderr, flush=True)
    rows = report.rows(results)
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
