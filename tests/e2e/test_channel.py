# SPDX-License-Identifier: Apache-2.0
"""Channel mode: QEMU migrates the guest by itself, through agents that drive it and hand the guest over."""

import signal
import statistics

import pytest

from harness import agent
from harness.boot_sector import BootSector
from harness.qemu import Memory
from harness.scenario import COMPLETED, FAILED, IN_DOUBT, REFUSED, assert_never_two_running, held_receiver, hold_and, release, \
    scenario
from harness.waiting import wait_until
from test_relay import assert_memory

CHANNEL = ("--mode", "channel")
GUEST = BootSector(dirty_mib=16)
LANES = ("--lanes", "2")  # pages by as many multifd channels


@pytest.mark.parametrize("version,kind,lanes", [
    ("7.2", "private", ()), ("7.2", "memfd", ()), ("7.2", "file", LANES), ("10.0", "memfd", ("--lanes", "1")),
    ("10.0", "memfd", ("--lanes", "5")), ("10.0", "file", ())])
def test_guest_moves(folder, network, version, kind, lanes):
    with scenario(folder, network, GUEST, Memory(kind=kind), version) as guests, \
            guests.receive(*CHANNEL) as receiver, guests.send(*CHANNEL, *lanes) as sender:
        assert sender.wait() == COMPLETED, sender.output()
        assert receiver.wait() == COMPLETED, receiver.output()
        assert guests.source.qmp.status() == "postmigrate"
        assert_never_two_running(guests.source, guests.destination)
        assert_memory(guests, guests.destination, folder)
        report = sender.report()
        assert report["mode"] == "channel" and report["status"] == "completed"
        assert report["downtime_ms"] > 0 and report["bytes_sent"] > 16 << 20
        if kind == "private":
            assert "no guest RAM is shared memory" in report["transport_note"]
        else:
            assert report["placed_bytes"] > 16 << 20
            if version == "7.2" and lanes == LANES:
                assert "may not survive a failure of multifd" in report["transport_note"]
            else:
                channels = 0 if version == "7.2" else 2
                assert report["transport_note"] == channels_note({(): channels, ("--lanes", "1"): 0}.get(lanes, 5))
        assert not [entry for entry in folder.iterdir() if entry.name.startswith(".godwit-")]
        assert not sender.sessions_left() and not receiver.sessions_left()


# So that it does not end before something has happened to it.
SLOWLY = ("--bandwidth-limit", "160Mbit", "--downtime-limit", "10ms")


def wait_for_pages(guests):
    wait_until(lambda: guests.source.qmp.command("query-migrate").get("ram", {}).get("transferred", 0) > 4 << 20,
               "some memory on its way", 20)


def channels_note(channels):
    return f"pages come by {channels} channels of QEMU's" if channels else ""


def physical_memory(qemu, folder, address, size):
    image = folder / f"{qemu.name}.memory"
    qemu.qmp.command("pmemsave", val=address, size=size, filename=str(image))
    return image.read_bytes()


@pytest.mark.parametrize("here,there", [("7.2", "10.0"), ("10.0", "7.2")])
@pytest.mark.parametrize("kind", ["private", "memfd"])
def test_guest_moves_to_another_version_of_qemu(folder, network, here, there, kind):
    with scenario(folder, network, GUEST, Memory(kind=kind), here, "pc-i440fx-7.2", destination_version=there) as guests, \
            guests.receive(*CHANNEL) as receiver, guests.send(*CHANNEL) as sender:
        assert sender.wait() == COMPLETED, sender.output()
        assert receiver.wait() == COMPLETED, receiver.output()
        assert_never_two_running(guests.source, guests.destination)
        assert_memory(guests, guests.destination, folder)


def test_guest_in_huge_pages_moves(folder, network, huge_pages):
    with scenario(folder, network, GUEST, Memory(folder=huge_pages), "10.0") as guests, \
            guests.receive(*CHANNEL) as receiver, guests.send(*CHANNEL) as sender:
        assert sender.wait() == COMPLETED, sender.output()
        assert receiver.wait() == COMPLETED, receiver.output()
        assert_never_two_running(guests.source, guests.destination)
        assert_memory(guests, guests.destination, folder)
        assert sender.report()["placed_bytes"] > 16 << 20


