# SPDX-License-Identifier: Apache-2.0
"""Whole migrations of one guest in the lab: QEMU's rdma:, QEMU's tcp:, and Godwit over RDMA."""

from moves.measure import Profile
from moves.rows import Medians
from moves.tools import GodwitTool, QemuTool

MIB = 1 << 20
PORT = 4444
GODWIT = "godwit-rdma"
TOTAL_WANT = 0.6     # of the best of QEMU over RDMA, at most
DOWNTIME_WANT = 0.2

# Emulated twice, a guest writes fast and a link carries little: what is dirtied in a loop has to fit the limit.
PROFILE = Profile("loop-8m", "512 MiB guest, 320 MiB non-zero, 8 MiB dirtied in a loop", 8, 50,
                  downtime_limit_ms=1000, memory_mib=512, fill_mib=320)


def all_tools(host, device, key_file, transport):
    rail = ("--rail", device) if transport == "rdma" else ()
    return [
        QemuTool("qemu-rdma", address=f"rdma:{host}:{PORT}"),
        QemuTool("qemu-rdma-pin-all", ["rdma-pin-all"], address=f"rdma:{host}:{PORT}"),
        QemuTool("qemu-tcp", address=f"tcp:{host}:{PORT}"),
        GodwitTool(f"godwit-{transport}", host, ("--transport", transport, *rail, "--psk-file", key_file)),
    ]


def markdown(all_rows):
    medians = Medians(all_rows)
    best = medians.best(PROFILE.name, "wall", "qemu-rdma")
    lines = ["| tool | total ms | of QEMU's best over RDMA | downtime ms, reported | downtime ms, seen by the guest |"
             " CPU s | MiB sent, reported |", "|---|---|---|---|---|---|---|"]
    for tool in dict.fromkeys(row["tool"] for row in all_rows):
        def cell(metric, scale=1, digits=0):
            return medians.cell(PROFILE.name, tool, metric, scale, digits)
        ratio = f"{medians.get(PROFILE.name, tool, 'wall') / best:.2f}" if best else "-"
        lines.append(f"| {tool} | {cell('wall')} | {ratio} | {cell('reported-downtime', digits=1)} | "
                     f"{cell('guest-downtime', digits=1)} | {cell('cpu', digits=2)} | "
                     f"{cell('reported-bytes', MIB)} |")
    return "\n".join(lines)


def targets(all_rows):
    medians = Medians(all_rows)
    made = []
    for name, metric, want in (("total time", "wall", TOTAL_WANT),
                               ("downtime, reported,", "reported-downtime", DOWNTIME_WANT),
                               ("downtime, seen by the guest,", "guest-downtime", DOWNTIME_WANT)):
        ours = medians.get(PROFILE.name, GODWIT, metric)
        theirs = medians.best(PROFILE.name, metric, "qemu-rdma")
        found = round(ours / theirs, 3) if ours is not None and theirs else None
        made.append({"name": f"migration: {name} / QEMU's best over RDMA", "value": found, "want": want,
                     "better": "at most", "ok": found is not None and found <= want})
    return made
