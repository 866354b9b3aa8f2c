# SPDX-License-Identifier: Apache-2.0
"""scripts/lab itself: what comes through, what the machines have, how links are cut, and that nothing is left behind.

Each lab runs one shell that the tests talk to, so that a machine is booted once for many of them.
"""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import time
import uuid

import pytest

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "scripts"
LAB = SCRIPTS / "lab"
MACHINE_FAILED = 125
DEADLINE_S = 150


@pytest.fixture(scope="session", autouse=True)
def machine_is_set_up():
    """What the first lab on a machine would fetch, and talk about on stderr."""
    subprocess.run([SCRIPTS / "setup"], check=True, capture_output=True)


class Lab:
    """A running scripts/lab. At the end of the with block nothing may be left of it."""

    def __init__(self, folder, *arguments):
        self._mark = f"LAB_TEST={uuid.uuid4()}"
        self._temporary = folder / "temporary"
        self._temporary.mkdir(exist_ok=True)
        name, value = self._mark.split("=")
        environment = {**os.environ, name: value, "TMPDIR": str(self._temporary)}
        self.process = subprocess.Popen([LAB, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, env=environment)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind:
            self.process.kill()
        self.process.communicate(timeout=DEADLINE_S)
        self._assert_nothing_is_left()

    def end(self, text=""):
        """Returns (status, output, errors) of the whole lab."""
        output, errors = self.process.communicate(text, timeout=DEADLINE_S)
        return self.process.returncode, output, errors

    def _assert_nothing_is_left(self):
        # A killed process needs a moment to give its memory back.
        deadline = time.monotonic() + 10
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not self.processes()
        assert not list(self._temporary.iterdir())

    def processes(self):
        """{number: command} of all that inherited our environment: scripts/lab, QEMU, and what else they start."""
        found = {}
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        return found

    def qemus(self):
        return [number for number, command in self.processes().items() if re.match(r"\S*/qemu-system-x86_64 ", command)]


class Shell(Lab):
    """A lab whose command is a shell; run() has it execute something."""

    def __init__(self, folder, *arguments):
        super().__init__(folder, *arguments, "bash")

    def run(self, text):
        """Returns (status, output and errors together)."""
        end = uuid.uuid4().hex
        self.process.stdin.write(f"( {text}\n) </dev/null 2>&1; status=$?; echo; echo {end} $status\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.startswith(end):
                return int(line.split()[1]), "".join(lines[:-1] if lines[-1] == "\n" else lines)
            lines.append(line)
        raise AssertionError(f"the lab has ended: {self.process.stderr.read()}")

    def output(self, text):
        status, output = self.run(text)
        assert status == 0, output
        return output


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    with Shell(tmp_path_factory.mktemp("machine")) as lab:
        yield lab


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    with Shell(tmp_path_factory.mktemp("pair"), "--pair") as lab:
        yield lab


def test_status_output_errors_input_and_folder_come_through(tmp_path):
    share = tmp_path / "share"
    share.mkdir()
    with Lab(tmp_path, "--nodes", "1", "--memory", "1G", "--share", share, "sh", "-c",
             f"pwd; cat; echo trouble >&2; echo result >{share}/file; nproc; exit 3") as lab:
        assert lab.end("input\n") == (3, f"{os.getcwd()}\ninput\n2\n", "trouble\n")
    assert (share / "file").read_text() == "result\n"


def test_death_by_signal_comes_through(tmp_path):
    with Lab(tmp_path, "sh", "-c", "kill -SEGV $$") as lab:
        status, _, errors = lab.end()
    assert status == 128 + signal.SIGSEGV
    assert errors == "lab: the command died of signal 11 (SIGSEGV)\n"


def test_machine_that_cannot_boot_is_told_from_a_command_that_fails(tmp_path):
    with Lab(tmp_path, "--append", "rdinit=/nothing-here", "true") as lab:
        status, output, errors = lab.end()
    assert (status, output) == (MACHINE_FAILED, "")
    assert "machine a ended while it booted" in errors
    assert "Kernel panic" in errors


@pytest.mark.parametrize("crashes,expected", [(1, 0), (2, MACHINE_FAILED)])
def test_crash_of_qemu_during_the_boot_is_borne_once(tmp_path, crashes, expected):
    with Lab(tmp_path, "true") as lab:
        crashed = set()
        while len(crashed) < crashes:
            for process in set(lab.qemus()) - crashed:
                os.kill(process, signal.SIGABRT)
                crashed.add(process)
        status, output, errors = lab.end()
    assert (status, output) == (expected, "")
    assert errors.startswith("lab: QEMU crashed while machine a booted: once more\n")


def test_machine_that_does_not_come_up_in_time_is_given_up(tmp_path):
    with Lab(tmp_path, "--boot-deadline", "0.5", "true") as lab:
        status, _, errors = lab.end()
    assert status == MACHINE_FAILED
    assert "did not come up within 0.5 s" in errors


def test_nothing_outlives_a_lab_that_is_killed(tmp_path):
    with Lab(tmp_path, "sh", "-c", "echo up; exec sleep 1000") as lab:
        assert lab.process.stdout.readline() == "up\n"
        assert lab.qemus()
        lab.process.kill()


def test_each_node_has_memory_and_a_cpu(machine):
    hardware = machine.output("numactl -H")
    assert "available: 2 nodes (0-1)" in hardware
    for node in (0, 1):
        assert f"node {node} cpus: {node}\n" in hardware
        assert int(re.search(rf"node {node} size: (\d+) MB", hardware)[1]) > 1500


@pytest.mark.parametrize("number", [0, 1])
def test_each_node_has_a_device_that_is_active(machine, number):
    device = f"/sys/class/infiniband/rxe{number}"
    assert "PORT_ACTIVE" in machine.output(f"ibv_devinfo -d rxe{number}")
    assert machine.output(f"cat {device}/ports/1/gids/1") == f"0000:0000:0000:0000:0000:ffff:0a4d:{number:02x}01\n"
    assert machine.output(f"cat /sys/class/net/$(cat {device}/parent)/device/../numa_node") == f"{number}\n"


@pytest.mark.parametrize("number", [0, 1])
def test_connections_within_a_machine_work(machine, number):
    machine.output(ib_write_bw(number, f"10.77.{number}.1", ""))


def test_connections_by_rdma_cm_within_a_machine_work(machine):
    machine.output(ib_write_bw(0, "10.77.0.1", "", "-R"))


def test_clock_is_as_fast_as_the_hosts(machine):
    def clock():
        before = time.monotonic()
        seconds = float(machine.output("/usr/bin/python3 -c 'import time; print(time.monotonic())'"))
        return before, seconds, time.monotonic()

    first_before, first, first_after = clock()
    time.sleep(2)
    last_before, last, last_after = clock()
    assert (last_before - first_after) * 0.99 < last - first < (last_after - first_before) * 1.01


def test_memory_to_lock_is_unlimited(machine):
    assert machine.output("ulimit -l") == "unlimited\n"


def test_what_the_projects_tests_need_is_there(machine):
    machine.output("ip netns add one && ip netns exec one ip link set lo up && ip netns del one")
    machine.output("mountpoint -q /dev/shm && touch /dev/shm/file /tmp/file /var/tmp/file")
    machine.output("ip tuntap add tap0 mode tap && ip link add bridge0 type bridge && ip link set tap0 master bridge0")
    machine.output("/usr/bin/python3 -c 'import ctypes; assert ctypes.CDLL(None).syscall(323, 0) > 0, \"no userfaultfd\"'")


def test_a_machine_alone_can_lose_its_link(machine):
    machine.output("lab-link 1 down")
    assert "PORT_DOWN" in machine.output("ibv_devinfo -d rxe1")
    machine.output("lab-link 1 up")
    assert "PORT_ACTIVE" in machine.output("ibv_devinfo -d rxe1")


def test_peer_runs_commands_as_if_they_ran_here(pair):
    assert pair.output("lab-peer hostname") == "b\n"
    assert pair.run("lab-peer sh -c 'exit 3'")[0] == 3
    assert pair.output("echo input | lab-peer cat") == "input\n"
    status, output = pair.run("lab-peer sh -c 'kill -KILL $$'")
    assert (status, output) == (137, "lab-peer: the command died of signal 9 (SIGKILL)\n")
    assert pair.run("lab-peer no-such-command")[0] == 127


def test_command_on_the_peer_dies_with_its_caller(pair):
    pair.output("lab-peer sleep 4321 & until lab-peer pgrep -xf 'sleep 4321'; do :; done; kill -KILL $!")
    pair.output("while lab-peer pgrep -xf 'sleep 4321'; do :; done")


@pytest.mark.parametrize("number", [0, 1])
def test_devices_of_a_pair_are_connected(pair, number):
    pair.output(f"ping -c 1 -W 10 b{number}")
    pair.output(ib_write_bw(number, f"b{number}", "lab-peer", "-R" if number else ""))


def test_link_that_is_cut_comes_back(pair):
    pair.output("ping -c 1 -W 10 b0 && lab-link 0 down")

    assert pair.run("ping -c 1 -W 2 b0")[0] != 0
    assert "PORT_DOWN" in pair.output("ibv_devinfo -d rxe0")
    pair.output("until lab-peer ibv_devinfo -d rxe0 | grep -q PORT_DOWN; do :; done")
    pair.output("ping -c 1 -W 10 b1")

    pair.output("lab-link 0 up && ping -c 3 -W 10 b0")
    assert "PORT_ACTIVE" in pair.output("ibv_devinfo -d rxe0")


def test_panic_of_one_machine_ends_the_lab(pair):
    pair.process.stdin.write("lab-peer sh -c 'echo c >/proc/sysrq-trigger'\n")
    pair.process.stdin.flush()

    assert pair.process.wait(DEADLINE_S) == MACHINE_FAILED
    errors = pair.process.stderr.read()
    assert "machine b ended before the command did" in errors
    assert "sysrq triggered crash" in errors


def ib_write_bw(number, address, where, *options):
    """A shell command that runs perftest over device rxe`number`, its server on the machine that `where` leads to."""
    test = f"ib_write_bw -d rxe{number} -s 65536 -n 100 {' '.join(options or ('-x 1',))}"
    listening = "rdma resource show cm_id | grep -q LISTEN" if "-R" in options else "ss -Hltn | grep -q :18515"
    return (f"{where} {test} & timeout 60 {where} sh -c 'until {listening}; do :; done' && "
            f"timeout 60 {test} {address} && wait $!")
