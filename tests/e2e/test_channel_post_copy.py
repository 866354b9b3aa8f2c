# SPDX-License-Identifier: Apache-2.0
"""Post-copy in channel mode: QEMU's own, driven by the agents, which hand the guest over in the middle of its stream."""

import os
import signal

import pytest

from harness import agent, relay
from harness.boot_sector import BootSector
from harness.qemu import MIB, Memory
from harness.scenario import COMPLETED, FAILED, IN_DOUBT, NO_DEVICES, REFUSED, assert_never_two_running, hold_and, runs, scenario
from harness.waiting import wait_until
from test_channel import CHANNEL, capability
from test_post_copy import without_right
from test_relay import assert_memory, wait_status

NOW = (*CHANNEL, "--post-copy", "now")
AUTO = (*CHANNEL, "--post-copy", "auto")
GUEST = BootSector(dirty_mib=16)
# So that the guest has to ask for what it touches, and its QEMU does not find the rest little enough to stop for.
SLOWLY = ("--bandwidth-limit", "320Mbit", "--downtime-limit", "1ms")
VERSIONS = pytest.mark.parametrize("version", ["7.2", "10.0"])


def settings(qemu):
    return [qemu.qmp.command(f"query-migrate-{what}") for what in ("parameters", "capabilities")]


def assert_moved(guests, folder, sender, receiver):
    assert sender.wait() == COMPLETED, sender.output()
    assert receiver.wait() == COMPLETED, receiver.output()
    wait_until(lambda: guests.source.qmp.status() == "postmigrate", "the guest given away", 5)
    assert_never_two_running(guests.source, guests.destination)
    assert_memory(guests, guests.destination, folder)
    assert not sender.sessions_left() and not receiver.sessions_left()


def post_copy_bandwidth(qemu, bytes_per_s):
    qemu.qmp.command("migrate-set-parameters", **{"max-postcopy-bandwidth": bytes_per_s})


@pytest.mark.parametrize("version,kind", [("7.2", "memfd"), ("7.2", "private"), ("10.0", "file"), ("10.0", "private")])
def test_guest_moves(folder, network, version, kind):
    with scenario(folder, network, GUEST, Memory(kind=kind), version) as guests, \
            guests.receive(*CHANNEL, "--test-hold", "committed") as receiver, guests.send(*NOW, *SLOWLY) as sender:
        # Until the guest has had to ask.
        hold_and(receiver, lambda: post_copy_bandwidth(guests.source, MIB))
        if kind == "private":
            wait_until(lambda: guests.source.qmp.command("query-migrate")["ram"]["postcopy-requests"] > 0, "a request", 20)
        else:
            guests.destination.wait_serial("B")
        post_copy_bandwidth(guests.source, 0)
        assert_moved(guests, folder, sender, receiver)
        report = sender.report()
        assert report["mode"] == "channel" and report["status"] == "completed"
        assert report["downtime_ms"] > 0 and report["post_copy"]["missing_bytes"] > 8 * MIB
        answered = receiver.report()["post_copy"]["faults_fetched"]
        if kind == "private":
            assert "no guest RAM is shared memory" in report["transport_note"]
            assert answered == 0 and report["post_copy"]["faults"] > 0
        else:
            assert report["transport_note"] == "" and answered > 0
        assert not capability(guests.destination, "postcopy-ram")


