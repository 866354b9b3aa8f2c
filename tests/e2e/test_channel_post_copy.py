# SPDX-License-Identifier: Apache-2.0
"""Post-copy in channel mode: QEMU's own, driven by the agents, which hand the guest over in the middle of its stream."""

import signal

import pytest

from harness import agent, relay
from harness.boot_sector import BootSector
from harness.qemu import MIB, Memory
from harness.scenario import COMPLETED, FAILED, IN_DOUBT, assert_never_two_running, hold_and, runs, scenario
from harness.waiting import wait_until
from test_channel import CHANNEL, capability
from test_relay import assert_memory, wait_status

NOW = (*CHANNEL, "--post-copy", "now")
AUTO = (*CHANNEL, "--post-copy", "auto")
GUEST = BootSector(dirty_mib=16)
# So that the guest has to ask for what it touches, and its QEMU does not find the rest little enough to stop for.
SLOWLY = ("--bandwidth-limit", "160Mbit", "--downtime-limit", "1ms")
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


@pytest.mark.parametrize("version,kind", [("7.2", "memfd"), ("7.2", "private"), ("10.0", "file"), ("10.0", "private")])
def test_guest_moves(folder, network, version, kind):
    with scenario(folder, network, GUEST, Memory(kind=kind), version) as guests, guests.receive(*CHANNEL) as receiver, \
            guests.send(*NOW, *SLOWLY) as sender:
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
