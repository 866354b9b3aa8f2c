# SPDX-License-Identifier: Apache-2.0
"""Where things are: the repository, its build, the two QEMUs, Debian's kernel."""

import os
import pathlib

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
CACHE = REPOSITORY / ".cache"
BUILD = pathlib.Path(os.environ.get("GODWIT_BUILD_DIR", REPOSITORY / "build"))
GUESTS = REPOSITORY / "tests/e2e/guests"

GODWIT = BUILD / "godwit"
GUEST_MEMORY = BUILD / "guest_memory"
GUESTLOAD = BUILD / "guestload"

KERNEL = CACHE / "kernel/vmlinuz"
QEMU_10 = CACHE / "qemu-10.0"


def qemu_command(version):
    """The command line that starts the QEMU of this version, "7.2" (Debian 12's own) or "10.0" (.cache)."""
    if version == "7.2":
        return ["/usr/bin/qemu-system-x86_64"]
    if version == "10.0":
        folders = [QEMU_10 / "usr/share/qemu", "/usr/share/seabios", "/usr/share/qemu"]
        command = [str(QEMU_10 / "usr/bin/qemu-system-x86_64")]
        for folder in folders:
            command += ["-L", str(folder)]
        return command
    raise ValueError(f"no QEMU {version} here")