def test_guest_whose_qemu_was_told_to_send_differences_and_to_slow_it_moves(folder, network):
    """Both are off meanwhile: differences cannot be placed."""
    with scenario(folder, network, GUEST, Memory(kind="memfd"), "10.0") as guests:
        for qemu in (guests.source, guests.destination):
            qemu.qmp.command("migrate-set-capabilities", capabilities=[
                {"capability": name, "state": True} for name in ("xbzrle", "auto-converge")])
        with guests.receive(*CHANNEL) as receiver, guests.send(*CHANNEL) as sender:
            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
            assert_never_two_running(guests.source, guests.destination)
            assert_memory(guests, guests.destination, folder)
            report = sender.report()
            assert report["transport_note"] == channels_note(2) and report["placed_bytes"] > 16 << 20


def test_memory_that_is_not_shared_comes_along(folder, network):
    """Video memory and firmware, which QEMU puts into its multifd channels as well."""
    devices = ("-nodefaults", "-vga", "std")
    with scenario(folder, network, GUEST, Memory(kind="memfd"), "10.0", devices=devices) as guests, \
            guests.receive(*CHANNEL) as receiver, guests.send(*CHANNEL) as sender:
        assert sender.wait() == COMPLETED, sender.output()
        assert receiver.wait() == COMPLETED, receiver.output()
        assert sender.report()["transport_note"] == channels_note(2)
        guests.destination.qmp.command("stop")
        for address, size in ((0xb8000, 0x8000), (0xe0000, 0x20000)):
            there = physical_memory(guests.destination, folder, address, size)
            assert there == physical_memory(guests.source, folder, address, size) and any(there), hex(address)
        guests.destination.qmp.command("cont")
        assert_memory(guests, guests.destination, folder)


