# SPDX-License-Identifier: Apache-2.0
"""The test guests and their checkers, without Godwit: QEMU's own migration moves them, and damage is noticed."""

import mmap

import pytest

from harness import linux_guest
from harness.boot_sector import BootSector
from harness.pointer_chase import PointerChase, slow_loads
from harness.qemu import MIB, Machine, Memory, Qemu
from harness.waiting import wait_until

NO_DEVICES = ("-nodefaults", "-vga", "none")


def boot_machine(guest, folder, memory=Memory(), version="7.2"):
    image = guest.write_image(folder / "floppy")
    drive = ("-drive", f"file={image},format=raw,if=floppy,readonly=on")
    return Machine(memory, version, arguments=NO_DEVICES + drive)


def migrate_with_qemu(source, destination):
    address = f"unix:{source.folder}/migration"
    for qemu in (source, destination):
        qemu.qmp.command("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
    source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 10**11})
    destination.qmp.command("migrate-incoming", uri=address)
    source.qmp.command("migrate", uri=address)
    source.qmp.wait_event("MIGRATION", matching=lambda data: data["status"] == "completed")
    destination.qmp.wait_event("RESUME")


@pytest.mark.parametrize("version,kind", [("7.2", "file"), ("7.2", "memfd"), ("10.0", "file")])
@pytest.mark.parametrize("dirty_mib", [0, 16], ids=["idle", "dirtying"])
def test_boot_sector_survives_qemus_own_migration(folder, version, kind, dirty_mib):
    guest = BootSector(dirty_mib=dirty_mib)
    machine = boot_machine(guest, folder, Memory(kind=kind), version)
    with Qemu(machine, "source", folder) as source, \
         Qemu(machine, "destination", folder, incoming=True) as destination:
        source.wait_serial("AB")

        migrate_with_qemu(source, destination)
        destination.wait_serial("BB")
        destination.qmp.command("stop")

        check = guest.check_memory(destination.memory_files())
        assert check["ok"], check
        assert check["passes"] > 0
        assert "A" not in destination.serial()


@pytest.mark.parametrize("where", [MIB + 4, 20 * MIB + 8 * 4096 + 400, 48 * MIB - 4, 3 * MIB],
                         ids=["first page", "middle", "last word", "counter"])
def test_one_wrong_word_is_found(folder, where):
    guest = BootSector(dirty_mib=16)
    with Qemu(boot_machine(guest, folder), "source", folder) as source:
        source.wait_serial("AB")
        source.qmp.command("stop")
        assert guest.check_memory(source.memory_files())["ok"]

        with open(source.memory_files()[0], "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            word = int.from_bytes(memory[where:where + 4], "little")
            memory[where:where + 4] = (word ^ 0x100).to_bytes(4, "little")

        check = guest.check_memory(source.memory_files())
        assert not check["ok"]
        assert check["first_bad_page"] == where // 4096 * 4096


def test_pointer_chase_survives_qemus_own_migration(folder):
    guest = PointerChase()
    machine = boot_machine(guest, folder)
    with Qemu(machine, "source", folder) as source, \
         Qemu(machine, "destination", folder, incoming=True) as destination:
        source.wait_serial("AB")

        migrate_with_qemu(source, destination)
        destination.wait_serial("B")
        destination.qmp.command("stop")

        check = guest.check_memory(destination.memory_files())
        assert check["ok"], check
        assert check["heartbeat"] > guest.steps_per_letter
        assert not {"A", "X"} & set(destination.serial())
        assert all(low < high for low, high in slow_loads(destination.memory_files()[0]))


def test_pointer_chase_goes_through_all_its_pages_and_notices_a_wrong_one(folder):
    guest = PointerChase()
    with Qemu(boot_machine(guest, folder), "source", folder) as source:
        source.wait_serial("AB")
        assert "X" not in source.serial()

        with open(source.memory_files()[0], "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            where = MIB + 20 * MIB + 4
            memory[where:where + 4] = bytes(4)

        source.wait_serial("X")


def test_several_backends_form_one_memory(folder):
    guest = BootSector(fill_end=96 * MIB, dirty_mib=80)
    with Qemu(boot_machine(guest, folder, Memory(128, backends=2)), "source", folder) as source:
        source.wait_serial("AB")
        source.qmp.command("stop")

        check = guest.check_memory(source.memory_files())

        assert check["ok"], check
        assert check["pages"] == 95 * 256


def test_linux_guest_checks_itself(folder, linux_disk):
    machine = Machine(Memory(512), type="q35", arguments=linux_guest.arguments(32, 64, linux_disk))
    with Qemu(machine, "source", folder) as source:
        def beats():
            return [linux_guest.heartbeats(source.serial(), load) for load in ("memory", "disk", "alive")]
        wait_until(lambda: all(len(beat) >= 3 for beat in beats()), "three heartbeats of each load", 60)

        linux_guest.assert_memory_right(source.serial())
        for beat in beats():
            assert beat == sorted(beat)
