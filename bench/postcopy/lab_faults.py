# SPDX-License-Identifier: Apache-2.0
"""What a fault costs over RDMA, in one boot of the RDMA lab: beside a fault served from memory there, and perftest's read
of a page, between which the moves stand."""

import dataclasses
import statistics
import subprocess
import tempfile

from harness import paths
from moves import series
from moves.lab import DEVICE, HOST
from moves.measure import Place
from moves.rows import Medians, rows as make_rows
from moves.tools import GodwitTool
from rdma import perftest
from rdma.processes import MeasurementFailed
from rdma.transfers import Transfer

from . import report
from .measure import METRICS, Measure
from .profiles import LAB_CHASE

WANT = 1.25  # of a fault from memory and a read of 4 KiB, at most
_READ = Transfer("read", "latency", 4096, queue_pairs=1, iterations=2000, device=DEVICE)


@dataclasses.dataclass
class Yardsticks:
    """The medians of each measurement, in us."""

    floors_us: list = dataclasses.field(default_factory=list)
    reads_us: list = dataclasses.field(default_factory=list)

    def measure(self, measure_floor):
        floor = measure_floor()
        self.floors_us.append(report.floor_us([floor]))
        self.reads_us.append(perftest.measure(_READ, HOST)["median_us"])
        return floor


def run(runs, qemu, measure_floor):
    """Returns what --json has, and prints it."""
    yardsticks = Yardsticks()
    measure = Measure(yardsticks.measure(measure_floor)["ticks_per_s"])
    results, failures = {(LAB_CHASE.name, report.GODWIT): []}, []
    with tempfile.TemporaryDirectory() as folder:
        key_file = f"{folder}/key"
        subprocess.run([paths.GODWIT, "keygen", key_file], check=True, capture_output=True)
        tool = GodwitTool(report.GODWIT, HOST, ("--transport", "rdma", "--rail", DEVICE, "--psk-file", key_file),
                          ("--post-copy", "now"))
        place = Place(qemu, namespace=False, timeout_s=180)
        for _ in range(runs):
            found, failed = series.run([tool], [LAB_CHASE], 1, place, measure)
            results[LAB_CHASE.name, report.GODWIT] += found[LAB_CHASE.name, report.GODWIT]
            failures += failed
            try:
                yardsticks.measure(measure_floor)
            except MeasurementFailed as error:
                failures.append(f"ib_read_lat: {error}")
    rows = make_rows(results, METRICS)
    floor, read = (statistics.median(values) for values in (yardsticks.floors_us, yardsticks.reads_us))
    fault = Medians(rows).get(LAB_CHASE.name, report.GODWIT, "fault-p50")
    ratio = round(fault / (floor + read), 3) if fault else None
    target = {"name": "lab: a fault's median / (a fault from memory + ib_read_lat of 4 KiB)", "value": ratio,
              "want": WANT, "ok": ratio is not None and ratio <= WANT}
    print(f"QEMU {qemu}, TCG within TCG, one machine of the RDMA lab, {DEVICE} to itself\n")
    print(report.markdown(rows, [LAB_CHASE], [target], [], failures))
    print(f"\nBefore, between and after the moves, medians in us: a fault from memory {_listed(yardsticks.floors_us)}; "
          f"ib_read_lat of 4 KiB {_listed(yardsticks.reads_us)}")
    return {"schema": "godwit-bench-postcopy-1", "rows": rows, "targets": [target], "floors_us": yardsticks.floors_us,
            "reads_us": yardsticks.reads_us, "curves": measure.curves, "failures": failures}


def _listed(values):
    return ", ".join(f"{value:.1f}" for value in values)
