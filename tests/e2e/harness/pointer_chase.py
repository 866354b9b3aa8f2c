# SPDX-License-Identifier: Apache-2.0
"""The guest that follows pointers through memory: assembling it, checking it, and what it says of its own waits. See
guests/pointer_chase.S."""

import dataclasses
import struct

from . import floppy
from .boot_sector import BootSector

MIB = 1 << 20
_HISTOGRAM_AT = 0xA000
_HISTOGRAM_WORDS = 256


@dataclasses.dataclass(frozen=True)
class PointerChase:
    """Chases through chase_mib, a power of two, of memory that it filled up to fill_end."""

    fill_end: int = 48 * MIB
    chase_mib: int = 32
    steps_per_letter: int = 1000000
    seed: int = 0x9E3779B9

    def write_image(self, path):
        pages = self.chase_mib * MIB // 4096
        assert pages & (pages - 1) == 0 and MIB + self.chase_mib * MIB <= self.fill_end
        return floppy.write(path, "pointer_chase.S", (self.fill_end, pages - 1, self.steps_per_letter, self.seed))

    def check_memory(self, files):
        return BootSector(self.fill_end, seed=self.seed).check_memory(files)


def slow_loads(file):
    """{(from, to): count}, in ticks of the time-stamp counter: the guest's histogram in its first file of memory."""
    with open(file, "rb") as memory:
        memory.seek(_HISTOGRAM_AT)
        words = struct.unpack(f"<{_HISTOGRAM_WORDS}I", memory.read(4 * _HISTOGRAM_WORDS))
    found = {}
    for index, count in enumerate(words):
        exponent, mantissa = index // 8, index % 8 + 8
        if count:
            found[mantissa << exponent, (mantissa + 1) << exponent] = count
    return found
