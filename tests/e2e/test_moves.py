# SPDX-License-Identifier: Apache-2.0
"""A boot-sector guest moves between two QEMUs, for every kind of memory that direct mode takes, under --verify."""

import pytest

from harness import agent
from harness.boot_sector import BootSector
from harness.qemu import MIB, Memory
from harness.scenario import COMPLETED, NO_DEVICES, scenario


def move(guests, *extra):
    """Moves the guest with --verify, checks everything about it, and returns the source's report."""
    with guests.receive("--verify") as receiver, guests.send("--verify", *extra) as sender:
        assert sender.wait() == COMPLETED, sender.output()
        assert receiver.wait() == COMPLETED, receiver.output()
        report = sender.report()
        guests.assert_moved()
        assert report["status"] == "completed"
        assert report["verify"]["mismatches"] == 0
        assert report["verify"]["checked_bytes"] >= guests.source.machine.memory.size_mib * MIB
        assert not sender.sessions_left() and not receiver.sessions_left()
        return report


@pytest.mark.parametrize("version,kind", [("7.2", "file"), ("7.2", "memfd"), ("10.0", "file")])
@pytest.mark.parametrize("dirty_mib", [0, 16], ids=["idle", "dirtying"])
def test_guest_moves(folder, network, version, kind, dirty_mib):
    with scenario(folder, network, BootSector(dirty_mib=dirty_mib), Memory(kind=kind), version) as guests:
        report = move(guests)

        assert report["mode"] == "direct"
        assert report["transport"] == agent.TRANSPORT
        assert report["bytes_sent"] >= 47 * MIB
        assert report["downtime_ms"] > 0


def test_memory_of_zeros_is_not_sent(folder, network):
    with scenario(folder, network, BootSector(fill_end=16 * MIB), Memory(512)) as guests:
        report = move(guests)

        assert report["bytes_sent"] < 40 * MIB


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_guest_with_the_default_devices_moves(folder, network, version):
    # Where the drive is empty, the firmware waits 32 s for it under 10.0.
    disc = folder / "disc.iso"
    disc.write_bytes(bytes(MIB))
    with scenario(folder, network, version=version, machine_type="q35", devices=("-cdrom", str(disc))) as guests:
        move(guests)


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_guest_with_two_nodes_and_free_memory_slots_moves(folder, network, version):
    memory = Memory(128, backends=2, slots=2, max_mib=1024)
    with scenario(folder, network, BootSector(fill_end=96 * MIB, dirty_mib=80), memory, version) as guests:
        move(guests)


def test_guest_with_two_memfds_of_one_size_moves(folder, network):
    memory = Memory(128, kind="memfd", backends=2)
    with scenario(folder, network, BootSector(fill_end=96 * MIB, dirty_mib=80), memory) as guests:
        move(guests)


def test_guest_with_memory_above_the_pci_hole_moves(folder, network):
    guest = BootSector(fill_end=64 * MIB, dirty_mib=16)
    with scenario(folder, network, guest, Memory(256), machine_type="pc,max-ram-below-4g=128M") as guests:
        move(guests)


def test_preallocated_destination_is_emptied_where_the_source_is_empty(folder, network):
    with scenario(folder, network, BootSector(fill_end=16 * MIB), Memory(128, preallocated=True)) as guests:
        move(guests)


def test_bandwidth_limit_is_kept(folder, network):
    with scenario(folder, network, BootSector()) as guests:
        report = move(guests, "--bandwidth-limit", "200Mbit")

        assert report["bytes_sent"] / (report["total_ms"] / 1e3) < 1.2 * 200e6 / 8


@pytest.mark.parametrize("lanes", [1, 4])
def test_any_number_of_lanes_will_do(folder, network, lanes):
    with scenario(folder, network) as guests:
        move(guests, "--lanes", str(lanes))


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_guest_on_huge_pages_moves(folder, network, huge_pages, version):
    with scenario(folder, network, memory=Memory(64, folder=huge_pages), version=version, devices=NO_DEVICES) as guests:
        move(guests)
