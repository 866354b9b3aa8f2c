# SPDX-License-Identifier: Apache-2.0
"""Between two machines: the RDMA lab's pair, joined by two data links, a rail each. Links are cut while a guest moves."""

import json
import os
import pathlib
import subprocess

import pytest

from harness import agent
from harness.boot_sector import BootSector
from harness.qemu import MIB, Machine, Memory, Qemu
from harness.scenario import COMPLETED, FAILED
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(not os.path.exists("/sys/class/net/data1") or agent.TRANSPORT != "rdma",
                                reason="needs the RDMA lab's pair")

CONTROL = "b1:7471"  # goes over data link 1
DIRTY_MIB = 8
FILL_MIB = {64: 48, 256: 160}  # by the size of the guest


@pytest.fixture
def source(folder, request):
    """A guest of 64 MiB, or of as many as the test's parameter says."""
    memory_mib = getattr(request, "param", 64)
    image = BootSector(FILL_MIB[memory_mib] * MIB, DIRTY_MIB).write_image(folder / "floppy")
    machine = Machine(Memory(memory_mib), arguments=("-net", "none", "-drive", f"file={image},format=raw,if=floppy,readonly=on"))
    with Qemu(machine, "source", folder) as qemu:
        qemu.wait_serial("AB", timeout_s=60)
        yield qemu


