# SPDX-License-Identifier: Apache-2.0
"""Real libvirt migrates guests between two hosts through `godwit relay`, as KubeVirt and others do through proxies."""

import contextlib
import json
import tempfile

import pytest

from harness import relay
from harness.boot_sector import BootSector
from harness.libvirt import RELAY_FOLDER, LibvirtHost, domain
from harness.network import Pair
from harness.qemu import MIB
from harness.waiting import wait_until

GUEST = "traveller"
MEMORY_MIB = 64
MONITOR = f"{RELAY_FOLDER}/guest.qmp"  # for the relays; that of libvirt is libvirt's


class Hosts:
    """Two libvirtds with relays between them, and a guest that runs on the first. With a monitor of the guest's QEMU,
    the relays place its pages."""

    def __init__(self, folder, source, destination, stack, monitor=None):
        self.folder = folder
        self.source = source
        self.destination = destination
        # QEMU 7.2 under TCG may lose pages of a guest that writes few of them, all the time.
        self.guest = BootSector(dirty_mib=16)
        address = f"{Pair.DESTINATION_ADDRESS}:{relay.PORT}"
        path = f"{RELAY_FOLDER}/migration.sock"
        own_monitor = ["--qmp", monitor] if monitor else []
        self.relay_there = stack.enter_context(relay.Relay(
            "connect", folder, ["--unix", path, "--listen", address, "--insecure", *own_monitor], enter=destination.inside()))
        wait_until(lambda: "waits for" in self.relay_there.output(), "the relay waiting", 10)
        self.relay_here = stack.enter_context(relay.Relay(
            "listen", folder, ["--unix", path, "--to", address, "--insecure", *own_monitor], enter=source.inside()))
        wait_until(source.relay_socket.exists, "the relay's socket", 10)
        image = self.guest.write_image(folder / "floppy")
        self.serial_path = folder / "serial"
        xml = folder / "guest.xml"
        xml.write_text(domain(GUEST, image, self.serial_path, MEMORY_MIB, monitor))
        source.virsh("create", str(xml))
        for host in (source, destination):
            stack.callback(host.virsh, "destroy", GUEST, check=False)
        wait_until(lambda: "AB" in self.serial(), "the guest's first letters", 40)

    def serial(self):
        return self.serial_path.read_text(errors="replace") if self.serial_path.exists() else ""

    def assert_runs_on(self, host, other):
        assert host.state(GUEST) == "running"
        assert not other.state(GUEST)
        letters = self.serial().count("B")
        wait_until(lambda: self.serial().count("B") > letters, f"a letter from the guest on {host.name}", 20)
        assert self.serial().count("A") == 1, "the guest was started anew"
        host.virsh("suspend", GUEST)
        image = self.folder / "memory"
        host.virsh("qemu-monitor-command", GUEST, json.dumps({"execute": "pmemsave", "arguments": {
            "val": 0, "size": MEMORY_MIB * MIB, "filename": str(image)}}))
        check = self.guest.check_memory([str(image)])
        host.virsh("resume", GUEST)
        assert check["ok"], check


@pytest.fixture(scope="module")
def daemons():
    """Started once: that takes them seconds."""
    with tempfile.TemporaryDirectory(prefix="godwit-e2e-", dir="/var/tmp") as folder, Pair() as pair, \
         LibvirtHost("source", folder, pair.source.name) as source, \
         LibvirtHost("destination", folder, pair.destination.name) as destination:
        source.wait_started()
        destination.wait_started()
        yield source, destination


@pytest.fixture
def hosts(folder, daemons):
    with contextlib.ExitStack() as stack:
        yield Hosts(folder, *daemons, stack)


@pytest.fixture
def placing_hosts(folder, daemons):
    with contextlib.ExitStack() as stack:
        yield Hosts(folder, *daemons, stack, MONITOR)


def on_its_way(hosts):
    job = hosts.source.job(GUEST)
    return job.get("Job type") == "Unbounded" and float(job.get("Memory processed", "0 MiB").split()[0]) > 0


def assert_moved(hosts, migration):
    output = migration.communicate(timeout=60)[0]
    assert migration.returncode == 0, output
    hosts.assert_runs_on(hosts.destination, hosts.source)
    assert "broke" not in hosts.relay_here.output() + hosts.relay_there.output()


@pytest.mark.parametrize("options,streams", [((), 1), (("--parallel", "--parallel-connections", "2"), 3)],
                         ids=["one-stream", "parallel"])
def test_virsh_moves_a_guest(hosts, options, streams):
    assert_moved(hosts, hosts.source.migrate(GUEST, hosts.destination, *options))
    assert hosts.relay_here.output().count("ended after") == streams, hosts.relay_here.output()
    job = hosts.destination.job(GUEST, "--completed")
    assert job["Job type"] == "Completed"
    assert float(job["Memory processed"].split()[0]) > 40, job


def test_virsh_moves_a_guest_in_parallel_whose_pages_are_placed(placing_hosts):
    hosts = placing_hosts
    assert_moved(hosts, hosts.source.migrate(GUEST, hosts.destination, "--parallel", "--parallel-connections", "2"))
    assert "pages of 2 multifd channels from memory to memory" in hosts.relay_here.output()
    wait_until(lambda: hosts.relay_here.output().count("ended after") == 3, "all streams ended", 10)


def test_virsh_moves_a_guest_by_post_copy(hosts):
    # At this rate what the guest dirties does not fit the downtime: without post-copy it would not end.
    migration = hosts.source.migrate(GUEST, hosts.destination, "--postcopy", "--bandwidth", "10",
                                     "--postcopy-bandwidth", "10")
    wait_until(lambda: on_its_way(hosts), "a migration under way", 30, poll_s=0.05)
    hosts.source.virsh("migrate-postcopy", GUEST)
    wait_until(lambda: "post-copy" in hosts.destination.state(GUEST, "--reason"), "post-copy there", 20, poll_s=0.05)
    assert_moved(hosts, migration)


def test_virsh_cancels_and_a_relay_dies_and_the_guest_stays(hosts):
    hosts.source.virsh("migrate-setspeed", GUEST, "4")
    first = hosts.source.migrate(GUEST, hosts.destination)
    wait_until(lambda: on_its_way(hosts), "a migration under way", 30, poll_s=0.05)
    hosts.source.virsh("domjobabort", GUEST)
    assert first.communicate(timeout=60) and first.returncode != 0
    assert hosts.source.job(GUEST)["Job type"] == "None"
    hosts.assert_runs_on(hosts.source, hosts.destination)

    second = hosts.source.migrate(GUEST, hosts.destination)
    wait_until(lambda: on_its_way(hosts), "a migration under way", 30, poll_s=0.05)
    hosts.relay_there.kill()
    output = second.communicate(timeout=60)[0]
    assert second.returncode != 0 and "error" in output, output
    wait_until(lambda: hosts.source.job(GUEST)["Job type"] == "None", "no job", 20)
    hosts.assert_runs_on(hosts.source, hosts.destination)
