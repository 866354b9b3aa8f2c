# SPDX-License-Identifier: Apache-2.0
"""Processes die with SIGKILL in every phase before the commit; the guest runs on where it was, unharmed."""

import pytest

from harness.scenario import FAILED, hold_and, scenario
from harness.waiting import wait_until
from test_cancel import BEFORE_COMMIT

DESTINATION_BEFORE_COMMIT = ["waiting", "negotiating", "accepting-lanes", "receiving", "verifying", "loading-state",
                             "ready"]


@pytest.mark.parametrize("state", DESTINATION_BEFORE_COMMIT)
def test_destination_agent_is_killed(folder, network, state):
    with scenario(folder, network) as guests, guests.receive("--verify", "--test-hold", state) as receiver, \
         guests.send("--verify") as sender:
        receiver.wait_held()
        receiver.kill()

        guests.wait_running_on_source()
        assert sender.wait(15) == FAILED, sender.output()
        guests.assert_runs_on_source()
        assert not sender.sessions_left()
        assert guests.destination.userfault_descriptors() == 0


@pytest.mark.parametrize("state", DESTINATION_BEFORE_COMMIT)
def test_destination_qemu_is_killed(folder, network, state):
    with scenario(folder, network) as guests, guests.receive("--verify", "--test-hold", state) as receiver, \
         guests.send("--verify") as sender:
        hold_and(receiver, guests.destination.kill)

        guests.wait_running_on_source()
        assert sender.wait(15) == FAILED, sender.output()
        guests.assert_runs_on_source()
        assert receiver.wait(15) == FAILED, receiver.output()
        assert not sender.sessions_left() and not receiver.sessions_left()


@pytest.mark.parametrize("state", BEFORE_COMMIT)
def test_source_agent_is_killed(folder, network, state):
    with scenario(folder, network) as guests, guests.receive("--verify") as receiver, \
         guests.send("--verify", "--test-hold", state) as sender:
        sender.wait_held()
        sender.kill()

        guests.assert_runs_on_source()  # the guardian has resumed it
        wait_until(lambda: not guests.source.qmp.command("qom-get", path="/machine", property="suppress-vmdesc"),
                   "QEMU's streams to have all their parts again")
        assert receiver.wait(15) == FAILED, receiver.output()
        assert not receiver.sessions_left()


def test_source_qemu_is_killed(folder, network):
    with scenario(folder, network) as guests, guests.receive("--verify") as receiver, \
         guests.send("--verify", "--test-hold", "precopy") as sender:
        hold_and(sender, guests.source.kill)

        assert sender.wait(15) == FAILED, sender.output()
        assert receiver.wait(15) == FAILED, receiver.output()
        assert guests.destination.qmp.status() != "running"
