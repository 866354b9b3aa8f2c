# SPDX-License-Identifier: Apache-2.0
"""Several rails: whose pages go by which, and what becomes of a guest whose rails die under it.

In the RDMA lab, with a node and an rxe device for each of two rails.
"""

import os
import pathlib
import subprocess
import time

import pytest

from harness import agent
from harness.boot_sector import BootSector
from harness.qemu import MIB, Memory
from harness.scenario import COMPLETED, FAILED, scenario
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(agent.TRANSPORT != "rdma", reason="needs the RDMA lab")

SLOW = ("--bandwidth-limit", "60Mbit")  # some seconds for the first round


@pytest.fixture
def links():
    """Takes links of the lab down; afterwards both rails are as they were, made anew: rxe does not get over it."""
    taken = []

    def take_down(number):
        taken.append(number)
        subprocess.run(["ip", "link", "set", f"data{number}", "down"], check=True)
    yield take_down
    for number in taken:
        subprocess.run(["rdma", "link", "delete", f"rxe{number}"], check=True)
        subprocess.run(["ip", "link", "set", f"data{number}", "up"], check=True)
        subprocess.run(["rdma", "link", "add", f"rxe{number}", "type", "rxe", "netdev", f"data{number}"], check=True)
        wait_until(lambda number=number: f"::ffff:10.77.{number}.1" in subprocess.run(
            ["ibv_devinfo", "-v", "-d", f"rxe{number}"], capture_output=True, text=True, check=True).stdout,
            f"the address of rxe{number}", 10)


def packets_sent(rail):
    return int(pathlib.Path(f"/sys/class/infiniband/{rail}/ports/1/hw_counters/sent_pkts").read_text())


def rails_of(report):
    return {rail["name"].split(":")[0]: rail for rail in report["rails"]}


def pages_by_node(qemu, file):
    """How many pages of a memory file QEMU has seen on each node."""
    lines = pathlib.Path(f"/proc/{qemu.pid}/numa_maps").read_text().splitlines()
    words = " ".join(line for line in lines if file in line).split()
    return [sum(int(word.split("=")[1]) for word in words if word.startswith(f"N{node}=")) for node in (0, 1)]


CROSSED = (1, 0)  # the nodes of a guest's first and second half: not those of the rails in the same order


def test_each_nodes_pages_leave_by_its_own_rail(folder, network):
    memory = Memory(128, backends=2, host_nodes=CROSSED)
    with scenario(folder, network, BootSector(fill_end=127 * MIB), memory) as guests, guests.receive() as receiver:
        before = [packets_sent(f"rxe{number}") for number in (0, 1)]
        with guests.send("--lanes", "2") as sender:
            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
        sent = [packets_sent(f"rxe{number}") - before[number] for number in (0, 1)]
        rails = rails_of(sender.report())
        print(f"packets: {sent}; {rails}")

        for node in (0, 1):
            rail = rails[f"rxe{node}"]
            assert rail["numa_node"] == node
            # A rail that is through with its own helps the other: with what that one had not begun yet.
            assert rail["bytes_sent"] > 32 * MIB and rail["helped_bytes"] < rail["bytes_sent"] / 2
            assert sent[node] >= rail["bytes_sent"] / 4096
        guests.assert_moved()


def test_channels_of_qemus_are_shared_out_among_the_rails(folder, network):
    channel = ("--mode", "channel")
    with scenario(folder, network, BootSector(fill_end=127 * MIB), Memory(128), "10.0") as guests, \
            guests.receive(*channel) as receiver:
        before = [packets_sent(f"rxe{number}") for number in (0, 1)]
        with guests.send(*channel, "--lanes", "4") as sender:
            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
        sent = [packets_sent(f"rxe{number}") - before[number] for number in (0, 1)]
        print(f"packets: {sent}")
        assert sender.report()["transport_note"] == "pages come by 4 channels of QEMU's"
        assert min(sent) > 24 * MIB // 4096
        guests.assert_moved()


