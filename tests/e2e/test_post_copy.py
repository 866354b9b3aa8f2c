# SPDX-License-Identifier: Apache-2.0
"""A boot-sector guest moves by post-copy: it runs on the destination before its memory is there."""

import time

import pytest

from harness.boot_sector import BootSector
from harness.qemu import MIB, Memory
from harness.scenario import COMPLETED, scenario
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