@pytest.mark.skipif(agent.TRANSPORT == "rdma", reason="RDMA devices live in the host's own namespace, and their link cannot be cut")
@pytest.mark.parametrize("lane", [0, 3])
def test_lane_is_lost_in_the_middle(folder, network, lane):
    with scenario(folder, network, GUEST, version="10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*CHANNEL, *SLOWLY) as sender:
        wait_for_pages(guests)
        # Two lanes of the stream, and those of its channels: all from other ports to one.
        ends = [ends for ends in network.connections() if agent.PORT not in ends]
        listening = statistics.mode(here for here, there in ends)
        from_ports = sorted(here for here, there in ends if there == listening)
        assert len(from_ports) == 4
        network.reset_connection(from_ports[lane])
        assert sender.wait(30) == FAILED, sender.output()
        guests.assert_runs_on_source()
        assert receiver.wait(15) == FAILED, receiver.output()


def test_cancel_by_another_monitor_in_the_middle(folder, network):
    with scenario(folder, network, GUEST, version="10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*CHANNEL, *SLOWLY) as sender:
        wait_for_pages(guests)
        guests.source.qmp.command("migrate_cancel")
        assert sender.wait(30) == FAILED, sender.output()
        guests.assert_runs_on_source()
        assert receiver.wait(15) == FAILED, receiver.output()
        assert not capability(guests.source, "multifd")


def capability(qemu, name):
    return {entry["capability"]: entry["state"] for entry in qemu.qmp.command("query-migrate-capabilities")}[name]


def test_settings_of_the_user_do_not_stand_in_the_way_of_channels(folder, network):
    with scenario(folder, network, GUEST, version="10.0") as guests, guests.receive(*CHANNEL) as receiver:
        guests.source.qmp.command("migrate-set-parameters", **{
            "multifd-channels": 7, "multifd-compression": "zlib", "zero-page-detection": "multifd"})
        guests.source.qmp.command("migrate-set-capabilities", capabilities=[{"capability": "xbzrle", "state": True}])
        with guests.send(*CHANNEL) as sender:
            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
            assert sender.report()["transport_note"] == channels_note(2)
        assert_memory(guests, guests.destination, folder)


VERSIONS = pytest.mark.parametrize("version", ["7.2", "10.0"])  # the one by its stream, the other by multifd


@VERSIONS
@pytest.mark.parametrize("state", ["negotiating", "precopy", "awaiting-ready"])
def test_cancel_before_the_commit_leaves_the_guest_on_the_source(folder, network, state, version):
    with scenario(folder, network, GUEST, version=version) as guests, guests.receive(*CHANNEL, *held_receiver(state)) as receiver, \
            guests.send(*CHANNEL, "--test-hold", state) as sender:
        hold_and(sender, lambda: sender.signal(signal.SIGINT))
        assert sender.wait() == FAILED, sender.output()
        guests.assert_runs_on_source()
        release(receiver, state)
        assert receiver.wait(15) == FAILED, receiver.output()
        assert sender.report()["status"] == "cancelled"
        assert not sender.sessions_left() and not receiver.sessions_left()


@VERSIONS
def test_cancelled_guest_can_still_be_moved_and_its_settings_are_back(folder, network, version):
    with scenario(folder, network, GUEST, version=version) as guests:
        before = [guests.source.qmp.command(f"query-migrate-{what}") for what in ("parameters", "capabilities")]
        with guests.receive(*CHANNEL) as receiver, \
                guests.send(*CHANNEL, "--bandwidth-limit", "80Mbit") as sender:
            wait_until(lambda: guests.source.qmp.command("query-migrate").get("status") == "active", "a migration", 20)
            sender.signal(signal.SIGINT)
            assert sender.wait() == FAILED, sender.output()
            assert receiver.wait(15) == FAILED, receiver.output()
        assert [guests.source.qmp.command(f"query-migrate-{what}") for what in ("parameters", "capabilities")] == before
        guests.assert_runs_on_source()
        old = guests.destination
        with type(old)(old.machine, "destination", folder, incoming=True, netns=old.netns) as guests.destination, \
                guests.receive() as receiver, guests.send() as sender:
            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
            guests.assert_moved()


@pytest.mark.parametrize("state", ["precopy", "awaiting-ready"])
def test_source_agent_is_killed(folder, network, state):
    with scenario(folder, network, GUEST, version="10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*CHANNEL, "--test-hold", state) as sender:
        sender.wait_held()
        sender.kill()
        guests.assert_runs_on_source()  # QEMU or the guardian has resumed it
        wait_until(lambda: not capability(guests.source, "multifd"), "multifd off again", 5)
        assert receiver.wait(15) == FAILED, receiver.output()


@pytest.mark.parametrize("lanes", ["2", "5"])
def test_source_agent_is_killed_while_qemu_stops_the_guest(folder, network, lanes):
    """Were QEMU 10.0 to see its multifd channels break then, it might hang, with the guest."""
    with scenario(folder, network, GUEST, version="10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*CHANNEL, "--lanes", lanes) as sender:
        guests.source.qmp.wait_event("STOP")
        sender.kill()
        guests.assert_runs_on_source()
        assert receiver.wait(15) == FAILED, receiver.output()


@pytest.mark.parametrize("state", ["receiving", "ready"])
@pytest.mark.parametrize("victim", ["agent", "qemu"])
def test_destination_is_killed(folder, network, state, victim):
    with scenario(folder, network, GUEST, version="10.0") as guests, guests.receive(*CHANNEL, "--test-hold", state) as receiver, \
            guests.send(*CHANNEL) as sender:
        if victim == "agent":
            receiver.wait_held()
            receiver.kill()
        else:
            hold_and(receiver, guests.destination.kill)
        assert sender.wait(30) == FAILED, sender.output()
        guests.assert_runs_on_source()


def test_source_that_dies_after_the_commit_leaves_the_guest_to_the_destination(folder, network):
    with scenario(folder, network, GUEST) as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*CHANNEL, "--test-hold", "committed") as sender:
        sender.wait_held()
        sender.kill()
        assert receiver.wait(30) == IN_DOUBT, receiver.output()
        assert guests.source.qmp.status() != "running"
        assert guests.destination.qmp.status() == "paused"


def test_modes_have_to_agree(folder, network):
    with scenario(folder, network, GUEST) as guests:
        with guests.receive() as receiver, guests.send(*CHANNEL) as sender:
            assert sender.wait(15) == REFUSED, sender.output()
            assert "give both the same" in sender.output()
            assert receiver.wait(15) == REFUSED, receiver.output()
        with guests.receive(*CHANNEL) as receiver, guests.send() as sender:
            assert sender.wait(15) == REFUSED, sender.output()
            assert "give both the same" in sender.output()
            assert receiver.wait(15) == REFUSED, receiver.output()
        assert guests.source.qmp.status() == "running"


def test_what_only_direct_mode_has_is_refused(folder, network):
    with scenario(folder, network, GUEST) as guests, guests.send(*CHANNEL, "--verify") as sender:
        assert sender.wait(15) == REFUSED, sender.output()
        assert "--verify needs --mode direct" in sender.output()
