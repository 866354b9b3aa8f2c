# SPDX-License-Identifier: Apache-2.0
"""QEMU migrates by itself, into `godwit relay`: guests of private memory, with whatever QEMU can do."""

import subprocess

import pytest

from harness import paths, relay
from harness.boot_sector import BootSector
from harness.qemu import MIB, Memory
from harness.relay import relays
from harness.scenario import assert_never_two_running, scenario
from harness.waiting import wait_until

UNLIMITED = 100 * 10**9


def set_up(qemu, capabilities=(), **parameters):
    qemu.qmp.command("migrate-set-capabilities", capabilities=[
        {"capability": name, "state": True} for name in ("events", *capabilities)])
    qemu.qmp.command("migrate-set-parameters", **{"max-bandwidth": UNLIMITED, "downtime-limit": 5000, **parameters})


def begin(guests, folder):
    guests.destination.qmp.command("migrate-incoming", uri=f"unix:{folder}/in.sock")
    guests.source.qmp.command("migrate", uri=f"unix:{folder}/out.sock")


def status(qemu):
    return qemu.qmp.command("query-migrate").get("status")


def wait_status(qemu, wanted, timeout_s=60):
    def reached():
        found = status(qemu)
        assert found == wanted or found not in ("completed", "failed"), qemu.qmp.command("query-migrate")
        return found == wanted
    wait_until(reached, f"migration of {qemu.name} {wanted}", timeout_s, poll_s=0.02)


def assert_memory(guests, qemu, folder):
    """The memory of a guest that no file shows, as QEMU writes it out."""
    letters = qemu.serial().count("B")
    wait_until(lambda: qemu.serial().count("B") > letters, f"a letter from the guest in {qemu.name}", 20)
    qemu.qmp.command("stop")
    image = folder / "memory"
    qemu.qmp.command("pmemsave", val=0, size=qemu.machine.memory.size_mib * MIB, filename=str(image))
    check = guests.guest.check_memory([str(image)])
    image.unlink()
    qemu.qmp.command("cont")
    assert check["ok"], check


def begin_post_copy(guests, folder, capabilities=()):
    """Returns once the guest runs on the destination; what is missing there comes slowly."""
    for qemu in (guests.source, guests.destination):
        set_up(qemu, ["postcopy-ram", *capabilities], **{"downtime-limit": 1})
    guests.source.qmp.command("migrate-set-parameters",
                              **{"max-bandwidth": 20 * MIB, "max-postcopy-bandwidth": 4 * MIB})
    begin(guests, folder)
    wait_until(lambda: guests.source.qmp.command("query-migrate").get("ram", {}).get("transferred", 0) > 4 * MIB,
               "some memory there", 20)
    guests.source.qmp.command("migrate-start-postcopy")
    wait_status(guests.source, "postcopy-active")
    wait_until(lambda: guests.destination.qmp.status() == "running", "the guest running there", 20, poll_s=0.02)


def assert_moved(guests, folder):
    wait_status(guests.source, "completed")
    wait_until(lambda: guests.destination.qmp.status() == "running", "the guest running there", 20)
    # QEMU calls the migration completed a moment before it says so of the guest.
    wait_until(lambda: guests.source.qmp.status() == "postmigrate", "the guest given away here", 20)
    assert_never_two_running(guests.source, guests.destination)
    assert_memory(guests, guests.destination, folder)


def private_scenario(folder, network, version="7.2", dirty_mib=16):
    return scenario(folder, network, BootSector(dirty_mib=dirty_mib), Memory(kind="private"), version)


@pytest.mark.parametrize("version", ["7.2", "10.0"])
@pytest.mark.parametrize("channels", [0, 2], ids=["one-stream", "multifd"])
def test_guest_moves_through_the_relay(folder, network, version, channels):
    with private_scenario(folder, network, version) as guests, relays(folder, network.name, "--once") as (here, there):
        for qemu in (guests.source, guests.destination):
            set_up(qemu, ["multifd"] if channels else [], **({"multifd-channels": channels} if channels else {}))
        begin(guests, folder)
        assert_moved(guests, folder)
        # All streams have ended, and neither side lost anything.
        assert here.wait() == 0, here.output()
        assert there.wait() == 0, there.output()
        assert here.output().count("ended after") == 1 + channels, here.output()


def test_compressed_guest_moves_with_a_key(folder, network):
    key = folder / "key"
    with private_scenario(folder, network) as guests:
        subprocess.run([str(paths.GODWIT), "keygen", str(key)], check=True, capture_output=True)
        with relays(folder, network.name, "--once", "--psk-file", str(key)) as (here, there):
            for qemu in (guests.source, guests.destination):
                set_up(qemu, ["xbzrle", "auto-converge"])
            begin(guests, folder)
            assert_moved(guests, folder)
            assert here.wait() == 0, here.output()
            assert there.wait() == 0, there.output()
            assert "TLS 1.3" in here.output()


@pytest.mark.parametrize("version,capabilities", [("7.2", ()), ("10.0", ("postcopy-preempt",))], ids=["7.2", "preempt"])
def test_guest_moves_by_post_copy(folder, network, version, capabilities):
    with private_scenario(folder, network, version) as guests, relays(folder, network.name):
        begin_post_copy(guests, folder, capabilities)
        guests.source.qmp.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})
        assert_moved(guests, folder)


def test_post_copy_recovers_through_new_relays(folder, network):
    with private_scenario(folder, network, "10.0") as guests:
        with relays(folder, network.name) as (here, _):
            begin_post_copy(guests, folder)
            here.kill()
            wait_status(guests.source, "postcopy-paused")
            wait_status(guests.destination, "postcopy-paused")
        relay.remove_socket(folder)
        with relays(folder, network.name):
            guests.source.qmp.command("migrate-set-parameters", **{"max-postcopy-bandwidth": 0})
            guests.destination.qmp.command("migrate-recover", uri=f"unix:{folder}/in.sock")
            guests.source.qmp.command("migrate", uri=f"unix:{folder}/out.sock", resume=True)
            assert_moved(guests, folder)


def test_cancelled_and_broken_migrations_leave_the_guest_and_the_relays_alone(folder, network):
    with private_scenario(folder, network) as guests, relays(folder, network.name) as (here, there):
        set_up(guests.source, **{"max-bandwidth": 4 * MIB})
        # Nobody waits there.
        guests.source.qmp.command("migrate", uri=f"unix:{folder}/out.sock")
        wait_status(guests.source, "failed")
        assert "connect to" in here.output() and "in.sock" in here.output(), here.output()

        # Cancelled on the way.
        begin(guests, folder)
        wait_status(guests.source, "active")
        guests.source.qmp.command("migrate_cancel")
        wait_status(guests.source, "cancelled")
        assert guests.source.qmp.status() == "running"

        # The other side's relay dies on the way.
        guests.destination.kill()
        with relay_destination(guests, folder) as second:
            guests.destination = second
            begin(guests, folder)
            wait_status(guests.source, "active")
            there.kill()
            wait_status(guests.source, "failed")
            assert guests.source.qmp.status() == "running"
            assert_memory(guests, guests.source, folder)

        # And a new one takes the guest.
        with relay.connect(folder, network.name), relay_destination(guests, folder) as third:
            guests.destination = third
            set_up(guests.source)
            begin(guests, folder)
            assert_moved(guests, folder)


def relay_destination(guests, folder):
    """Another QEMU that waits for the guest, since one that failed ends."""
    old = guests.destination
    return type(old)(old.machine, "destination", folder, incoming=True, netns=old.netns)
