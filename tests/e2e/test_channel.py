# SPDX-License-Identifier: Apache-2.0
"""Channel mode: QEMU migrates the guest by itself, through agents that drive it and hand the guest over."""

import signal

import pytest

from harness.boot_sector import BootSector
from harness.qemu import Memory
from harness.scenario import COMPLETED, FAILED, IN_DOUBT, REFUSED, assert_never_two_running, held_receiver, hold_and, release, \
    scenario
from harness.waiting import wait_until
from test_relay import assert_memory

CHANNEL = ("--mode", "channel")
GUEST = BootSector(dirty_mib=16)


@pytest.mark.parametrize("version,kind", [("7.2", "private"), ("7.2", "memfd"), ("10.0", "memfd"), ("10.0", "file")])
def test_guest_moves(folder, network, version, kind):
    with scenario(folder, network, GUEST, Memory(kind=kind), version) as guests, \
            guests.receive(*CHANNEL) as receiver, guests.send(*CHANNEL) as sender:
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
            assert report["transport_note"] == "" and report["placed_bytes"] > 16 << 20
        assert not sender.sessions_left() and not receiver.sessions_left()


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
            assert report["transport_note"] == "" and report["placed_bytes"] > 16 << 20


@pytest.mark.parametrize("state", ["negotiating", "precopy", "awaiting-ready"])
def test_cancel_before_the_commit_leaves_the_guest_on_the_source(folder, network, state):
    with scenario(folder, network, GUEST) as guests, guests.receive(*CHANNEL, *held_receiver(state)) as receiver, \
            guests.send(*CHANNEL, "--test-hold", state) as sender:
        hold_and(sender, lambda: sender.signal(signal.SIGINT))
        assert sender.wait() == FAILED, sender.output()
        guests.assert_runs_on_source()
        release(receiver, state)
        assert receiver.wait(15) == FAILED, receiver.output()
        assert sender.report()["status"] == "cancelled"
        assert not sender.sessions_left() and not receiver.sessions_left()


def test_cancelled_guest_can_still_be_moved_and_its_settings_are_back(folder, network):
    with scenario(folder, network, GUEST) as guests:
        before = guests.source.qmp.command("query-migrate-parameters")
        with guests.receive(*CHANNEL) as receiver, \
                guests.send(*CHANNEL, "--bandwidth-limit", "80Mbit") as sender:
            wait_until(lambda: guests.source.qmp.command("query-migrate").get("status") == "active", "a migration", 20)
            sender.signal(signal.SIGINT)
            assert sender.wait() == FAILED, sender.output()
            assert receiver.wait(15) == FAILED, receiver.output()
        assert guests.source.qmp.command("query-migrate-parameters") == before
        guests.assert_runs_on_source()
        old = guests.destination
        with type(old)(old.machine, "destination", folder, incoming=True, netns=old.netns) as guests.destination, \
                guests.receive() as receiver, guests.send() as sender:
            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
            guests.assert_moved()


@pytest.mark.parametrize("state", ["precopy", "awaiting-ready"])
def test_source_agent_is_killed(folder, network, state):
    with scenario(folder, network, GUEST) as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*CHANNEL, "--test-hold", state) as sender:
        sender.wait_held()
        sender.kill()
        guests.assert_runs_on_source()  # QEMU or the guardian has resumed it
        assert receiver.wait(15) == FAILED, receiver.output()


@pytest.mark.parametrize("state", ["receiving", "ready"])
@pytest.mark.parametrize("victim", ["agent", "qemu"])
def test_destination_is_killed(folder, network, state, victim):
    with scenario(folder, network, GUEST) as guests, guests.receive(*CHANNEL, "--test-hold", state) as receiver, \
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
