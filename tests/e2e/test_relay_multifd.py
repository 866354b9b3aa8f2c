# SPDX-License-Identifier: Apache-2.0
"""QEMU migrates by multifd, into `godwit relay`, which puts the pages of all channels where they belong."""

import dataclasses
import os

import pytest

from harness import agent, relay
from harness.boot_sector import BootSector
from harness.qemu import MIB, Memory, Qemu
from harness.scenario import NO_DEVICES, scenario
from harness.waiting import wait_until
from test_channel import physical_memory
from test_relay import UNLIMITED, assert_memory, assert_moved, begin, set_up, wait_status
from test_relay_pages import assert_both_ended_well, placed_mib, placing_relays

GUEST = BootSector(dirty_mib=40)
# QEMU 7.2 under TCG may lose pages of a guest that writes few of them, all the time.
LARGE_GUEST = BootSector(fill_end=120 * MIB, dirty_mib=100)
SLOW = {"max-bandwidth": 20 * MIB, "downtime-limit": 1}


def set_up_multifd(guests, channels, **parameters):
    for qemu in (guests.source, guests.destination):
        set_up(qemu, ["multifd"], **{"multifd-channels": channels, **parameters})


def migration(qemu):
    return qemu.qmp.command("query-migrate")


def begin_slowly(guests, folder, channels):
    """Returns when pages are on their way."""
    set_up_multifd(guests, channels)
    guests.source.qmp.command("migrate-set-parameters", **SLOW)
    begin(guests, folder)
    wait_until(lambda: migration(guests.source).get("ram", {}).get("transferred", 0) > 4 * MIB, "pages on their way", 20)


def let_rounds_pass(guests, rounds):
    """The guest's pages are sent again and again, until this many times; then it may move."""
    guests.source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 500 * MIB})
    wait_until(lambda: migration(guests.source).get("ram", {}).get("dirty-sync-count", 0) >= rounds, "rounds", 30)
    guests.source.qmp.command("migrate-set-parameters", **{"max-bandwidth": UNLIMITED, "downtime-limit": 5000})


def note_of(channels):
    return f"pages of {channels} multifd channels from memory to memory"


@pytest.mark.parametrize("here,there,machine,channels,kind", [
    ("7.2", "7.2", "pc", 2, "memfd"), ("10.0", "10.0", "q35", 8, "memfd"), ("10.0", "7.2", "pc-i440fx-7.2", 2, "file")])
def test_pages_go_past_the_channels(folder, network, here, there, machine, channels, kind):
    guest, memory = (LARGE_GUEST, Memory(128, kind)) if here == "7.2" else (GUEST, Memory(kind=kind))
    with scenario(folder, network, guest, memory, here, machine, destination_version=there) as guests, \
            placing_relays(guests, folder, network.name, True) as (listening, connecting):
        begin_slowly(guests, folder, channels)
        let_rounds_pass(guests, 3)
        assert_moved(guests, folder)
        assert_both_ended_well(listening, connecting)
        assert note_of(channels) in listening.output(), listening.output()
        assert listening.output().count("ended after") == 1 + channels, listening.output()
        assert placed_mib(listening) > 40, listening.output()


def test_memory_that_is_not_shared_comes_along(folder, network):
    """Video memory and firmware, by the channels' own streams."""
    devices = ("-nodefaults", "-vga", "std")
    with scenario(folder, network, GUEST, Memory(kind="memfd"), "10.0", devices=devices) as guests, \
            placing_relays(guests, folder, network.name, True) as (here, there):
        set_up_multifd(guests, 2)
        begin(guests, folder)
        assert_moved(guests, folder)
        assert_both_ended_well(here, there)
        guests.destination.qmp.command("stop")
        for address, size in ((0xb8000, 0x8000), (0xe0000, 0x20000)):
            arrived = physical_memory(guests.destination, folder, address, size)
            assert arrived == physical_memory(guests.source, folder, address, size) and any(arrived), hex(address)


