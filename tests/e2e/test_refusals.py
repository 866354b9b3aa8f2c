# SPDX-License-Identifier: Apache-2.0
"""What cannot or must not be done is refused before anything is touched, and says what to change."""

import os
import subprocess

import pytest

from harness.agent import Agent
from harness.qemu import MIB, Machine, Memory, Qemu
from harness.scenario import COMPLETED, FAILED, REFUSED, USAGE, hold_and, scenario

MOUNT = "/var/tmp/godwit-small-tmpfs"


def refused(guests, words, *send_extra, receiver_ends=True):
    """One attempt that must end with exit code 4 on the source, the guest untouched, and these words said."""
    with guests.receive() as receiver, guests.send(*send_extra) as sender:
        assert sender.wait() == REFUSED, sender.output()
        if receiver_ends:
            receiver.wait(15)
        for word in words:
            assert word in sender.output()
    assert not guests.source.qmp.run_changes(), "the guest was stopped"
    guests.assert_runs_on_source()


@pytest.mark.parametrize("memory", [Memory(128), Memory(64, backends=2)], ids=["other size", "other blocks"])
def test_destination_with_other_memory_is_refused(folder, network, memory):
    with scenario(folder, network) as guests:
        machine = Machine(memory, arguments=guests.source.machine.arguments)
        with Qemu(machine, "other", folder, incoming=True, netns=network.name) as other:
            guests.destination = other
            each_mib = memory.size_mib // memory.backends
            refused(guests, ["'ram0'", str(64 * MIB), str(each_mib * MIB)])


def test_destination_with_another_machine_type_is_refused(folder, network):
    with scenario(folder, network) as guests:
        machine = Machine(Memory(), type="q35", arguments=guests.source.machine.arguments)
        with Qemu(machine, "other", folder, incoming=True, netns=network.name) as other:
            guests.destination = other
            refused(guests, ["machine"])


def test_private_memory_is_refused_with_what_to_change(folder, network):
    with scenario(folder, network, memory=Memory(kind="private")) as guests, \
         guests.send(to="127.0.0.1:7471") as sender:
        assert sender.wait() == REFUSED, sender.output()
        assert "share=on" in sender.output()
        assert not guests.source.qmp.run_changes()


def test_memfd_is_refused_where_qemu_sends_it_itself(folder, network):
    with scenario(folder, network, memory=Memory(kind="memfd"), version="10.0") as guests, \
         guests.send(to="127.0.0.1:7471") as sender:
        assert sender.wait() == REFUSED, sender.output()
        assert "memory-backend-file" in sender.output()
        assert not guests.source.qmp.run_changes()


def test_nobody_listens(folder, network):
    with scenario(folder, network) as guests, guests.send(to="127.0.0.1:7999") as sender:
        assert sender.wait(15) in (FAILED, REFUSED), sender.output()
        assert "127.0.0.1:7999" in sender.output()
        guests.assert_runs_on_source()
        assert not sender.sessions_left()


def test_second_sender_is_turned_away_and_the_first_goes_on(folder, network):
    second_folder = folder / "second"
    second_folder.mkdir()
    with scenario(folder, network) as guests, \
         Qemu(guests.source.machine, "second", second_folder, netns=network.name) as second:
        second.wait_serial("AB")
        with guests.receive("--verify") as receiver, \
             guests.send("--verify", "--test-hold", "precopy") as sender:
            sender.wait_held()
            late = Agent("send", second_folder, ["send", "--qmp", second.agent_socket, "--to", guests.address],
                         netns=network.name)
            with late:
                assert late.wait(8) in (FAILED, REFUSED), late.output()
            assert second.qmp.status() == "running"
            sender.release()

            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
            guests.assert_moved()


@pytest.fixture
def small_tmpfs():
    subprocess.run(["mkdir", "-p", MOUNT], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24M", "none", MOUNT], check=True)
    yield MOUNT
    subprocess.run(["umount", "-l", MOUNT], check=True)


def test_destination_whose_tmpfs_is_full_fails_and_the_guest_runs_on(folder, network, small_tmpfs):
    with scenario(folder, network) as guests:
        machine = Machine(Memory(folder=small_tmpfs), arguments=guests.source.machine.arguments)
        with Qemu(machine, "short", folder, incoming=True, netns=network.name) as short:
            guests.destination = short
            with guests.receive() as receiver, guests.send() as sender:
                assert sender.wait() in (FAILED, REFUSED), sender.output()
                assert receiver.wait(15) in (FAILED, REFUSED), receiver.output()
                assert "space" in (sender.output() + receiver.output()).lower()
            guests.assert_runs_on_source()


@pytest.fixture
def memory_group():
    """A memory cgroup of 40 MiB. What a process touches first is charged to it, shared memory as well."""
    folder = "/sys/fs/cgroup/memory/godwit-test"
    if not os.path.ismount("/sys/fs/cgroup/memory"):
        pytest.skip("no memory cgroup (v1) here")
    subprocess.run(["mkdir", "-p", folder], check=True)
    with open(f"{folder}/memory.limit_in_bytes", "w", encoding="ascii") as file:
        file.write(str(40 << 20))
    yield folder
    subprocess.run(["rmdir", folder], check=False)


def test_destination_agent_without_memory_fails_and_the_guest_runs_on(folder, network, memory_group):
    enter = ("sh", "-c", f'echo $$ > {memory_group}/cgroup.procs && exec "$@"', "sh")
    with scenario(folder, network) as guests, guests.receive(wrapper=enter) as receiver, guests.send() as sender:
        assert sender.wait() == FAILED, sender.output()
        receiver.wait(15)
        guests.assert_runs_on_source()


def test_receiver_held_by_a_debugger_is_given_up_after_the_documented_time(folder, network):
    with scenario(folder, network) as guests, guests.receive("--test-hold", "receiving") as receiver, \
         guests.send() as sender:
        receiver.wait_held()

        assert sender.wait(15) == FAILED, sender.output()
        guests.assert_runs_on_source()
        hold_and(receiver, lambda: None)
        assert receiver.wait(15) == FAILED, receiver.output()


def test_receiver_without_the_rdma_device_it_was_told_to_use_does_not_begin_to_listen(folder, network):
    with scenario(folder, network) as guests:
        command = ["receive", "--qmp", guests.destination.agent_socket, "--listen", guests.address,
                   "--transport", "rdma", "--rail", "nowhere0"]
        with Agent("receive", folder, command, netns=network.name) as receiver:
            assert receiver.wait(15) == REFUSED, receiver.output()
            assert "no RDMA device nowhere0" in receiver.output()
            assert "waiting for" not in receiver.output()
            assert receiver.report()["status"] == "refused"
        # It is as it was, and takes a guest still.
        with guests.receive() as receiver, guests.send() as sender:
            assert sender.wait() == COMPLETED, sender.output()
            assert receiver.wait() == COMPLETED, receiver.output()
        guests.assert_moved()


def test_unknown_option_is_a_usage_error(folder, network):
    with scenario(folder, network) as guests, guests.send("--no-such-option") as sender:
        assert sender.wait(5) == USAGE
        guests.assert_runs_on_source()
