# SPDX-License-Identifier: Apache-2.0
"""From single runs to rows (tool, profile, metric: median and range), the table, and the targets."""

import statistics

from .measure import METRICS, PROFILES

MIB = 1 << 20
GODWIT = "godwit"
MULTIFD = "qemu-multifd"


def rows(results):
    """results: {(profile, tool): [{metric: value}]}"""
    made = []
    for (profile, tool), runs in results.items():
        for metric, unit in METRICS.items():
            values = [run[metric] for run in runs]
            if values:
                made.append({"tool": tool, "profile": profile, "metric": metric, "unit": unit,
                             "median": round(statistics.median(values), 3), "min": round(min(values), 3),
                             "max": round(max(values), 3), "runs": len(values)})
    return made


class _Medians:
    def __init__(self, all_rows):
        self._values = {(row["profile"], row["tool"], row["metric"]): row["median"] for row in all_rows}

    def get(self, profile, tool, metric):
        return self._values.get((profile, tool, metric))

    def best_qemu(self, profile, metric):
        values = [value for (row_profile, tool, row_metric), value in self._values.items()
                  if row_profile == profile and row_metric == metric and tool.startswith("qemu")]
        return min(values, default=None)


def targets(all_rows, profiles):
    """What the project promises of these profiles, each with what was found. `want` is the greatest right value."""
    medians = _Medians(all_rows)
    made = []

    def add(name, value, divisor, want):
        if value is None or not divisor:
            made.append({"name": name, "value": None, "want": want, "ok": False})
        else:
            ratio = round(value / divisor, 3)
            made.append({"name": name, "value": ratio, "want": want, "ok": ratio <= want})

    loop = PROFILES[0]
    for profile in profiles:
        want = 0.5 if profile is loop else 1.0
        add(f"{profile.name}: total time / QEMU multifd's", medians.get(profile.name, GODWIT, "wall"),
            medians.get(profile.name, MULTIFD, "wall"), want)
    if loop in profiles:
        _add_loop_targets(add, loop, medians)
    agent_memory = [row["max"] for row in all_rows if row["metric"] == "agent-memory" and row["tool"] == GODWIT]
    add("memory of an agent beyond the guest's, MiB", max(agent_memory, default=0) / MIB or None, 1, 64)
    return made


def _add_loop_targets(add, loop, medians):
    for metric in ("reported-downtime", "guest-downtime"):
        add(f"{loop.name}: {metric} in ms", medians.get(loop.name, GODWIT, metric), 1, 20)
        add(f"{loop.name}: {metric} / QEMU's best", medians.get(loop.name, GODWIT, metric),
            medians.best_qemu(loop.name, metric), 0.25)
    add(f"{loop.name}: CPU seconds / QEMU's best", medians.get(loop.name, GODWIT, "cpu"),
        medians.best_qemu(loop.name, "cpu"), 0.5)
    add(f"{loop.name}: bytes sent / non-zero memory", medians.get(loop.name, GODWIT, "bytes-on-wire"),
        loop.nonzero_bytes, 1.15)


def markdown(all_rows, all_targets, failures):
    """The tables as docs/performance.md holds them."""
    lines = []
    for profile in PROFILES:
        tools = [row["tool"] for row in all_rows if row["profile"] == profile.name and row["metric"] == "wall"]
        if not tools:
            continue
        runs = max(row["runs"] for row in all_rows if row["profile"] == profile.name)
        lines += [f"**{profile.name}**: {profile.title} (downtime limit {profile.downtime_limit_ms} ms, {runs} runs; "
                  "median, range in brackets)", "",
                  "| tool | total ms | of multifd | downtime ms, reported | downtime ms, seen by the guest | CPU s |"
                  " MiB on the wire |", "|---|---|---|---|---|---|---|"]
        medians = _Medians(all_rows)
        for tool in dict.fromkeys(tools):
            def cell(metric, scale=1, digits=0):
                row = next(row for row in all_rows
                           if (row["profile"], row["tool"], row["metric"]) == (profile.name, tool, metric))
                median, low, high = (f"{row[key] / scale:.{digits}f}" for key in ("median", "min", "max"))
                return f"{median} [{low}..{high}]"
            multifd = medians.get(profile.name, MULTIFD, "wall")
            ratio = f"{medians.get(profile.name, tool, 'wall') / multifd:.2f}" if multifd else "-"
            lines.append(f"| {tool} | {cell('wall')} | {ratio} | {cell('reported-downtime', digits=1)} | "
                         f"{cell('guest-downtime', digits=1)} | {cell('cpu', digits=2)} | "
                         f"{cell('bytes-on-wire', MIB)} |")
        lines.append("")
    for text in failures:
        lines.append(f"- did not complete: {text}")
    lines += ["", "| target | found | want at most | |", "|---|---|---|---|"]
    for target in all_targets:
        found = "not measured" if target["value"] is None else target["value"]
        lines.append(f"| {target['name']} | {found} | {target['want']} | {'reached' if target['ok'] else 'MISSED'} |")
    return "\n".join(lines)
