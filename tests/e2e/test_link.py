# SPDX-License-Identifier: Apache-2.0
"""The link between the hosts goes down in every phase, without a goodbye from either side."""

import pytest

from harness.boot_sector import BootSector
from harness.qemu import Memory
from harness.scenario import DETECTION_SILENT_S, FAILED, IN_DOUBT, RESUME_S, assert_never_two_running, hold_and, runs, \
    scenario
from test_cancel import BEFORE_COMMIT
from test_relay import assert_memory

# Twice: the agent may have to notice first that it waits in vain, and QEMU's answers take their time as well.
PATIENCE_S = DETECTION_SILENT_S + RESUME_S + 4


@pytest.mark.parametrize("state", BEFORE_COMMIT)
def test_link_is_cut_before_the_commit(folder, pair, state):
    with scenario(folder, None, pair=pair) as guests, guests.receive("--verify", "--insecure") as receiver, \
         guests.send("--verify", "--insecure", "--test-hold", state) as sender:
        hold_and(sender, pair.cut)

        guests.wait_running_on_source(PATIENCE_S)
        assert sender.wait(PATIENCE_S) == FAILED, sender.output()
        guests.assert_runs_on_source()
        assert not sender.sessions_left()
        if state != "connecting":  # until then the receiver has heard of nobody, and goes on waiting
            assert receiver.wait(PATIENCE_S) in (FAILED, IN_DOUBT), receiver.output()
        assert not runs(guests.destination)


def test_link_cut_between_commit_and_its_answer_leaves_the_guest_paused(folder, pair):
    with scenario(folder, None, pair=pair) as guests, guests.receive("--insecure") as receiver, \
         guests.send("--insecure", "--test-hold", "committed") as sender:
        hold_and(sender, pair.cut)

        assert sender.wait(PATIENCE_S) == IN_DOUBT, sender.output()
        assert receiver.wait(PATIENCE_S) in (IN_DOUBT, 0), receiver.output()
        assert not runs(guests.source)
        assert "docs/in-doubt.md" in sender.output()
        assert sender.sessions_left(), "the decision must outlive the agent"


@pytest.mark.parametrize("version,kind", [("7.2", "private"), ("10.0", "private"), ("10.0", "memfd")])
def test_link_is_cut_while_qemu_sends_what_is_left_of_a_guest_it_has_stopped(folder, pair, version, kind):
    """In channel mode, where QEMU answers nobody meanwhile: it waits with its lock for its stream to be read."""
    channel = ("--mode", "channel", "--insecure")
    pair.source.run("/sbin/tc", "qdisc", "add", "dev", "link0", "root", "tbf",
                    "rate", "100mbit", "burst", "128kb", "latency", "50ms")
    with scenario(folder, None, BootSector(dirty_mib=16), Memory(kind=kind), version, pair=pair) as guests, \
            guests.receive(*channel) as receiver, guests.send(*channel) as sender:
        guests.source.qmp.wait_event("STOP", 60)
        pair.cut()

        assert sender.wait(2 * PATIENCE_S) == FAILED, sender.output()
        guests.wait_running_on_source()
        assert not sender.sessions_left()
        assert_never_two_running(guests.source, guests.destination)
        assert_memory(guests, guests.source, folder)
        assert receiver.wait(2 * PATIENCE_S) == FAILED, receiver.output()


def test_short_outage_is_survived(folder, pair):
    with scenario(folder, None, pair=pair) as guests, guests.receive("--verify", "--insecure") as receiver, \
         guests.send("--verify", "--insecure", "--test-hold", "precopy") as sender:
        sender.wait_held()
        pair.cut()
        pair.mend()
        sender.release()

        assert sender.wait() == 0, sender.output()
        assert receiver.wait() == 0, receiver.output()
        guests.assert_moved()
