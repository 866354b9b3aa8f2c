# SPDX-License-Identifier: Apache-2.0
"""One measured move by post-copy: two fresh QEMUs, one tool, one guest."""

import subprocess
import tempfile
import time

from harness import paths
from harness.cpu_time import overhead_cpu_seconds
from harness.pointer_chase import slow_loads
from harness.qemu import Machine, Memory, Qemu

from .curve import Curve
from .profiles import LOOP

METRICS = {
    "wall": "ms", "finished": "ms", "reported-downtime": "ms", "guest-downtime": "ms", "to-90-percent": "ms",
    "lost": "ms", "fault-p50": "us", "fault-p99": "us", "faults": "", "blocked-mean": "us", "wait-p50": "us",
    "wait-p90": "us", "wait-p99": "us", "waits": "", "cpu": "s", "reported-bytes": "bytes",
}

_BEFORE_S = 1.0  # how long the guest is watched before it moves, and after all of it is there
_AFTER_S = 2.0


class Sampler:
    """Runs guest_memory sample beside a move."""

    def __init__(self, source, destination):
        self._process = subprocess.Popen(
            [paths.GUEST_MEMORY, "sample", source.memory_files()[0], destination.memory_files()[0]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def finish(self):
        """[(seconds, heartbeat of the source, of the destination)]"""
        output, _ = self._process.communicate("\n", timeout=20)
        lines = (line.split() for line in output.splitlines())
        return [(int(at) / 1e6, int(source), int(destination)) for at, source, destination in lines]


class Measure:
    """Measures moves; remembers each move's curve of progress, in self.curves."""

    def __init__(self, ticks_per_s):
        self._ticks_per_us = ticks_per_s / 1e6
        self.curves = []

    def __call__(self, tool, profile, place):
        """Returns {metric: value} of one move. Raises DidNotComplete, or AssertionError if memory came out wrong."""
        guest = profile.guest()
        with tempfile.TemporaryDirectory() as folder, place.network() as network:
            netns = network.name if network else None
            image = guest.write_image(f"{folder}/floppy")
            memory = Memory(profile.memory_mib, folder=place.memory_folder, preallocated=True)
            machine = Machine(memory, place.qemu, arguments=(
                "-nodefaults", "-vga", "none", "-drive", f"file={image},format=raw,if=floppy,readonly=on"))
            with Qemu(machine, "source", folder, netns=netns) as source, \
                 Qemu(machine, "destination", folder, incoming=True, netns=netns) as destination:
                source.wait_serial("AB", timeout_s=120)
                sampler = Sampler(source, destination)
                time.sleep(_BEFORE_S)
                cpu_before = overhead_cpu_seconds(source.pid) + overhead_cpu_seconds(destination.pid)
                outcome = tool.migrate(source, destination, folder, netns, profile.downtime_limit_ms,
                                       place.timeout_s)
                waits = self._waits(source, destination) if profile.name != LOOP else {}
                cpu_after = overhead_cpu_seconds(source.pid) + overhead_cpu_seconds(destination.pid)
                time.sleep(_AFTER_S)
                curve = Curve(sampler.finish(), outcome.started_s, outcome.started_s + outcome.finished_ms / 1e3)
                destination.qmp.command("stop")
                check = guest.check_memory(destination.memory_files())
                assert check["ok"], f"{tool.name} moved the guest's memory wrongly: {check}"
                assert not {"X", "A"} & set(destination.serial()), "the guest read something wrong, or began anew"
                assert source.qmp.status() in ("postmigrate", "paused"), "the source runs as well"
        self.curves.append({"tool": tool.name, "profile": profile.name, **curve.as_json()})
        return {
            "wall": outcome.wall_ms,
            "finished": outcome.finished_ms,
            "reported-downtime": outcome.reported_downtime_ms,
            "guest-downtime": curve.handover_gap_ms,
            "to-90-percent": curve.to_90_percent_ms,
            "lost": curve.lost_ms,
            "cpu": cpu_after - cpu_before + outcome.agent_cpu_s,
            "reported-bytes": outcome.reported_bytes,
        } | waits | _fault_figures(outcome.details)

    def _waits(self, source, destination):
        """What the guest saw of its loads since it ran on the destination, all of its memory being there now. The source's
        histogram is as it was when the guest stopped there."""
        before = slow_loads(source.memory_files()[0])
        counts = {ticks: count - before.get(ticks, 0)
                  for ticks, count in sorted(slow_loads(destination.memory_files()[0]).items())}
        total = sum(counts.values())
        if total <= 0:
            return {"waits": 0}

        def percentile(part):
            seen = 0
            for (low, high), count in counts.items():
                seen += count
                if seen >= part * total:
                    return (low + high) / 2 / self._ticks_per_us
            return None
        return {"waits": total, "wait-p50": percentile(0.5), "wait-p90": percentile(0.9), "wait-p99": percentile(0.99)}


def _fault_figures(details):
    """What the tool itself says of faults: Godwit how long they took, QEMU how long its vCPU stood still for them."""
    destination = details["destination"]
    if "postcopy-vcpu-blocktime" in destination:
        faults = details["source"]["ram"]["postcopy-requests"]
        blocked_ms = sum(destination["postcopy-vcpu-blocktime"])
        return {"faults": faults} | ({"blocked-mean": blocked_ms * 1e3 / faults} if faults else {})
    fetched = destination.get("post_copy")
    if not fetched:
        return {}
    return {"faults": fetched["faults"], "fault-p50": fetched["fault_latency_us"]["p50"],
            "fault-p99": fetched["fault_latency_us"]["p99"]}
