# SPDX-License-Identifier: Apache-2.0
"""A boot-sector guest moves by post-copy: it runs on the destination before its memory is there."""

import contextlib
import os
import signal
import sys
import time

import pytest

from harness import agent, paths
from harness.boot_sector import BootSector
from harness.qemu import MIB, Machine, Memory, Qemu
from harness.scenario import COMPLETED, FAILED, IN_DOUBT, REFUSED, held_receiver, hold_and, release, runs, scenario, \
    wait_in_post_copy
from harness.waiting import wait_until

# Slow enough that the guest runs for a while with pages missing.
SLOW = ("--bandwidth-limit", "200Mbit")


def move(guests, *extra):
    """Moves the guest, checks everything about it, and returns the reports of both sides."""
    with guests.receive() as receiver, guests.send(*extra) as sender:
        assert sender.wait() == COMPLETED, sender.output() + receiver.output()
        assert receiver.wait() == COMPLETED, receiver.output()
        guests.assert_moved()
        assert not sender.sessions_left() and not receiver.sessions_left()
        return sender.report(), receiver.report()


@pytest.mark.parametrize("version,kind", [("7.2", "file"), ("7.2", "memfd"), ("10.0", "file")])
@pytest.mark.parametrize("dirty_mib", [0, 16], ids=["idle", "dirtying"])
def test_guest_moves_at_once(folder, network, version, kind, dirty_mib):
    with scenario(folder, network, BootSector(dirty_mib=dirty_mib), Memory(kind=kind), version) as guests:
        source, destination = move(guests, "--post-copy", "now")

        assert source["post_copy"]["missing_bytes"] >= 47 * MIB
        fetched = destination["post_copy"]
        assert fetched["fault_bytes"] + fetched["background_bytes"] >= 47 * MIB
        assert fetched["faults"] > 0
        assert 0 < fetched["fault_latency_us"]["p50"] <= fetched["fault_latency_us"]["max"]


def test_guest_that_outruns_the_link_moves_all_the_same(folder, network):
    guest = BootSector(fill_end=128 * MIB, dirty_mib=100)
    with scenario(folder, network, guest, Memory(256)) as guests:
        source, _ = move(guests, "--post-copy", "auto", "--downtime-limit", "10ms", "--bandwidth-limit", "400Mbit")

        sent = source["bytes_sent"] + source["post_copy"]["missing_bytes"]
        assert source["post_copy"]["missing_bytes"] > 10 * MIB
        assert sent <= 1.3 * 256 * MIB
        assert source["post_copy"]["predicted_total_ms"] > 0


def test_post_copy_is_not_used_where_pre_copy_ends_by_itself(folder, network):
    with scenario(folder, network, BootSector()) as guests:
        source, destination = move(guests, "--post-copy", "auto")

        assert source["post_copy"] is None and destination["post_copy"] is None


@pytest.mark.parametrize("version", ["7.2", "10.0"])
@pytest.mark.parametrize("victim", ["source", "destination", "both"])
def test_killed_agents_are_replaced(folder, network, version, victim):
    guest = BootSector(fill_end=128 * MIB, dirty_mib=64)
    with scenario(folder, network, guest, Memory(256), version) as guests, \
         guests.receive() as receiver, guests.send("--post-copy", "now", *SLOW) as sender:
        session = wait_in_post_copy(sender)
        agents = [sender, receiver]
        for i, dead in enumerate(agents):
            if victim in (dead.role_folder, "both"):
                dead.kill()
        time.sleep(0.5)
        for i, dead in enumerate(agents):
            if not dead.alive():
                assert [entry["resumable"] for entry in dead.status() if entry["role"] == dead.role_folder] == [True]
                agents[i] = agent.resume(dead, session)
        with agents[0] as sender, agents[1] as receiver:
            assert receiver.wait() == COMPLETED, receiver.output()
            assert sender.wait() == COMPLETED, sender.output()
            guests.assert_moved()
            assert not sender.sessions_left() and not receiver.sessions_left()


def test_guest_that_was_paused_stays_paused_when_the_agent_is_replaced(folder, network):
    with slow_move(folder, network) as (guests, sender, receiver):
        session = sender.wait_session()
        guests.destination.qmp.command("stop")
        receiver.kill()
        with agent.resume(receiver, session) as receiver:
            assert receiver.wait(90) == COMPLETED, receiver.output()
            assert sender.wait(90) == COMPLETED, sender.output()
            assert guests.destination.qmp.status() == "paused"
            guests.destination.qmp.command("cont")
            guests.assert_moved()


