# SPDX-License-Identifier: Apache-2.0
"""Assembles a guest of one sector, to be booted as a floppy."""

import struct
import subprocess
import tempfile

from . import paths

PARAMETERS_AT = 494  # four words, before the signature


def write(path, source_name, parameters):
    """Writes the 512 bytes, with these four parameters, and returns the path."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["as", "--32", "-o", f"{folder}/guest.o", paths.GUESTS / source_name], check=True)
        subprocess.run(
            ["ld", "-m", "elf_i386", "-Ttext", "0x7c00", "--oformat", "binary", "-o", f"{folder}/guest.bin",
             f"{folder}/guest.o"],
            check=True)
        with open(f"{folder}/guest.bin", "rb") as file:
            sector = bytearray(file.read())
    assert len(sector) == 512 and sector[510:] == b"\x55\xaa"
    struct.pack_into("<IIII", sector, PARAMETERS_AT, *parameters)
    with open(path, "wb") as file:
        file.write(sector)
    return str(path)
