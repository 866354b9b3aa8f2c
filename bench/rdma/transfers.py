# SPDX-License-Identifier: Apache-2.0
"""One-sided transfers: perftest and Godwit in turn, repeatedly, for each verb, size and number of queue pairs."""

import dataclasses
import statistics

from . import godwit_transport, perftest
from .processes import MeasurementFailed

KIB = 1 << 10
MIB = 1 << 20

BANDWIDTH_WANT = 0.97  # of perftest's at least, from 64 KiB up
LATENCY_WANT = 1.1     # of perftest's at most, for reads of 4 KiB


@dataclasses.dataclass(frozen=True)
class Transfer:
    """One kind of transfer, as both tools are to do it."""

    verb: str     # "write" or "read"
    measure: str  # "bandwidth" or "latency"
    size_bytes: int
    queue_pairs: int
    iterations: int  # on each queue pair
    device: str = "rxe0"
    depth: int = 128           # perftest's own default
    reads_in_flight: int = 16  # Godwit's limit; usual adapters have the same
    peer_device: str = ""      # empty: the same

    @property
    def key(self):
        """What is compared: a rate is better when greater, a time when smaller."""
        return "mib_per_s" if self.measure == "bandwidth" else "median_us"

    def title(self):
        return f"{self.verb} {self.measure}, {self.size_bytes // KIB} KiB, {self.queue_pairs} queue pairs"


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much is measured."""

    bandwidth_sizes_kib: tuple = (4, 16, 64, 256, 1024)
    latency_sizes_kib: tuple = (4, 64, 1024)
    queue_pairs: tuple = (1, 4)
    repetitions: int = 5
    bandwidth_bytes: int = 64 * MIB  # moved by one measurement
    latency_bytes: int = 16 * MIB
    latency_iterations_max: int = 1000


QUICK = Extent(bandwidth_sizes_kib=(64, 1024), latency_sizes_kib=(4,), repetitions=3, bandwidth_bytes=32 * MIB,
               latency_iterations_max=500)


def all_transfers(extent, device):
    made = []
    for verb in ("write", "read"):
        for size in (kib * KIB for kib in extent.bandwidth_sizes_kib):
            for pairs in extent.queue_pairs:
                iterations = max(16, extent.bandwidth_bytes // size // pairs)
                made.append(Transfer(verb, "bandwidth", size, pairs, iterations, device))
        for size in (kib * KIB for kib in extent.latency_sizes_kib):
            iterations = max(16, min(extent.latency_iterations_max, extent.latency_bytes // size))
            made.append(Transfer(verb, "latency", size, 1, iterations, device))
    return made


def compare(transfer, host, repetitions):
    """Returns a row: what both measured, medians, and the median of the ratios of neighbours."""
    tools = (perftest, godwit_transport)
    runs = {tool.NAME: [] for tool in tools}
    failures = []
    for number in range(repetitions):
        pair = {}
        for tool in tools:
            try:
                pair[tool.NAME] = tool.measure(transfer, host)
            except MeasurementFailed as error:
                failures.append(f"{transfer.title()}, {tool.NAME}, run {number + 1}: {error}")
        if len(pair) == len(tools):
            for name, values in pair.items():
                runs[name].append(values)
    return _row(transfer, runs, failures)


def _row(transfer, runs, failures):
    row = {"verb": transfer.verb, "measure": transfer.measure, "size_bytes": transfer.size_bytes,
           "queue_pairs": transfer.queue_pairs, "iterations": transfer.iterations, "runs": len(runs["godwit"]),
           "failures": failures}
    if not runs["godwit"]:
        return row
    for name, values in runs.items():
        figures = [value[transfer.key] for value in values]
        row[name] = {transfer.key: round(statistics.median(figures), 3), "min": round(min(figures), 3),
                     "max": round(max(figures), 3)}
        if transfer.measure == "latency":
            row[name]["p99_us"] = round(statistics.median(value["p99_us"] for value in values), 3)
    ratios = [ours[transfer.key] / theirs[transfer.key] for ours, theirs in zip(runs["godwit"], runs["perftest"])]
    row["ratio"] = round(statistics.median(ratios), 3)
    row["ratio_min"], row["ratio_max"] = round(min(ratios), 3), round(max(ratios), 3)
    return row


HEADING = ("| what | size KiB | queue pairs | perftest | godwit | p99: perftest, godwit | godwit / perftest |\n"
           "|---|---|---|---|---|---|---|")


def line(row):
    what = f"{row['verb']} {'MiB/s' if row['measure'] == 'bandwidth' else 'us'}"
    start = f"| {what} | {row['size_bytes'] // KIB} | {row['queue_pairs']} |"
    if "ratio" not in row:
        return f"{start} did not complete | | | |"

    def cell(name):
        values = row[name]
        median = values.get("mib_per_s", values.get("median_us"))
        return f"{median:.1f} [{values['min']:.1f}..{values['max']:.1f}]"

    p99 = f"{row['perftest']['p99_us']:.0f}, {row['godwit']['p99_us']:.0f}" if row["measure"] == "latency" else ""
    return (f"{start} {cell('perftest')} | {cell('godwit')} | {p99} | "
            f"{row['ratio']:.2f} [{row['ratio_min']:.2f}..{row['ratio_max']:.2f}] |")


def targets(all_rows):
    """What the project promises, each with what was found; bandwidth is a lower limit, latency an upper one."""
    made = []
    for row in all_rows:
        name = f"{row['verb']} {row['measure']} / perftest's, {row['size_bytes'] // KIB} KiB"
        if row["measure"] == "bandwidth" and row["size_bytes"] >= 64 * KIB:
            want, better = BANDWIDTH_WANT, "at least"
            name += f", {row['queue_pairs']} queue pairs"
        elif row["measure"] == "latency" and row["verb"] == "read" and row["size_bytes"] == 4 * KIB:
            want, better = LATENCY_WANT, "at most"
        else:
            continue
        found = row.get("ratio")
        reached = found is not None and (found >= want if better == "at least" else found <= want)
        made.append({"name": name, "value": found, "want": want, "better": better, "ok": reached})
    return made