class Destination:
    """pair_destination.py on machine b."""

    def __init__(self, *options, memory_mib=64):
        script = pathlib.Path(__file__).with_name("pair_destination.py")
        self._process = subprocess.Popen(
            ["lab-peer", "/usr/bin/python3", "-B", script, "0.0.0.0:7471", str(DIRTY_MIB), str(FILL_MIB[memory_mib]),
             str(memory_mib), "--insecure", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "listening\n"

    def end(self):
        output, _ = self._process.communicate("end\n", timeout=60)
        return json.loads(output)


def send(source, folder, *options):
    return agent.send(source, folder, to=CONTROL, extra=("--downtime-limit", "5s", "--insecure", *options))


def assert_moved(source, destination):
    found = destination.end()
    assert found["exit_code"] == COMPLETED, found["output"]
    assert found["runs"] and not found["booted"]
    assert found["memory"]["ok"], found["memory"]
    assert source.qmp.status() != "running"


def wait_for_some_pages(sender, mib=4):
    sender.wait_session()
    wait_until(lambda: (sender.status() or [{}])[0].get("progress", {}).get("bytes_sent", 0) > mib * MIB,
               f"some of the first round; {sender.output()}", 60)


def packets_sent(rail):
    return int(pathlib.Path(f"/sys/class/infiniband/{rail}/ports/1/hw_counters/sent_pkts").read_text())


def connected_queue_pairs(rail):
    answer = subprocess.run(["rdma", "resource", "show", "qp"], capture_output=True, text=True, check=True)
    return [line for line in answer.stdout.splitlines() if rail in line and "RTS" in line and "godwit" in line]


class Link:
    """What machine a sends on a data link, shaped by a queueing discipline; b's answers come as they are."""

    def __init__(self, number):
        self._device = f"data{number}"

    def shape(self, *discipline):
        subprocess.run(["tc", "qdisc", "replace", "dev", self._device, "root", *discipline], check=True)

    def limit(self, mbit):
        self.shape("tbf", "rate", f"{mbit}mbit", "burst", "64kb", "limit", "8mb")

    def lose_everything(self):
        self.shape("netem", "loss", "100%")

    def heal(self):
        subprocess.run(["tc", "qdisc", "delete", "dev", self._device, "root"], check=False, capture_output=True)


@pytest.fixture
def links():
    both = [Link(0), Link(1)]
    yield both
    for link in both:
        link.heal()


@pytest.fixture
def cut():
    """Cuts a data link until the end of the test; then its devices are made anew: rxe does not get over it."""
    numbers = []

    def down(number):
        numbers.append(number)
        subprocess.run(["lab-link", str(number), "down"], check=True)
    yield down
    for number in numbers:
        subprocess.run(["lab-link", str(number), "up"], check=True)
        for host in ([], ["lab-peer"]):
            subprocess.run([*host, "rdma", "link", "delete", f"rxe{number}"], check=True)
            subprocess.run([*host, "rdma", "link", "add", f"rxe{number}", "type", "rxe", "netdev", f"data{number}"],
                           check=True)
            wait_until(lambda host=host, number=number: "::ffff:10.77." in subprocess.run(
                [*host, "ibv_devinfo", "-v", "-d", f"rxe{number}"], capture_output=True, text=True, check=True).stdout,
                f"the address of rxe{number}", 10)


def test_a_guest_moves_to_the_other_machine(folder, source):
    destination = Destination()
    with send(source, folder, "--verify") as sender:
        assert sender.wait() == COMPLETED, sender.output()
        report = sender.report()
        assert report["transport"] == "rdma"
        assert {rail["name"].split(":")[0] for rail in report["rails"] if rail["bytes_sent"]} == {"rxe0", "rxe1"}
        assert_moved(source, destination)


def test_a_cable_is_pulled_and_the_other_rail_carries_on(folder, source, cut):
    destination = Destination()
    with send(source, folder, "--verify", "--bandwidth-limit", "60Mbit") as sender:
        wait_for_some_pages(sender)
        cut(0)
        assert sender.wait() == COMPLETED, sender.output()
        rails = {rail["name"].split(":")[0]: rail for rail in sender.report()["rails"]}
        print(rails)
        assert rails["rxe0"]["losses"] > 0
        assert rails["rxe1"]["losses"] == 0
        assert_moved(source, destination)


def test_a_rail_that_comes_back_is_used_again(folder, source, links):
    destination = Destination()
    with send(source, folder, "--verify", "--bandwidth-limit", "16Mbit") as sender:
        wait_for_some_pages(sender)
        wait_until(lambda: connected_queue_pairs("rxe0"), "a lane on rxe0", 20)
        # The port stays up: only the device's own retries tell.
        links[0].lose_everything()
        wait_until(lambda: not connected_queue_pairs("rxe0"), "the lane on rxe0 being given up", 30)
        links[0].heal()
        packets = packets_sent("rxe0")
        wait_until(lambda: connected_queue_pairs("rxe0"), "a new lane on rxe0", 20)

        assert sender.wait() == COMPLETED, sender.output()
        rails = {rail["name"].split(":")[0]: rail for rail in sender.report()["rails"]}
        print(rails, packets_sent("rxe0") - packets)
        assert rails["rxe0"]["losses"] > 0
        # Pages, not only the handshake: 2 MiB in packets of 4 KiB.
        assert packets_sent("rxe0") - packets > 512
        assert_moved(source, destination)


@pytest.mark.parametrize("source", [256], indirect=True)
def test_a_rail_that_turns_slow_holds_nothing_back(folder, source, links):
    for link in links:
        link.limit(64)
    destination = Destination(memory_mib=256)
    with send(source, folder, "--verify") as sender:
        wait_for_some_pages(sender, 40)
        links[0].limit(12)

        assert sender.wait() == COMPLETED, sender.output()
        rails = {rail["name"].split(":")[0]: rail for rail in sender.report()["rails"]}
        print(rails, sender.report()["rounds"])
        assert rails["rxe0"]["slowdowns"] > 0
        assert rails["rxe0"]["losses"] == 0
        assert rails["rxe1"]["bytes_sent"] > 1.5 * rails["rxe0"]["bytes_sent"]
        assert_moved(source, destination)


def test_the_only_rail_is_lost_and_the_guest_runs_on_here(folder, source, cut):
    destination = Destination("--transport", "rdma", "--rail", "rxe0")
    with send(source, folder, "--bandwidth-limit", "60Mbit", "--transport", "rdma", "--rail", "rxe0") as sender:
        wait_for_some_pages(sender)
        cut(0)
        assert sender.wait() == FAILED, sender.output()
        assert source.qmp.status() == "running"
        found = destination.end()
        assert found["exit_code"] == FAILED and not found["runs"], found
