# SPDX-License-Identifier: Apache-2.0
"""The operator changes their mind, in every state of the source's state machine."""

import re
import signal

import pytest

from harness import paths
from harness.scenario import COMPLETED, FAILED, held_receiver, hold_and, release, scenario

BEFORE_COMMIT = ["connecting", "negotiating", "connecting-lanes", "arming", "precopy", "pausing", "final-memory",
                 "saving-state", "verifying", "awaiting-ready"]
AFTER_COMMIT = ["committed", "completed"]
IN_POST_COPY = ["post-copy", "reconnecting"]  # test_post_copy.py
ENDS = ["failed", "in-doubt"]


def test_every_state_of_the_source_is_here():
    header = (paths.REPOSITORY / "engine/migration/states.h").read_text()
    body = re.search(r"enum class SourceState[^{]*{(.*?)};", header, re.S)[1]
    names = re.findall(r"^\s*k(\w+)", body, re.M)
    states = [re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower() for name in names if name != "End"]
    assert sorted(states) == sorted(BEFORE_COMMIT + AFTER_COMMIT + IN_POST_COPY + ENDS)


@pytest.mark.parametrize("state", BEFORE_COMMIT)
def test_cancel_before_the_commit_leaves_the_guest_on_the_source(folder, network, state):
    with scenario(folder, network) as guests, guests.receive("--verify", *held_receiver(state)) as receiver, \
         guests.send("--verify", "--test-hold", state) as sender:
        hold_and(sender, lambda: sender.signal(signal.SIGINT))

        assert sender.wait() == FAILED, sender.output()
        guests.assert_runs_on_source()
        release(receiver, state)
        assert receiver.wait(15) == FAILED, receiver.output()
        assert sender.report()["status"] == "cancelled"
        assert not sender.sessions_left() and not receiver.sessions_left()


@pytest.mark.parametrize("state", AFTER_COMMIT)
def test_cancel_after_the_commit_comes_too_late(folder, network, state):
    with scenario(folder, network) as guests, guests.receive("--verify") as receiver, \
         guests.send("--verify", "--test-hold", state) as sender:
        hold_and(sender, lambda: sender.signal(signal.SIGINT))

        assert sender.wait() == COMPLETED, sender.output()
        assert receiver.wait() == COMPLETED, receiver.output()
        guests.assert_moved()


def test_cancel_of_the_receiver_leaves_the_guest_on_the_source(folder, network):
    with scenario(folder, network) as guests, guests.receive("--test-hold", "receiving") as receiver, \
         guests.send() as sender:
        hold_and(receiver, lambda: receiver.signal(signal.SIGINT))

        assert receiver.wait() == FAILED, receiver.output()
        assert sender.wait() == FAILED, sender.output()
        guests.assert_runs_on_source()


def test_cancel_command_ends_a_session_by_name(folder, network):
    with scenario(folder, network) as guests, guests.receive() as receiver, \
         guests.send("--bandwidth-limit", "10Mbit") as sender:
        session = sender.wait_session()
        assert session in [entry["session"] for entry in sender.status()]

        result = sender.godwit("cancel", session)

        assert result.returncode == 0, result.stdout + result.stderr
        assert sender.wait() == FAILED, sender.output()
        assert receiver.wait() == FAILED, receiver.output()
        guests.assert_runs_on_source()
        assert sender.status() == []


def test_cancelled_guest_can_still_be_moved(folder, network):
    with scenario(folder, network) as guests:
        with guests.receive() as receiver, guests.send("--test-hold", "precopy") as sender:
            hold_and(sender, lambda: sender.signal(signal.SIGINT))
            assert sender.wait() == FAILED
            receiver.wait()
        guests.assert_runs_on_source()
        assert guests.destination.alive(), "the destination's QEMU was told to quit"

        with guests.receive("--verify") as receiver, guests.send("--verify") as sender:
            assert sender.wait() == COMPLETED, sender.output()
            receiver.wait()
            guests.assert_moved()
