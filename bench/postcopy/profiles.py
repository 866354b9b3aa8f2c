# SPDX-License-Identifier: Apache-2.0
"""What the guest does while it is moved."""

import dataclasses

from harness.boot_sector import BootSector
from harness.pointer_chase import PointerChase

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Profile:
    """A guest in the full size or the quick one. downtime_limit_ms is what every tool is told."""

    name: str
    what: str
    downtime_limit_ms: int = 300
    memory_mib: int = 4096
    fill_mib: int = 3056  # as much as lies below the PCI hole; the rest of the guest's memory is zero
    chase_mib: int = 512
    steps_per_letter: int = 500000

    @property
    def title(self):
        return f"{self.memory_mib / 1024:g} GiB guest, {self.fill_mib} MiB of it not zero, {self.what}"

    def guest(self):
        if self.name != LOOP:
            return PointerChase(self.fill_mib * MIB, self.chase_mib, self.steps_per_letter)
        return BootSector(self.fill_mib * MIB, dirty_mib=100, passes_per_letter=20)

    def quick(self):
        return dataclasses.replace(self, memory_mib=1024, fill_mib=768)


CHASE = "chase-512m"
LOOP = "loop-100m"
PROFILES = [
    Profile(CHASE, "512 MiB read page by page, one load naming the next page"),
    Profile(LOOP, "100 MiB dirtied in a loop"),
]
# Emulated twice, the guest has to be small.
LAB_CHASE = Profile("chase-64m", "64 MiB read page by page, one load naming the next page", 1000, 256, 192, chase_mib=64,
                    steps_per_letter=50000)