def test_source_qemu_is_killed(folder, network):
    with slow_move(folder, network) as (guests, sender, receiver):
        guests.source.kill()

        assert_completed(guests, sender, receiver, source_gone=True)


@pytest.mark.parametrize("resumed", [False, True])
def test_destination_qemu_is_killed(folder, network, resumed):
    """The guest is lost. Nobody goes on without it."""
    with slow_move(folder, network) as (guests, sender, receiver):
        session = sender.wait_session()
        if resumed:
            receiver.kill()
        with agent.resume(receiver, session) if resumed else contextlib.nullcontext(receiver) as receiver:
            if resumed:
                left = remaining_bytes(sender)
                wait_until(lambda: remaining_bytes(sender) < left, "pages coming again", 20)
            guests.destination.kill()
            for end in (receiver, sender):
                assert end.wait(20) == IN_DOUBT, end.output()
                assert "the VMM is gone, and its guest with it" in end.output()


@pytest.mark.parametrize("outage_s", [2, 15])
def test_link_that_is_cut_comes_back(folder, pair, outage_s):
    with slow_move(folder, None, "--insecure", pair=pair) as (guests, sender, receiver):
        pair.cut()
        time.sleep(outage_s)
        pair.mend()

        assert_completed(guests, sender, receiver)


def test_lanes_that_are_cut_are_replaced(folder, pair):
    with slow_move(folder, None, "--insecure", pair=pair) as (guests, sender, receiver):
        def lanes():
            return [local for local, remote in pair.source.connections() if remote != agent.PORT]

        def cut(lane):
            left = remaining_bytes(receiver)
            pair.source.reset_connection(lane)
            wait_until(lambda: remaining_bytes(receiver) < left, "pages coming again", 5)

        descriptors = len(os.listdir(f"/proc/{receiver.pid}/fd"))
        assert len(lanes()) >= 2, "one for faults, one for the rest"
        for lane in lanes():
            cut(lane)
        cut(lanes()[0])
        # A lane has five. The last one may not have ended yet.
        assert len(os.listdir(f"/proc/{receiver.pid}/fd")) < descriptors + 10

        assert_completed(guests, sender, receiver)
        assert sender.report()["post_copy"]["reconnects"] == 0


@pytest.mark.parametrize("lost", ["source", "destination"])
def test_agent_whose_peer_does_not_come_back_says_what_to_do(folder, network, lost):
    with slow_move(folder, network, "--reconnect-for", "2s") as (guests, sender, receiver):
        session = sender.wait_session()
        dead, left = (sender, receiver) if lost == "source" else (receiver, sender)
        dead.kill()
        assert left.wait(20) == IN_DOUBT, left.output()
        assert f"godwit resume {session}" in left.output()
        with agent.resume(receiver, session) as receiver, agent.resume(sender, session) as sender:
            assert_completed(guests, sender, receiver)


def test_destination_killed_when_it_has_everything_is_resumed(folder, network):
    """It has given its userfaultfd up by then, and waits for the source to say that it knows."""
    with slow_move(folder, network, "--reconnect-for", "10s", sender_extra=("--test-hold", "completed")) as moving:
        guests, sender, receiver = moving
        session = sender.wait_session()
        sender.wait_held(40)
        wait_until(lambda: guests.destination.userfault_descriptors() == 0, "the destination's memory complete")
        receiver.kill()
        with agent.resume(receiver, session) as receiver:
            wait_until(lambda: [entry for entry in receiver.status() if entry["role"] == "destination"
                                and entry["agent"] == "running"], "the destination's agent at work")
            sender.release()
            assert_completed(guests, sender, receiver)


def test_source_killed_when_the_destination_has_everything_is_resumed(folder, network):
    with slow_move(folder, network, sender_extra=("--test-hold", "completed")) as (guests, sender, receiver):
        session = sender.wait_session()
        sender.wait_held(40)
        sender.kill()
        with agent.resume(sender, session) as sender:
            sender.wait_held()  # it has its predecessor's options
            sender.release()
            assert_completed(guests, sender, receiver)


def test_source_killed_when_the_destination_has_ended_does_not_wait_for_ever(folder, network):
    with slow_move(folder, network, sender_extra=("--test-hold", "completed")) as (guests, sender, receiver):
        session = sender.wait_session()
        sender.wait_held(40)
        receiver.kill()
        sender.kill()
        with agent.resume(sender, session) as sender:
            assert sender.wait(20) == COMPLETED, sender.output()
        with agent.resume(receiver, session) as receiver:
            receiver.signal(signal.SIGINT)
            receiver.wait()
        guests.assert_moved()


