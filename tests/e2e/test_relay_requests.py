# SPDX-License-Identifier: Apache-2.0
"""QEMU's own post-copy through `godwit relay`, which reads the pages that the destination asks for from the source's memory.
The source's QEMU is so slow then that most of what the guest touches comes that way."""

import re

import pytest

from harness import relay
from harness.boot_sector import BootSector
from harness.qemu import Memory
from harness.scenario import scenario
from test_relay import assert_moved, begin_post_copy, wait_status


ATTEMPTS = 3


def answered_pages(there):
    found = re.search(r"; (\d+) pages asked for were read from the source", there)
    return int(found[1]) if found else 0


def assert_answered(here, there):
    assert "in post-copy those asked for from memory" in here, here
    assert answered_pages(there) > 0, there


def answering_relays(guests, folder, netns):
    """Nothing is asked of the destination's QEMU."""
    return relay.connect(folder, netns, "--once"), \
        relay.listen(folder, netns, "--once", "--qmp", guests.source.agent_socket)


def let_the_rest_come(guests):
    guests.source.qmp.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})


def move(guests, folder, netns, capabilities=(), meanwhile=lambda: None):
    """`meanwhile` is done while pages are missing. Returns what the two relays said."""
    there, here = answering_relays(guests, folder, netns)
    with there, here:
        begin_post_copy(guests, folder, capabilities)
        meanwhile()
        let_the_rest_come(guests)
        assert_moved(guests, folder)
        assert here.wait() == 0, here.output()
        assert there.wait() == 0, there.output()
        return here.output(), there.output()


@pytest.mark.parametrize("version,capabilities", [("7.2", ()), ("10.0", ()), ("10.0", ("postcopy-preempt",))],
                         ids=["7.2", "10.0", "preempt"])
def test_requested_pages_are_read_from_the_source(folder, network, version, capabilities):
    with scenario(folder, network, BootSector(dirty_mib=16), Memory(kind="memfd"), version) as guests:
        assert_answered(*move(guests, folder, network.name, capabilities))


def test_requested_huge_pages_are_read_from_the_source(folder, network, huge_pages):
    # They are few: where the guest is slow, it may miss none.
    for attempt in range(ATTEMPTS):
        place = folder / str(attempt)
        place.mkdir()
        with scenario(place, network, BootSector(dirty_mib=16, passes_per_letter=2), Memory(folder=huge_pages), "10.0") as guests:
            # A page waits for the rest of the one that is passing.
            here, there = move(guests, place, network.name, meanwhile=lambda: guests.destination.wait_serial("B"))
        if answered_pages(there) > 0:
            break
    assert_answered(here, there)


def test_recovers_through_relays_that_pass_on_everything(folder, network):
    with scenario(folder, network, BootSector(dirty_mib=4, passes_per_letter=1), Memory(kind="memfd"), "10.0") as guests:
        there, here = answering_relays(guests, folder, network.name)
        with there, here:
            begin_post_copy(guests, folder)
            # Some pages were read, and the source's QEMU does not know it.
            guests.destination.wait_serial("B")
            here.kill()
            wait_status(guests.source, "postcopy-paused")
            wait_status(guests.destination, "postcopy-paused")
            there.wait()
        relay.remove_socket(folder)
        there, here = answering_relays(guests, folder, network.name)
        with there, here:
            let_the_rest_come(guests)
            guests.destination.qmp.command("migrate-recover", uri=f"unix:{folder}/in.sock")
            guests.source.qmp.command("migrate", uri=f"unix:{folder}/out.sock", resume=True)
            assert_moved(guests, folder)
            assert here.wait() == 0, here.output()


@pytest.mark.parametrize("kind,capability,why", [("private", None, "no guest RAM is shared memory"),
                                                 ("memfd", "release-ram", "QEMU's capability release-ram is on")])
def test_requests_go_to_qemu_where_its_memory_cannot_be_read(folder, network, kind, capability, why):
    with scenario(folder, network, BootSector(dirty_mib=16), Memory(kind=kind), "10.0") as guests:
        here, there = move(guests, folder, network.name, [capability] if capability else [])
        assert "pages are taken from the stream: " in here and why in here, here
        assert answered_pages(there) == 0, there
