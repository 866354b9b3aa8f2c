# SPDX-License-Identifier: Apache-2.0
"""A Linux guest moves while it reads its disk with O_DIRECT, rewrites its memory, and gives memory back.

Reads in flight are the trap: their data land in guest memory after the scan that should have seen them. The negative
control switches the quiesced scans off, and the verification must then find what was lost.
"""

import contextlib
import os
import pathlib

import pytest

from harness import agent, linux_guest
from harness.qemu import MIB, Machine, Memory, Qemu
from harness.scenario import COMPLETED, FAILED, Scenario, assert_never_two_running
from harness.waiting import wait_until

DISK_POOL_MIB = 64
DISK_POOL_CHECKS = 2 * DISK_POOL_MIB * 64  # each buffer of 16 KiB once when it is reused and once when it arrives
SLOW_BYTES_PER_S = 20_000_000
BOOT_S = 120 if agent.TRANSPORT == "tcp" else 400  # in the lab the host is emulated as well
BALLOON = ("-device", "virtio-balloon-pci,id=balloon0")


@contextlib.contextmanager
def linux_scenario(folder, network, linux_disk, version="7.2", extra=(), aio="native", wrapper=()):
    arguments = linux_guest.arguments(32, DISK_POOL_MIB, linux_disk, aio=aio)
    machine = Machine(Memory(512), version, "q35", arguments=(*arguments, *extra))
    with Qemu(machine, "source", folder, netns=network.name, wrapper=wrapper) as source, \
         Qemu(machine, "destination", folder, incoming=True, netns=network.name) as destination:
        source.wait_serial("OK disk", timeout_s=BOOT_S)
        source.wait_serial("OK memory")
        wait_until(lambda: checks(source, "disk") > DISK_POOL_CHECKS, "the disk load filling its pool", BOOT_S)
        yield Scenario(folder, None, source, destination, network.name, network.name, "127.0.0.1:7471")


def checks(qemu, load):
    beats = linux_guest.heartbeats(qemu.serial(), load)
    return beats[-1][0] if beats else 0


def move(guests, *extra):
    """One attempt under --verify; returns the exit code and the source's report."""
    with guests.receive("--verify") as receiver, guests.send("--verify", *extra) as sender:
        code = sender.wait()
        receiver.wait()
        return code, sender.report(), sender.output()


def assert_guest_is_well(guests):
    """Every buffer and page is looked at again by the guest itself, which goes on where it was."""
    source, destination = guests.source, guests.destination
    before = checks(source, "disk")
    linux_guest.assert_memory_right(source.serial())
    wait_until(lambda: checks(destination, "disk") > before + DISK_POOL_CHECKS or "BAD" in destination.serial(),
               "the guest looking at its whole pool again", BOOT_S)
    linux_guest.assert_memory_right(destination.serial())
    assert "GUEST UP" not in destination.serial()
    uptimes = [beat[1] for qemu in (source, destination) for beat in linux_guest.heartbeats(qemu.serial(), "alive")]
    assert uptimes == sorted(uptimes)
    assert_never_two_running(source, destination)


@pytest.mark.parametrize("version,aio", [("7.2", "native"), ("7.2", "io_uring"), ("10.0", "native")])
def test_disk_reads_in_flight_are_not_lost(folder, network, linux_disk, version, aio):
    with linux_scenario(folder, network, linux_disk, version, aio=aio) as guests:
        code, report, output = move(guests)

        assert code == COMPLETED, output
        assert report["verify"]["mismatches"] == 0
        assert_guest_is_well(guests)


@pytest.mark.parametrize("version,aio", [("7.2", "native"), ("10.0", "io_uring")])
def test_disk_reads_into_missing_pages_wait_for_them(folder, network, linux_disk, version, aio):
    """The kernel writes what it reads with O_DIRECT into the guest's buffers, of which none is there yet."""
    with linux_scenario(folder, network, linux_disk, version, aio=aio) as guests:
        with guests.receive() as receiver, \
             guests.send("--post-copy", "now", "--bandwidth-limit", "400Mbit") as sender:
            assert sender.wait(60) == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
            fetched = receiver.report()["post_copy"]

        assert fetched["vcpu_stall_ms"][0] > 0
        assert fetched["other_stall_ms"] > 0, "nobody but the vCPU waited: what of the disk reads?"
        assert_guest_is_well(guests)


@pytest.fixture
def slow_disk(linux_disk):
    """A wrapper for a QEMU whose disk reads take about 50 ms. The kernel holds them back after it has taken the memory
    for them, so that they are in flight for long."""
    group = pathlib.Path("/sys/fs/cgroup/blkio/godwit-test")
    with contextlib.suppress(FileExistsError):
        group.mkdir()
    device = os.stat(linux_disk).st_dev
    (group / "blkio.throttle.read_bps_device").write_text(f"{os.major(device)}:{os.minor(device)} {SLOW_BYTES_PER_S}")
    yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
    with contextlib.suppress(OSError):  # a process of it may take a moment to be gone
        group.rmdir()


def test_slow_disk_reads_in_flight_are_not_lost(folder, network, linux_disk, slow_disk):
    with linux_scenario(folder, network, linux_disk, wrapper=slow_disk) as guests:
        code, report, output = move(guests)

        assert code == COMPLETED, output
        assert report["verify"]["mismatches"] == 0
        assert_guest_is_well(guests)


def test_without_quiesced_scans_the_verification_finds_lost_reads(folder, network, linux_disk, slow_disk):
    attempts_max = 6
    for attempt in range(attempts_max):
        with linux_scenario(folder, network, linux_disk, wrapper=slow_disk) as guests:
            code, report, output = move(guests, "--test-no-quiesce")
            if code == FAILED and report["verify"]["mismatches"] > 0:
                guests.wait_running_on_source()
                return
            assert code == COMPLETED, output  # this time nothing was lost
    pytest.fail(f"{attempts_max} moves without quiesced scans and not one lost a read: does the guest read?")


@pytest.mark.parametrize("version", ["7.2", "10.0"])
def test_balloon_that_inflates_during_the_move_leaves_right_memory(folder, network, linux_disk, version):
    with linux_scenario(folder, network, linux_disk, version, BALLOON) as guests:
        source = guests.source
        with guests.receive("--verify") as receiver, \
             guests.send("--verify", "--bandwidth-limit", "1500Mbit") as sender:
            wait_until(lambda: sender_in(sender, "precopy"), "the first round", 20)
            source.qmp.command("balloon", value=256 * MIB)
            assert sender.wait() == COMPLETED, sender.output()
            receiver.wait()
            assert sender.report()["verify"]["mismatches"] == 0
        assert source.qmp.command("query-balloon")["actual"] < 512 * MIB, "no page was given back"

        guests.destination.qmp.command("balloon", value=512 * MIB)

        assert_guest_is_well(guests)


def sender_in(sender, state):
    return any(entry["state"] == state for entry in sender.status() if entry["role"] == "source")


def test_guest_that_reports_free_pages_moves(folder, network, linux_disk):
    reporting = ("-device", "virtio-balloon-pci,id=balloon0,free-page-reporting=on")
    with linux_scenario(folder, network, linux_disk, extra=reporting) as guests:
        code, report, output = move(guests)

        assert code == COMPLETED, output
        assert report["verify"]["mismatches"] == 0
        assert_guest_is_well(guests)
