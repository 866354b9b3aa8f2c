# SPDX-License-Identifier: Apache-2.0
"""The tables and the targets, made of the rows."""

from moves.rows import Medians

from .profiles import CHASE

MIB = 1 << 20
GODWIT = "godwit-now"
QEMU = "qemu-post-copy"

# Column, metric, digits. A cell that was not measured is empty.
_COLUMNS = [
    ("all there ms", "finished", 0), ("downtime ms, reported", "reported-downtime", 1),
    ("downtime ms, seen by the guest", "guest-downtime", 1), ("at 90 % after ms", "to-90-percent", 0),
    ("work lost, ms", "lost", 0), ("faults", "faults", 0), ("a fault us: p50", "fault-p50", 0), ("p99", "fault-p99", 0),
    ("blocked for each us, mean", "blocked-mean", 0), ("a load us, seen by the guest: p50", "wait-p50", 0),
    ("p99", "wait-p99", 0), ("CPU s", "cpu", 2),
]


def floor_us(floors):
    """The least of the measured floors: a fault served by a thread that polls."""
    return min(floor["polling_us"]["p50"] for floor in floors)


def targets(all_rows, profiles, floors):
    """What the project promises, each with what was found. `want` is the greatest right value."""
    medians = Medians(all_rows)
    made = []

    def add(name, value, divisor, want):
        if value is None or not divisor:
            made.append({"name": name, "value": None, "want": want, "ok": False})
        else:
            ratio = round(value / divisor, 3)
            made.append({"name": name, "value": ratio, "want": want, "ok": ratio <= want})

    for profile in profiles:
        name = profile.name
        add(f"{name}: switchover to running, reported, ms", medians.get(name, GODWIT, "reported-downtime"), 1, 15)
        add(f"{name}: switchover to running, seen by the guest, ms", medians.get(name, GODWIT, "guest-downtime"), 1, 15)
        add(f"{name}: total time / QEMU post-copy's", medians.get(name, GODWIT, "finished"),
            medians.get(name, QEMU, "finished"), 0.4)
        add(f"{name}: time to 90 % / QEMU post-copy's", medians.get(name, GODWIT, "to-90-percent"),
            medians.get(name, QEMU, "to-90-percent"), 0.3)
        if name == CHASE:
            median = medians.get(name, GODWIT, "fault-p50")
            add(f"{name}: a fault's median, us", median, 1, round(floor_us(floors) + 30, 1))
            add(f"{name}: a fault's p99 / its median", medians.get(name, GODWIT, "fault-p99"), median, 4)
    return made


def markdown(all_rows, profiles, all_targets, floors, failures):
    """The tables as docs/performance.md holds them."""
    lines = []
    medians = Medians(all_rows)
    for profile in profiles:
        tools = [row["tool"] for row in all_rows if row["profile"] == profile.name and row["metric"] == "wall"]
        if not tools:
            continue
        runs = max(row["runs"] for row in all_rows if row["profile"] == profile.name)
        lines += [f"**{profile.name}**: {profile.title} (downtime limit {profile.downtime_limit_ms} ms, {runs} runs; "
                  "median, range in brackets)", "",
                  f"| tool | {' | '.join(title for title, _, _ in _COLUMNS)} |", "|---" * (len(_COLUMNS) + 1) + "|"]
        for tool in dict.fromkeys(tools):
            cells = [medians.cell(profile.name, tool, metric, 1, digits)
                     if medians.get(profile.name, tool, metric) is not None else "" for _, metric, digits in _COLUMNS]
            lines.append(f"| {tool} | {' | '.join(cells)} |")
        lines.append("")
    for floor in floors:
        polling, sleeping = floor["polling_us"], floor["sleeping_us"]
        lines.append(f"- floor: a fault served from memory of the same process takes {polling['p50']} us (p99 "
                     f"{polling['p99']}) when the server polls, {sleeping['p50']} us (p99 {sleeping['p99']}) when it sleeps")
    lines += [f"- did not complete: {text}" for text in failures]
    lines += ["", "| target | found | want at most | |", "|---|---|---|---|"]
    for target in all_targets:
        found = "not measured" if target["value"] is None else target["value"]
        lines.append(f"| {target['name']} | {found} | {target['want']} | {'reached' if target['ok'] else 'MISSED'} |")
    return "\n".join(lines)
