# SPDX-License-Identifier: Apache-2.0
"""QEMU migrates by itself, into `godwit relay`, which puts the pages of guest memory where they belong."""

import contextlib
import dataclasses
import re

import pytest

from harness import relay
from harness.boot_sector import BootSector
from harness.qemu import Memory, Qemu
from harness.scenario import scenario
from harness.waiting import wait_until
from test_relay import assert_memory, assert_moved, begin, set_up, wait_status

SHARED = {"memfd": Memory(kind="memfd"), "file": Memory()}


@contextlib.contextmanager
def placing_relays(guests, folder, netns, from_memory):
    """The destination's relay reaches guest memory, the source's too if `from_memory`."""
    there = ["--once", "--qmp", guests.destination.agent_socket]
    here = ["--once", *(["--qmp", guests.source.agent_socket] if from_memory else [])]
    with relay.connect(folder, netns, *there) as receiver, relay.listen(folder, netns, *here) as sender:
        yield sender, receiver


def placed_mib(sender):
    found = re.search(r"; ([0-9.]+) MiB of pages placed", sender.output())
    assert found, sender.output()
    return float(found[1])


def assert_both_ended_well(sender, receiver):
    assert sender.wait() == 0, sender.output()
    assert receiver.wait() == 0, receiver.output()


@pytest.mark.parametrize("version", ["7.2", "10.0"])
@pytest.mark.parametrize("from_memory", [False, True], ids=["from-stream", "from-memory"])
@pytest.mark.parametrize("kind", ["memfd", "file"])
def test_pages_go_past_the_stream(folder, network, version, kind, from_memory):
    with scenario(folder, network, BootSector(dirty_mib=16), SHARED[kind], version) as guests, \
            placing_relays(guests, folder, network.name, from_memory) as (here, there):
        for qemu in (guests.source, guests.destination):
            set_up(qemu)
        begin(guests, folder)
        assert_moved(guests, folder)
        assert_both_ended_well(here, there)
        assert ("from memory to memory" if from_memory else "pages into memory") in here.output(), here.output()
        assert placed_mib(here) > 16, here.output()


def test_pages_of_private_memory_go_into_shared_memory(folder, network):
    with scenario(folder, network, BootSector(dirty_mib=16), Memory(kind="private")) as guests:
        old = guests.destination
        old.kill()
        machine = dataclasses.replace(old.machine, memory=Memory(kind="memfd"))
        with Qemu(machine, "destination", folder, incoming=True, netns=old.netns) as guests.destination, \
                placing_relays(guests, folder, network.name, True) as (here, there):
            for qemu in (guests.source, guests.destination):
                set_up(qemu)
            begin(guests, folder)
            assert_moved(guests, folder)
            assert_both_ended_well(here, there)
        assert "no guest RAM is shared memory" in here.output()
        assert placed_mib(here) > 16, here.output()


def test_compressed_pages_end_the_placing(folder, network):
    with scenario(folder, network, BootSector(dirty_mib=16), SHARED["memfd"], "10.0") as guests, \
            placing_relays(guests, folder, network.name, True) as (here, there):
        # Slow enough that rounds after the first, which have the differences, are not the last.
        set_up(guests.source, ["xbzrle"], **{"max-bandwidth": 200 * 10**6, "downtime-limit": 1})
        set_up(guests.destination, ["xbzrle"])
        begin(guests, folder)
        wait_until(lambda: guests.source.qmp.command("query-migrate").get("xbzrle-cache", {}).get("pages", 0) > 0,
                   "differences", 20)
        guests.source.qmp.command("migrate-set-parameters", **{"downtime-limit": 60000})
        assert_moved(guests, folder)
        assert_both_ended_well(here, there)
        assert "QEMU's capability xbzrle is on" in here.output()
        assert "then not (XBZRLE is on)" in here.output()


def test_guest_is_right_after_a_cancelled_attempt(folder, network):
    """Pages of the attempt lie in the memory of the destination that takes the guest at last."""
    with scenario(folder, network, BootSector(dirty_mib=16), SHARED["file"]) as guests:
        with placing_relays(guests, folder, network.name, True):
            set_up(guests.source, **{"max-bandwidth": 4 * 2**20})
            begin(guests, folder)
            wait_status(guests.source, "active")
            guests.source.qmp.command("migrate_cancel")
            wait_status(guests.source, "cancelled")
            assert guests.source.qmp.status() == "running"
        assert_memory(guests, guests.source, folder)


@contextlib.contextmanager
def two_guests(folder, network):
    """Guests a and b, each in a folder of its own, and a relay that takes each to its own QEMU."""
    with contextlib.ExitStack() as stack:
        guests = {}
        for name in ("a", "b"):
            (folder / name).mkdir()
            guests[name] = stack.enter_context(
                scenario(folder / name, network, BootSector(dirty_mib=16), SHARED["memfd"]))
            for qemu in (guests[name].source, guests[name].destination):
                set_up(qemu)
        yield guests


def connect_for_all(folder, netns, *extra):
    return relay.connect(folder, netns, "--unix", str(folder / "{guest}" / "in.sock"),
                         "--qmp", str(folder / "{guest}" / "destination.agent.qmp"), *extra)


def test_one_relay_takes_several_guests_at_once(folder, network):
    with two_guests(folder, network) as guests, connect_for_all(folder, network.name) as there, \
            relay.listen(folder / "a", network.name, "--once", "--guest", "a") as a, \
            relay.listen(folder / "b", network.name, "--once", "--guest", "b") as b:
        for name in ("a", "b"):
            begin(guests[name], folder / name)
        for name in ("a", "b"):
            assert_moved(guests[name], folder / name)
        for here in (a, b):
            assert here.wait() == 0, here.output()
            assert placed_mib(here) > 16
        assert there.output().count("ended after") == 2, there.output()


def test_limit_of_guests_leaves_others_where_they_are(folder, network):
    with two_guests(folder, network) as guests, connect_for_all(folder, network.name, "--limit", "1"), \
            relay.listen(folder / "a", network.name, "--once", "--guest", "a"), \
            relay.listen(folder / "b", network.name, "--guest", "b") as b:
        guests["a"].source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 4 * 2**20})
        begin(guests["a"], folder / "a")
        wait_status(guests["a"].source, "active")
        begin(guests["b"], folder / "b")
        wait_status(guests["b"].source, "failed")
        assert "1 migrations come in already" in b.output()
        assert guests["b"].source.qmp.status() == "running"

        guests["a"].source.qmp.command("migrate-set-parameters", **{"max-bandwidth": 10**11})
        assert_moved(guests["a"], folder / "a")
        guests["b"].source.qmp.command("migrate", uri=f"unix:{folder / 'b'}/out.sock")
        assert_moved(guests["b"], folder / "b")


def test_guest_without_a_name_is_refused(folder, network):
    with scenario(folder, network, BootSector(dirty_mib=16)) as guests, connect_for_all(folder, network.name), \
            relay.listen(folder, network.name) as here:
        guests.source.qmp.command("migrate", uri=f"unix:{folder}/out.sock")
        wait_status(guests.source, "failed")
        assert "--guest NAME" in here.output()
        assert guests.source.qmp.status() == "running"
