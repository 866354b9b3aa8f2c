# SPDX-License-Identifier: Apache-2.0
"""A boot-sector guest moves by post-copy: it runs on the destination before its memory is there."""

import time

import pytest

from harness import agent
from harness.boot_sector import BootSector
from harness.qemu import MIB, Memory
from harness.scenario import COMPLETED, scenario, wait_in_post_copy

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
                agents[i] = agent.resume(dead, session)
        with agents[0] as sender, agents[1] as receiver:
            assert receiver.wait() == COMPLETED, receiver.output()
            assert sender.wait() == COMPLETED, sender.output()
            guests.assert_moved()
            assert not sender.sessions_left() and not receiver.sessions_left()
