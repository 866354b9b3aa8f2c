# SPDX-License-Identifier: Apache-2.0
"""The tables and the targets."""

from moves.rows import Medians, rows

from .links import IN_LAB
from .series import ratio, ratio_of
from .tools import BULK, KIB, LATENCY, READ_LATENCY, SIZES, STREAMS, bandwidth, cases, cpu

CPU = {cpu(*case) for case in cases()}
# metric: (unit, divisor, digits)
UNITS = {**{bandwidth(*case): ("GB/s", 1e9, 3) for case in cases()}, **{cpu(*case): ("s/GB", 1, 3) for case in cases()},
         LATENCY: ("us", 1, 1), READ_LATENCY: ("us", 1, 1)}


def make_rows(results):
    measured = {key: [values for values in runs if values] for key, runs in results.items()}
    # Of an emulated device the kernel's threads have most of it.
    for (link, _), runs in measured.items():
        if link in IN_LAB:
            runs[:] = [{metric: value for metric, value in values.items() if metric not in CPU} for values in runs]
    return rows(measured, {metric: unit for metric, (unit, _, _) in UNITS.items()})


def markdown(link, results, all_rows):
    """One table: a column for each tool, with Godwit's ratio to it."""
    tools = [tool for name, tool in results if name == link.name]
    others = [tool for tool in tools if tool != "godwit"]
    medians = Medians(all_rows)
    lines = [f"**{link.name}**: {link.title}", "", f"| measure | godwit | {' | '.join(others)} |",
             "|---" * (len(others) + 2) + "|"]
    for metric, (unit, divisor, digits) in UNITS.items():
        if not any(medians.get(link.name, tool, metric) is not None for tool in tools):
            continue

        def cell(tool):
            if medians.get(link.name, tool, metric) is None:
                return ""
            return medians.cell(link.name, tool, metric, divisor, digits)

        cells = [cell("godwit")]
        for tool in others:
            found = ratio(results, link.name, metric, tool)
            cells.append(cell(tool) + (f", {found:.2f}" if found is not None else ""))
        lines.append(f"| {metric}, {unit} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def targets(link, results, sweep_s=None):
    """What the project promises, each with what was found."""
    made = []

    def add(name, value, better, want):
        reached = value is not None and {"at least": value >= want, "at most": value <= want}[better]
        made.append({"name": f"{link.name}: {name}", "value": value, "better": better, "want": want, "ok": reached})

    if link.name in IN_LAB:
        for size in SIZES[1:] if link.limits else ():
            found = ratio(results, link.name, bandwidth(size), "perftest")
            add(f"write bandwidth, {size // KIB} KiB: off perftest's by", found and round(abs(found - 1), 3), "at most", 0.02)
        return made
    add("bandwidth, 1 lane / iperf3's, 1 stream", ratio(results, link.name, bandwidth(BULK), "iperf3"), "at least", 1.0)
    several = [bandwidth(BULK, streams) for streams in STREAMS]
    add("bandwidth, several lanes / iperf3's best",
        ratio_of(results, link.name, several[1:], "godwit", several, ("iperf3", "iperf3 -Z")), "at least", 1.0)
    add("bandwidth, 1 lane / UCX put's", ratio(results, link.name, bandwidth(BULK), "ucx put"), "at least", 1.2)
    add("CPU s/GB, 1 lane / iperf3's, 1 stream", ratio(results, link.name, cpu(BULK), "iperf3"), "at most", 1.0)
    add("sweep of 4 KiB to 1 MiB with percentiles, s", sweep_s and round(sweep_s, 1), "at most", 30)
    return made
