# SPDX-License-Identifier: Apache-2.0
"""The boot-sector guest: assembling it, and checking its memory from outside. See guests/boot_sector.S."""

import dataclasses
import json
import subprocess

from . import floppy, paths

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class BootSector:
    """What one boot-sector guest does with its memory. Nothing to dirty: it idles on a 1 kHz timer."""

    fill_end: int = 48 * MIB
    dirty_mib: int = 0
    passes_per_letter: int = 20
    seed: int = 0x9E3779B9

    @property
    def dirty_end(self):
        return MIB + self.dirty_mib * MIB

    def write_image(self, path):
        """Writes the 512 bytes, to be booted as a floppy."""
        return floppy.write(path, "boot_sector.S",
                            (self.fill_end, self.dirty_end, self.passes_per_letter, self.seed))

    def check_memory(self, files):
        """Checks every word of a stopped guest's memory; returns what guest_memory said, with "ok" added."""
        result = subprocess.run(
            [paths.GUEST_MEMORY, "check", str(self.seed), str(self.fill_end), str(self.dirty_end), *files],
            capture_output=True, text=True)
        if result.returncode not in (0, 1):
            raise AssertionError(result.stderr)
        return {"ok": result.returncode == 0, **json.loads(result.stdout)}