def die_untold(sender, receiver):
    """The source dies a moment before it hears that all is there, and the destination ends without it."""
    session = sender.wait_session()
    sender.wait_held(40)
    sender.kill()
    # It has heard, to tell the truth.
    state = sender.runtime_folder / session / "source" / "state"
    state.write_text(state.read_text().replace("state=completed", "state=post-copy"))
    assert receiver.wait(30) == COMPLETED, receiver.output()
    return session


def test_source_that_comes_back_when_the_destination_has_ended_is_told(folder, network):
    with slow_move(folder, network, sender_extra=("--test-hold", "completed")) as (guests, sender, receiver):
        session = die_untold(sender, receiver)
        assert receiver.report()["post_copy"]["source_waits"]
        assert f"godwit resume {session}" in receiver.output()
        with agent.resume(sender, session) as sender, agent.resume(receiver, session) as receiver:
            sender.wait_held()
            sender.release()
            assert_completed(guests, sender, receiver)


def test_source_that_comes_back_to_a_receiver_of_another_guest_is_told(folder, network):
    with slow_move(folder, network, sender_extra=("--test-hold", "completed")) as (guests, sender, receiver):
        session = die_untold(sender, receiver)
        third = Qemu(guests.destination.machine, "third", folder, incoming=True, netns=network.name)
        with third, agent.receive(third, folder, listen=guests.address, netns=network.name) as other, \
             agent.resume(sender, session) as sender:
            sender.wait_held()
            sender.release()
            assert sender.wait() == COMPLETED, sender.output()
            wait_until(lambda: not receiver.sessions_left(), "the session forgotten", 10)
            assert other.alive(), other.output()
        guests.assert_moved()


def test_guest_on_huge_pages_moves(folder, network, huge_pages):
    memory = Memory(64, folder=huge_pages)
    with scenario(folder, network, BootSector(dirty_mib=16), memory) as guests:
        _, destination = move(guests, "--post-copy", "now")

        assert destination["post_copy"]["faults"] > 0


@pytest.mark.parametrize("kind", ["file", "memfd"])
def test_guest_with_two_nodes_moves(folder, network, kind):
    guest = BootSector(fill_end=96 * MIB, dirty_mib=80)
    with scenario(folder, network, guest, Memory(128, kind, backends=2)) as guests:
        move(guests, "--post-copy", "now")


def test_status_shows_faults(folder, network):
    with slow_move(folder, network) as (guests, sender, receiver):
        def progress():
            return [entry["progress"] for entry in sender.status() if entry["progress"]["faults"] > 0]
        assert len(wait_until(lambda: len(progress()) == 2 and progress(), "faults on both sides", 10)) == 2
        for side in progress():
            assert side["phase"] == "post-copy"
            assert 0 < side["fault_latency_us"]["p50"] <= side["fault_latency_us"]["p99"]
        assert "page faults" in sender.godwit("status").stdout

        assert_completed(guests, sender, receiver)


def without_right(guests, folder):
    """A destination QEMU that may not make a userfaultfd, in whichever way."""
    machine = Machine(guests.source.machine.memory, arguments=guests.source.machine.arguments)
    wrapper = (sys.executable, str(paths.REPOSITORY / "tests/e2e/harness/without_userfaultfd.py"))
    return Qemu(machine, "without-right", folder, incoming=True, netns=guests.source.netns, wrapper=wrapper)


NO_RIGHT = "may not make a userfaultfd"


def test_destination_without_the_right_to_a_userfaultfd_is_refused(folder, network):
    with scenario(folder, network) as guests, without_right(guests, folder) as guests.destination, \
         guests.receive() as receiver, guests.send("--post-copy", "now") as sender:
        assert sender.wait() == REFUSED, sender.output()
        assert NO_RIGHT in sender.output()
        receiver.wait(15)
        guests.assert_runs_on_source()