def test_guest_that_writes_faster_than_the_link_carries_moves(folder, network):
    with scenario(folder, network, GUEST, Memory(kind="memfd"), "10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*AUTO, *SLOWLY) as sender:
        assert_moved(guests, folder, sender, receiver)
        report = sender.report()
        assert report["post_copy"]["missing_bytes"] > 0 and report["bytes_sent"] > 64 * MIB


def test_auto_leaves_alone_what_ends_by_itself(folder, network):
    with scenario(folder, network, GUEST, Memory(kind="memfd"), "10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*AUTO) as sender:
        assert_moved(guests, folder, sender, receiver)
        assert sender.report()["post_copy"] is None and receiver.report()["post_copy"] is None


def test_guest_in_huge_pages_moves(folder, network, huge_pages):
    with scenario(folder, network, GUEST, Memory(folder=huge_pages), "10.0") as guests, \
            guests.receive(*CHANNEL) as receiver, guests.send(*NOW, *SLOWLY) as sender:
        assert_moved(guests, folder, sender, receiver)


NO_RIGHT = "by post-copy: QEMU refused migrate-set-capabilities"


@pytest.mark.parametrize("wanted,status", [(NOW, REFUSED), (AUTO, COMPLETED)])
def test_destination_that_has_no_right_to_a_userfaultfd(folder, network, wanted, status):
    with scenario(folder, network, GUEST) as guests, without_right(guests, folder) as guests.destination, \
            guests.receive(*CHANNEL) as receiver, guests.send(*wanted) as sender:
        assert sender.wait() == status, sender.output()
        assert NO_RIGHT in sender.output()
        if status == COMPLETED:
            assert_moved(guests, folder, sender, receiver)
            assert NO_RIGHT in sender.report()["post_copy_note"]
        else:
            receiver.wait(15)
            guests.assert_runs_on_source()


# Until the commit the guest is the source's, whatever its QEMU makes of post-copy.

@VERSIONS
@pytest.mark.parametrize("state", ["loading-state", "ready"])
@pytest.mark.parametrize("victim", ["agent", "qemu"])
def test_destination_is_killed_before_the_commit(folder, network, version, state, victim):
    with scenario(folder, network, GUEST, version=version) as guests, \
            guests.receive(*CHANNEL, "--test-hold", state) as receiver, guests.send(*NOW, *SLOWLY) as sender:
        receiver.wait_held()
        assert guests.source.qmp.status() == "finish-migrate"
        if victim == "agent":
            receiver.kill()
        else:
            hold_and(receiver, guests.destination.kill)
        assert sender.wait(30) == FAILED, sender.output() + receiver.output()
        guests.assert_runs_on_source()


@VERSIONS
def test_source_agent_is_killed_before_the_commit(folder, network, version):
    with scenario(folder, network, GUEST, version=version) as guests, \
            guests.receive(*CHANNEL, "--test-hold", "loading-state") as receiver, \
            guests.send(*NOW, *SLOWLY) as sender:
        receiver.wait_held()
        sender.kill()
        guests.assert_runs_on_source()  # by the guardian
        assert not capability(guests.source, "postcopy-ram")
        receiver.release()
        assert receiver.wait(15) != COMPLETED, receiver.output()
        assert not runs(guests.destination)


@VERSIONS
def test_cancelled_guest_can_still_be_moved_and_its_settings_are_back(folder, network, version):
    disk = folder / "disk"  # which only one QEMU can have
    disk.write_bytes(bytes(MIB))
    devices = (*NO_DEVICES, "-drive", f"file={disk},format=raw,if=virtio")
    with scenario(folder, network, GUEST, version=version, devices=devices) as guests:
        before = settings(guests.source)
        with guests.receive(*CHANNEL, "--test-hold", "loading-state") as receiver, \
                guests.send(*NOW, *SLOWLY) as sender:
            receiver.wait_held()
            sender.signal(signal.SIGINT)
            wait_until(lambda: guests.source.qmp.command("query-migrate")["status"] == "failed", "the guest taken back", 10)
            receiver.release()
            assert sender.wait() == FAILED, sender.output()
            assert sender.report()["status"] == "cancelled"
            assert receiver.wait(15) == FAILED, receiver.output()
        guests.assert_runs_on_source()
        assert settings(guests.source) == before
        old = guests.destination
        with type(old)(old.machine, "destination", folder, incoming=True, netns=old.netns) as guests.destination, \
                guests.receive(*CHANNEL) as receiver, guests.send(*NOW) as sender:
            assert_moved(guests, folder, sender, receiver)


def lose_the_sender(network, sender):
    sender.kill()


def lose_a_lane(network, sender):
    ends = [ends for ends in network.connections() if agent.PORT not in ends]
    network.reset_connection(max(here for here, there in ends))


LINK_CAN_BE_CUT = pytest.mark.skipif(agent.TRANSPORT == "rdma",
                                     reason="RDMA devices live in the host's own namespace, and their link cannot be cut")


@LINK_CAN_BE_CUT
@pytest.mark.parametrize("lose", [lose_the_sender, lose_a_lane])
def test_connection_is_lost_while_qemu_goes_over(folder, network, lose):
    """QEMU 10.0 that sees its stream end in that moment never lets go of the guest again."""
    with scenario(folder, network, GUEST, version="10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*NOW, *SLOWLY) as sender:
        # QEMU sleeps as its limit demands before it goes over.
        wait_until(lambda: guests.source.qmp.status() == "paused", "the guest stopped", 20, poll_s=0.001)
        os.kill(guests.source.pid, signal.SIGSTOP)
        lose(network, sender)
        assert receiver.wait(15) != COMPLETED, receiver.output()
        os.kill(guests.source.pid, signal.SIGCONT)
        if lose == lose_a_lane:
            assert sender.wait(30) == FAILED, sender.output()
        guests.assert_runs_on_source()


# From the commit on it is the destination's.

def test_source_that_dies_after_the_commit_leaves_the_guest_to_the_destination(folder, network):
    with scenario(folder, network, GUEST, version="10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*NOW, *SLOWLY, "--test-hold", "committed") as sender:
        sender.wait_held()
        sender.kill()
        assert receiver.wait(30) == IN_DOUBT, receiver.output()
        assert guests.source.qmp.status() != "running"
        assert guests.destination.qmp.status() == "paused"


@LINK_CAN_BE_CUT
@pytest.mark.parametrize("kind", ["memfd", "private"])
@pytest.mark.parametrize("lose", [lose_the_sender, lose_a_lane])
def test_post_copy_that_is_interrupted_goes_on_through_relays(folder, network, kind, lose):
    with scenario(folder, network, GUEST, Memory(kind=kind), "10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*NOW, *SLOWLY, "--test-hold", "post-copy") as sender:
        sender.wait_held()
        sender.release()
        lose(network, sender)
        assert receiver.wait(30) == IN_DOUBT, receiver.output()
        assert "godwit relay" in receiver.output()
        if lose == lose_a_lane:
            assert sender.wait(30) == IN_DOUBT, sender.output()
            assert "godwit relay" in sender.output()
        else:
            assert {entry["resumable"] for entry in sender.status()} == {False}
        for qemu in (guests.source, guests.destination):
            wait_status(qemu, "postcopy-paused")
        assert guests.destination.qmp.status() == "running"
        with relay.relays(folder, network.name):
            guests.destination.qmp.command("migrate-recover", uri=f"unix:{folder}/in.sock")
            guests.source.qmp.command("migrate", uri=f"unix:{folder}/out.sock", resume=True)
            wait_status(guests.source, "completed")
            wait_until(lambda: guests.source.qmp.status() == "postmigrate", "the guest given away", 5)
        assert_never_two_running(guests.source, guests.destination)
        assert_memory(guests, guests.destination, folder)


def test_source_never_runs_again_when_its_qemu_fails_after_its_last_page(folder, network):
    """QEMU lets a guest that it has stopped run on then."""
    def remaining():
        return guests.source.qmp.command("query-migrate")["ram"]["remaining"]
    with scenario(folder, network, GUEST, Memory(kind="private"), "10.0") as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*NOW, *SLOWLY, "--test-hold", "post-copy") as sender:
        hold_and(sender, lambda: guests.source.qmp.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 60 * MIB}))
        # What is left then fits into the sockets and rings on the way.
        wait_until(lambda: remaining() < 5 * MIB, "the last pages", 20, poll_s=0.005)
        os.kill(guests.destination.pid, signal.SIGSTOP)
        wait_until(lambda: remaining() == 0, "the last page on its way", 20)
        receiver.kill()
        assert sender.wait(30) == IN_DOUBT, sender.output()
        wait_until(lambda: guests.source.qmp.command("query-migrate")["status"] == "failed", "QEMU's migration failed", 10)
        assert guests.source.qmp.status() == "paused"
        assert guests.source.qmp.run_changes()[-1][1] is False