def test_memory_is_where_the_destinations_qemu_wants_it(folder, network):
    memory = Memory(128, backends=2, host_nodes=CROSSED)
    guest = BootSector(fill_end=48 * MIB, dirty_mib=16)
    with scenario(folder, network, guest, memory) as guests:
        with guests.receive() as receiver, guests.send() as sender:
            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
        guests.assert_moved()

        # The agent was the first to touch it.
        pages = pages_by_node(guests.destination, "destination-ram0")
        node, other = CROSSED
        assert pages[node] >= 16 * MIB // 4096 and pages[other] == 0, pages


def lose(guests, links, numbers, *options):
    """Takes links down in the middle of the first round. Returns the report of a move that goes on."""
    with guests.receive(*options) as receiver, guests.send(*SLOW, "--verify", *options) as sender:
        sender.wait_session()
        wait_until(lambda: (sender.status() or [{}])[0].get("progress", {}).get("bytes_sent", 0) > 4 * MIB,
                   "some of the first round", 20)
        for number in numbers:
            links(number)
        assert sender.wait() == COMPLETED, sender.output()
        assert receiver.wait() == COMPLETED, receiver.output()
    return sender.report()


def test_one_rail_dies_and_the_other_carries_on(folder, network, links):
    with scenario(folder, network) as guests:
        rails = rails_of(lose(guests, links, [1], "--transport", "rdma"))

        print(rails)
        assert rails["rxe1"]["losses"] > 0 and "rxe1" in rails["rxe1"]["last_loss"]
        assert rails["rxe0"]["losses"] == 0
        assert rails["rxe0"]["bytes_sent"] > rails["rxe1"]["bytes_sent"]
        guests.assert_moved()


def test_all_rails_die_and_tcp_takes_over(folder, network, links):
    with scenario(folder, network) as guests:
        report = lose(guests, links, [0, 1], "--transport", "auto")

        print(report["rails"], report["transport_note"])
        assert rails_of(report)["tcp"]["bytes_sent"] > 0
        assert "rxe0" in report["transport_note"]
        guests.assert_moved()


def test_without_any_way_left_the_guest_runs_on_here(folder, network, links):
    with scenario(folder, network) as guests, guests.receive("--transport", "rdma") as receiver, \
         guests.send(*SLOW, "--transport", "rdma") as sender:
        sender.wait_session()
        time.sleep(1)
        for number in (0, 1):
            links(number)

        assert sender.wait() == FAILED, sender.output()
        assert receiver.wait() == FAILED, receiver.output()
        assert "no way to the destination is left" in sender.output()
        guests.assert_runs_on_source()


def test_too_little_memory_may_be_pinned(folder, network):
    unprivileged = ("setpriv", "--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock", "prlimit", "--memlock=1048576")
    with scenario(folder, network) as guests:
        with guests.receive("--transport", "rdma", wrapper=unprivileged) as receiver, \
             guests.send("--transport", "rdma") as sender:
            assert receiver.wait() == 4, receiver.output()
            assert sender.wait() == 4, sender.output()
            assert "ulimit -l" in receiver.output() and "64 MiB" in receiver.output()
            guests.assert_runs_on_source()

        with guests.receive("--transport", "auto", wrapper=unprivileged) as receiver, \
             guests.send("--transport", "auto") as sender:
            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
            assert sender.report()["transport"] == "tcp"
            guests.assert_moved()


def test_processes_leave_no_pinned_memory(folder, network):
    def regions():
        answer = subprocess.run(["rdma", "resource", "show", "mr"], capture_output=True, text=True, check=True)
        return [line for line in answer.stdout.splitlines() if "godwit" in line]
    with scenario(folder, network) as guests:
        with guests.receive() as receiver, guests.send("--test-hold", "precopy") as sender:
            sender.wait_held()
            assert regions()
            sender.release()
            assert sender.wait() == COMPLETED and receiver.wait() == COMPLETED
        assert not regions()
        assert os.path.exists("/sys/class/infiniband/rxe0")
