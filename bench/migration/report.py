# SPDX-License-Identifier: Apache-2.0
"""The table and the targets, made of the rows."""

from moves.rows import Medians

from .profiles import PROFILES

MIB = 1 << 20
GODWIT = "godwit"
MULTIFD = "qemu-multifd"
TUNNELS = (("tunnel", "qemu-tcp", 1.15), ("tunnel-multifd", MULTIFD, 1.15), ("channel", "qemu-tcp", 0.8))


def targets(all_rows, profiles):
    """What the project promises of these profiles, each with what was found. `want` is the greatest right value."""
    medians = Medians(all_rows)
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
        for tunnel, native, want in TUNNELS:
            add(f"{profile.name}: total time through the {tunnel} / without it", medians.get(profile.name, tunnel, "wall"),
                medians.get(profile.name, native, "wall"), want)
    if loop in profiles:
        _add_loop_targets(add, loop, medians)
    agent_memory = [row["max"] for row in all_rows if row["metric"] == "agent-memory" and row["tool"] == GODWIT]
    add("memory of an agent beyond the guest's, MiB", max(agent_memory, default=0) / MIB or None, 1, 64)
    return made


def _add_loop_targets(add, loop, medians):
    for metric in ("reported-downtime", "guest-downtime"):
        add(f"{loop.name}: {metric} in ms", medians.get(loop.name, GODWIT, metric), 1, 20)
        add(f"{loop.name}: {metric} / QEMU's best", medians.get(loop.name, GODWIT, metric),
            medians.best(loop.name, metric, "qemu"), 0.25)
    add(f"{loop.name}: CPU seconds / QEMU's best", medians.get(loop.name, GODWIT, "cpu"),
        medians.best(loop.name, "cpu", "qemu"), 0.5)
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
        medians = Medians(all_rows)
        for tool in dict.fromkeys(tools):
            def cell(metric, scale=1, digits=0):
                return medians.cell(profile.name, tool, metric, scale, digits)
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
