# SPDX-License-Identifier: Apache-2.0
"""The destination's host of test_pair.py: a QEMU that waits and `godwit receive`, on machine b of the lab.

Says "listening" when the source may come. A line on stdin asks for the end: then it prints, as JSON, how the receiver
ended and what the guest is like here.
"""

import json
import pathlib
import sys
import tempfile

from harness import agent
from harness.boot_sector import BootSector
from harness.qemu import MIB, Machine, Memory, Qemu


def main():
    listen, dirty_mib, fill_mib, memory_mib, *options = sys.argv[1:]
    guest = BootSector(int(fill_mib) * MIB, int(dirty_mib))
    with tempfile.TemporaryDirectory(prefix="godwit-pair-", dir="/var/tmp") as folder:
        folder = pathlib.Path(folder)
        image = guest.write_image(folder / "floppy")
        machine = Machine(Memory(int(memory_mib)), arguments=("-net", "none", "-drive", f"file={image},format=raw,if=floppy,readonly=on"))
        with Qemu(machine, "destination", folder, incoming=True) as qemu:
            with agent.receive(qemu, folder, listen=listen, extra=options) as receiver:
                print("listening", flush=True)
                sys.stdin.readline()
                receiver.wait(20)
            letters = qemu.serial()
            runs = qemu.qmp.status() == "running"
            if runs:
                qemu.wait_serial("BB")
                qemu.qmp.command("stop")
            print(json.dumps({"exit_code": receiver.wait(), "output": receiver.output(), "runs": runs,
                              "booted": "A" in letters,
                              "memory": guest.check_memory(qemu.memory_files()) if runs else None}), flush=True)


main()
