# SPDX-License-Identifier: Apache-2.0
"""One measured move: two fresh QEMUs, one tool, one profile; from outside as well as from what the tool says."""

import contextlib
import dataclasses
import json
import subprocess
import tempfile

from harness import paths
from harness.boot_sector import BootSector
from harness.cpu_time import overhead_cpu_seconds
from harness.network import Namespace
from harness.qemu import Machine, Memory, Qemu

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Profile:
    """What the guest does while it moves. downtime_limit_ms is what every tool is told."""

    name: str
    title: str
    dirty_mib: int
    passes_per_letter: int
    downtime_limit_ms: int = 300
    memory_mib: int = 4096
    fill_mib: int = 3056  # as much as lies below the PCI hole; the rest of the guest's memory is zero

    @property
    def nonzero_bytes(self):
        return self.fill_mib * MIB


METRICS = {
    "wall": "ms", "reported-total": "ms", "reported-downtime": "ms", "guest-downtime": "ms",
    "bytes-on-wire": "bytes", "reported-bytes": "bytes", "cpu": "s", "agent-memory": "bytes",
}


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a move is measured: which QEMU, where guest memory lies, and whether in a network namespace."""

    qemu: str = "7.2"
    memory_folder: str = "/dev/shm"
    namespace: bool = True  # False: on the host itself, where the RDMA devices are; bytes on the wire stay unknown
    timeout_s: float = 60  # after which a move has not converged

    def network(self):
        """A context: the namespace of one move, or None."""
        return Namespace() if self.namespace else contextlib.nullcontext()


class HeartbeatWatch:
    """Runs guest_memory watch beside a move, and says how long the guest's heart stood still."""

    def __init__(self, source, destination):
        self._process = subprocess.Popen(
            [paths.GUEST_MEMORY, "watch", source.memory_files()[0], destination.memory_files()[0]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def finish(self):
        output, _ = self._process.communicate("\n", timeout=20)
        return json.loads(output)


def measure(tool, profile, place):
    """Returns {metric: value} of one move. Raises DidNotComplete, or AssertionError if memory came out wrong."""
    guest = BootSector(profile.fill_mib * MIB, profile.dirty_mib, profile.passes_per_letter)
    with tempfile.TemporaryDirectory() as folder, place.network() as network:
        netns = network.name if network else None
        image = guest.write_image(f"{folder}/floppy")
        memory = Memory(profile.memory_mib, folder=place.memory_folder, preallocated=True)
        machine = Machine(memory, place.qemu, arguments=(
            "-nodefaults", "-vga", "none", "-drive", f"file={image},format=raw,if=floppy,readonly=on"))
        with Qemu(machine, "source", folder, netns=netns) as source, \
             Qemu(machine, "destination", folder, incoming=True, netns=netns) as destination:
            source.wait_serial("AB", timeout_s=120)
            watch = HeartbeatWatch(source, destination)
            wire_before = network.bytes_received() if network else 0
            cpu_before = overhead_cpu_seconds(source.pid) + overhead_cpu_seconds(destination.pid)
            outcome = tool.migrate(source, destination, folder, netns, profile.downtime_limit_ms,
                                   place.timeout_s)
            cpu_after = overhead_cpu_seconds(source.pid) + overhead_cpu_seconds(destination.pid)
            wire_after = network.bytes_received() if network else 0
            destination.wait_serial("B", timeout_s=30)
            gaps = watch.finish()
            destination.qmp.command("stop")
            check = guest.check_memory(destination.memory_files())
            assert check["ok"], f"{tool.name} moved the guest's memory wrongly: {check}"
            assert source.qmp.status() in ("postmigrate", "paused", "inmigrate"), "the source runs as well"
    values = {
        "wall": outcome.wall_ms,
        "reported-total": outcome.reported_total_ms,
        "reported-downtime": outcome.reported_downtime_ms,
        "guest-downtime": gaps["handover_gap_us"] / 1e3,
        "reported-bytes": outcome.reported_bytes,
        "cpu": cpu_after - cpu_before + outcome.agent_cpu_s,
        "agent-memory": outcome.agent_memory_bytes,
    }
    return values | ({"bytes-on-wire": wire_after - wire_before} if network else {})
