# SPDX-License-Identifier: Apache-2.0
"""The boot-sector guest: assembling it, and checking its memory from outside. See guests/boot_sector.S."""

import dataclasses
import json
import struct
import subprocess
import tempfile

from . import paths

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
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(["as", "--32", "-o", f"{folder}/guest.o", paths.GUESTS / "boot_sector.S"], check=True)
            subprocess.run(
                ["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", f"{folder}/guest.bin",
                 f"{folder}/guest.o"],
                check=True)
            with open(f"{folder}/guest.bin", "rb") as file:
                sector = bytearray(file.read())
        assert len(sector) == 512 and sector[510:] == b"\x55\xaa"
        struct.pack_into("<IIII", sector, 494, self.fill_end, self.dirty_end, self.passes_per_letter, self.seed)
        with open(path, "wb") as file:
            file.write(sector)
        return str(path)

    def check_memory(self, files):
        """Checks every word of a stopped guest's memory; returns what guest_memory said, with "ok" added."""
        result = subprocess.run(
            [paths.GUEST_MEMORY, "check", str(self.seed), str(self.fill_end), str(self.dirty_end), *files],
            capture_output=True, text=True)
        if result.returncode not in (0, 1):
            raise AssertionError(result.stderr)
        return {"ok": result.returncode == 0, **json.loads(result.stdout)}
