# SPDX-License-Identifier: Apache-2.0
"""Runs the comparison over RDMA in one boot of the lab, and prints each row as soon as it is measured.

Outside the lab it starts itself again inside, with the same arguments.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from harness import paths
from moves import lab, series
from moves.lab import DEVICE, HOST
from moves.measure import Place
from moves.rows import rows as make_rows
from moves.targets import print_targets

from . import migrations, rails, transfers

PARTS = ("transfers", "migrations", "rails")


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/bench-rdma", description="Godwit over RDMA against perftest and QEMU's own rdma: migration, "
        "side by side in one boot of the RDMA lab.")
    parser.add_argument("--json", metavar="FILE", type=os.path.abspath, help="write rows and targets there")
    parser.add_argument("--quick", action="store_true", help="fewer sizes and repetitions: some minutes")
    parser.add_argument("--runs", type=int, metavar="N",
                        help="repetitions (default: transfers 5, moves 3; --quick: 3, 2)")
    parser.add_argument("--only", choices=PARTS, help="measure one part")
    parser.add_argument("--qemu", choices=["7.2", "10.0"], default="7.2", help="which QEMU moves (default 7.2)")
    parser.add_argument("--transport", choices=["rdma", "tcp"], default="rdma",
                        help="what Godwit's migrations go over (default rdma)")
    parser.add_argument("--memory", default="4G", metavar="SIZE", help="memory of the lab's machine (default 4G)")
    return parser.parse_args()


def measure_transfers(arguments):
    extent = transfers.QUICK if arguments.quick else transfers.Extent()
    if arguments.runs:
        extent = dataclasses.replace(extent, repetitions=arguments.runs)
    print(f"One-sided transfers, {DEVICE} to itself, {extent.repetitions} runs each in turn; median, range in "
          f"brackets; the ratio is the median of those of neighbouring runs\n\n{transfers.HEADING}", flush=True)
    rows = []
    for transfer in transfers.all_transfers(extent, DEVICE):
        rows.append(transfers.compare(transfer, HOST, extent.repetitions))
        print(transfers.line(rows[-1]), flush=True)
    print(flush=True)
    return rows


def measure_moves(part, make_tools, arguments):
    """`part`: migrations or rails, each with its guest, tools, and table. make_tools(key_file) returns the tools."""
    runs = arguments.runs or (2 if arguments.quick else 3)
    print(f"Migrations of a {part.PROFILE.title} (downtime limit {part.PROFILE.downtime_limit_ms} ms), QEMU "
          f"{arguments.qemu}, TCG, memory preallocated on both sides; {runs} runs, median, range in brackets\n",
          flush=True)
    with tempfile.TemporaryDirectory() as folder:
        key_file = f"{folder}/key"
        subprocess.run([paths.GODWIT, "keygen", key_file], check=True, capture_output=True)
        place = Place(arguments.qemu, namespace=False, timeout_s=180)
        results, failures = series.run(make_tools(key_file), [part.PROFILE], runs, place)
    rows = make_rows(results)
    print(f"{part.markdown(rows)}\n", flush=True)
    return rows, failures


def measure_migrations(arguments):
    return measure_moves(migrations, lambda key_file: migrations.all_tools(HOST, DEVICE, key_file, arguments.transport),
                         arguments)


def measure_rails(arguments):
    with rails.Links():
        return measure_moves(rails, lambda key_file: rails.all_tools(HOST, key_file), arguments)


def main():
    arguments = parse_arguments()
    if not lab.is_here():
        lab.enter("rdma", arguments.memory, arguments.json)
    parts = [arguments.only] if arguments.only else PARTS
    result = {"schema": "godwit-bench-rdma-1", "targets": [], "failures": []}
    if "transfers" in parts:
        result["transfers"] = measure_transfers(arguments)
        result["targets"] += transfers.targets(result["transfers"])
        result["failures"] += [text for row in result["transfers"] for text in row.pop("failures")]
    for name, part, measure in (("migrations", migrations, measure_migrations), ("rails", rails, measure_rails)):
        if name in parts:
            result[name], failures = measure(arguments)
            result["targets"] += part.targets(result[name])
            result["failures"] += failures
    print_targets(result["targets"])
    for text in result["failures"]:
        print(f"- did not complete: {text}")
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    # A measurement that failed is worse than a missed target.
    return 1 if result["failures"] else 0


sys.exit(main())