@pytest.mark.parametrize("detection", ["legacy", "multifd"])
def test_memory_that_is_zero_takes_no_place(folder, network, detection):
    """Found zero by the channels' threads, or by the one of the main channel."""
    guest = BootSector(fill_end=16 * MIB, dirty_mib=15)
    with scenario(folder, network, guest, Memory(128), "10.0") as guests, \
            placing_relays(guests, folder, network.name, True) as (here, there):
        set_up_multifd(guests, 2, **{"zero-page-detection": detection})
        begin(guests, folder)
        wait_status(guests.source, "completed")
        wait_until(lambda: guests.destination.qmp.status() == "running", "the guest running there", 20)
        # Whoever looks at it takes place. What RDMA pins is a few chunks, each of them whole.
        most = 64 if agent.TRANSPORT == "rdma" else 32
        assert os.stat(guests.destination.memory_files()[0]).st_blocks * 512 < most * MIB
        assert_moved(guests, folder)
        assert_both_ended_well(here, there)
        assert note_of(2) in here.output()


def fresh_destination(guests, folder, **changes):
    """One more QEMU in place of the destination."""
    old = guests.destination
    old.kill()
    return Qemu(dataclasses.replace(old.machine, **changes), "destination", folder, incoming=True, netns=old.netns)


class HalfShared(Memory):
    """Two backends, of which the second is private."""

    def arguments(self, name, size_mib_override=None):
        private = "memory-backend-ram,id=ram1"
        return [argument.replace("memory-backend-memfd,id=ram1", private).replace(",share=on", "")
                if "id=ram1" in argument else argument for argument in super().arguments(name, size_mib_override)]


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_memory_that_is_shared_only_there_leaves_the_channels_to_qemu(folder, network, version):
    with scenario(folder, network, BootSector(dirty_mib=40), HalfShared(64, "memfd", backends=2), version) as guests, \
            fresh_destination(guests, folder, memory=Memory(64, "memfd", backends=2)) as guests.destination, \
            placing_relays(guests, folder, network.name, True) as (here, there):
        set_up_multifd(guests, 2)
        begin(guests, folder)
        assert_moved(guests, folder)
        assert_both_ended_well(here, there)
        assert "pages in the stream (pages come by multifd, some of memory not shared here)" in here.output(), here.output()
        assert here.output().count("ended after") == 3 and "; 0 B of pages placed" in here.output(), here.output()


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_migration_is_cancelled_and_begun_again(folder, network, version):
    with scenario(folder, network, LARGE_GUEST, Memory(128), version) as guests, \
            relay.connect(folder, network.name, "--qmp", guests.destination.agent_socket) as there, \
            relay.listen(folder, network.name, "--qmp", guests.source.agent_socket) as here:
        begin_slowly(guests, folder, 2)
        guests.source.qmp.command("migrate_cancel")
        wait_status(guests.source, "cancelled")
        assert guests.source.qmp.status() == "running"
        assert_memory(guests, guests.source, folder)
        with fresh_destination(guests, folder) as guests.destination:
            set_up_multifd(guests, 2)
            begin(guests, folder)
            assert_moved(guests, folder)
        assert here.output().count(note_of(2)) == 2, here.output()
        wait_until(lambda: here.output().count("ended after") >= 3, f"the streams' end: {here.output()}", 10)
        assert there.process.poll() is None


@pytest.mark.parametrize("side", ["listen", "connect"])
def test_guest_runs_on_when_a_relay_is_killed(folder, network, side):
    with scenario(folder, network, GUEST, Memory(kind="memfd"), "10.0") as guests, \
            placing_relays(guests, folder, network.name, True) as ends:
        begin_slowly(guests, folder, 2)
        next(end for end in ends if end.side == side).kill()
        wait_until(lambda: migration(guests.source)["status"] == "failed", "the migration failed", 20)
        assert_memory(guests, guests.source, folder)
        other = next(end for end in ends if end.side != side)
        assert other.wait() == 1 and "broke after" in other.output(), other.output()


@pytest.mark.parametrize("version,source_has_monitor,compression,why", [
    ("7.2", False, "none", "QEMU's capability multifd is on"), ("10.0", False, "none", "QEMU's capability multifd is on"),
    ("10.0", True, "zlib", "multifd is on with compression zlib")])
def test_channels_that_cannot_be_read_are_left_to_qemu(folder, network, version, source_has_monitor, compression, why):
    with scenario(folder, network, BootSector(dirty_mib=16), Memory(kind="memfd"), version, devices=NO_DEVICES) as guests, \
            placing_relays(guests, folder, network.name, source_has_monitor) as (here, there):
        set_up_multifd(guests, 2, **{"multifd-compression": compression})
        begin(guests, folder)
        assert_moved(guests, folder)
        assert_both_ended_well(here, there)
        assert why in here.output(), here.output()
        assert "placed" not in here.output(), here.output()