def test_pre_copy_goes_on_where_the_destination_has_no_right_to_a_userfaultfd(folder, network):
    guest = BootSector(dirty_mib=40)
    with scenario(folder, network, guest) as guests, without_right(guests, folder) as guests.destination, \
         guests.receive() as receiver, \
         guests.send("--post-copy", "auto", "--downtime-limit", "100ms", "--bandwidth-limit", "400Mbit") as sender:
        assert sender.wait() == FAILED, "only post-copy could have moved this guest"
        assert "faster than it can be moved" in sender.output()
        assert receiver.wait(15) == FAILED, receiver.output()
        report = sender.report()
        assert report["post_copy"] is None
        assert NO_RIGHT in report["post_copy_note"]
        guests.assert_runs_on_source()


BEFORE_COMMIT = ["precopy", "pausing", "saving-state", "awaiting-ready"]


@pytest.mark.parametrize("state", BEFORE_COMMIT)
def test_cancel_before_the_commit_leaves_the_guest_on_the_source(folder, network, state):
    with scenario(folder, network) as guests, guests.receive(*held_receiver(state)) as receiver, \
         guests.send("--post-copy", "now", "--test-hold", state) as sender:
        hold_and(sender, lambda: sender.signal(signal.SIGINT))

        assert sender.wait() == FAILED, sender.output()
        assert sender.report()["status"] == "cancelled"
        release(receiver, state)
        assert_stayed(guests, sender, receiver)


@pytest.mark.parametrize("state", BEFORE_COMMIT)
def test_guest_runs_on_when_the_source_agent_is_killed_before_the_commit(folder, network, state):
    with scenario(folder, network) as guests, guests.receive() as receiver, \
         guests.send("--post-copy", "now", "--test-hold", state) as sender:
        sender.wait_held()
        sender.kill()

        assert_stayed(guests, sender, receiver)


@pytest.mark.parametrize("state", ["receiving", "loading-state", "ready"])
def test_guest_runs_on_when_the_destination_agent_is_killed_before_the_commit(folder, network, state):
    with scenario(folder, network) as guests, guests.receive("--test-hold", state) as receiver, \
         guests.send("--post-copy", "now") as sender:
        receiver.wait_held()
        receiver.kill()

        guests.wait_running_on_source()
        assert sender.wait(15) == FAILED, sender.output()
        guests.assert_runs_on_source()


@contextlib.contextmanager
def slow_move(folder, network, *extra, sender_extra=(), pair=None):
    """A guest in post-copy that takes some seconds to end."""
    guest = BootSector(fill_end=128 * MIB, dirty_mib=64)
    with scenario(folder, network, guest, Memory(160), pair=pair) as guests, guests.receive(*extra) as receiver, \
         guests.send("--post-copy", "now", *SLOW, *extra, *sender_extra) as sender:
        wait_in_post_copy(sender)
        yield guests, sender, receiver


def assert_completed(guests, sender, receiver, source_gone=False):
    assert receiver.wait(90) == COMPLETED, receiver.output()
    assert sender.wait(90) == COMPLETED, sender.output()
    guests.assert_moved(source_gone)
    assert not sender.sessions_left() and not receiver.sessions_left()


def assert_stayed(guests, sender, receiver):
    """The guest is the source's, and nothing of the attempt is left."""
    guests.assert_runs_on_source()
    assert receiver.wait(15) == FAILED, receiver.output()
    assert not runs(guests.destination)
    assert not sender.sessions_left() and not receiver.sessions_left()
    assert guests.destination.userfault_descriptors() == 0


def remaining_bytes(receiver):
    return [entry["progress"]["bytes_remaining"] for entry in receiver.status() if entry["role"] == "destination"][0]


@pytest.mark.parametrize("version", ["7.2", "10.0"])
@pytest.mark.parametrize("victims", ["destination", "both"])
def test_destination_killed_before_it_heard_of_the_commit(folder, network, version, victims):
    """The source has decided, and nobody knows yet: whoever comes in the place of the dead finds out."""
    with scenario(folder, network, BootSector(), Memory(), version) as guests, \
         guests.receive() as receiver, guests.send("--post-copy", "now", "--test-hold", "committed") as sender:
        sender.wait_held()
        session = sender.wait_session()
        receiver.kill()
        if victims == "both":
            sender.kill()
        else:
            sender.release()
        replacements = [agent.resume(dead, session) for dead in (sender, receiver) if not dead.alive()]
        with contextlib.ExitStack() as stack:
            for replacement in replacements:
                stack.enter_context(replacement)
            for one in [*replacements, *([sender] if sender.alive() else [])]:
                assert one.wait() == COMPLETED, one.output()
            guests.assert_moved()
            assert not sender.sessions_left() and not receiver.sessions_left()
