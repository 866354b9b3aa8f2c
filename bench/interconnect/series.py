# SPDX-License-Identifier: Apache-2.0
"""All tools on a link, in turn and repeatedly, and what their figures are to each other."""

import statistics
import sys
import time

from rdma.processes import MeasurementFailed

from .tools import KIB, Godwit

SWEEP_SIZES = tuple(kib * KIB for kib in (4, 16, 64, 256, 1024))
SWEEP_S = 20  # the bench's own default


def run(link, tools, runs, time_s):
    """Returns {(link, tool): [{metric: value} of each run, empty when it failed]} and, in words, what failed."""
    results = {(link.name, tool.name): [] for tool in tools}
    failures = []
    started = time.monotonic()
    for number in range(runs):
        for tool in tools:
            values = {}
            try:
                values = tool.measure(link, time_s)
            except MeasurementFailed as error:
                failures.append(f"{link.name}, {tool.name}, run {number + 1}: {error}")
            results[link.name, tool.name].append(values)
            print(f"[{time.monotonic() - started:5.0f} s] {link.name} {tool.name} "
                  f"{'measured' if values else 'FAILED'}", file=sys.stderr, flush=True)
    return results, failures


def sweep(link):
    """How long `godwit bench` takes for a sweep with percentiles."""
    report, wall_s = Godwit().run(link, SWEEP_SIZES, None, SWEEP_S)
    measured = {result["size_bytes"] for result in report["latency"] if result["verb"] == "write" and
                0 < result["p50_us"] <= result["p99_us"] <= result["p99_9_us"]}
    if not measured >= set(SWEEP_SIZES):
        raise MeasurementFailed(f"the sweep has percentiles for {sorted(measured)} only")
    return wall_s


def ratio(results, link, metric, theirs, metric_of_theirs=None):
    """Godwit's figure by theirs: the median of those of neighbours in time; None where there are none."""
    return ratio_of(results, link, [metric], "godwit", [metric_of_theirs or metric], (theirs,))


def ratio_of(results, link, metrics, ours, metrics_of_theirs, theirs, best=max):
    """The same, of the best of several metrics and tools."""
    runs = len(results.get((link, ours), []))

    def best_of(tools, names, number):
        found = [results[link, tool][number][name] for tool in tools if (link, tool) in results
                 for name in names if name in results[link, tool][number]]
        return best(found) if found else None

    ratios = []
    for number in range(runs):
        mine, other = best_of((ours,), metrics, number), best_of(theirs, metrics_of_theirs, number)
        if mine and other:
            ratios.append(mine / other)
    return round(statistics.median(ratios), 3) if ratios else None
