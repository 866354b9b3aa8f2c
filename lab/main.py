# SPDX-License-Identifier: Apache-2.0
"""Behind scripts/lab: boots one machine or a pair, runs the command in it, ends with the command's exit status."""

import argparse
import os
import re
import select
import signal
import socket
import sys
import threading
import time

import frames
from machine import Machine, Options

MACHINE_FAILED = 125
# QEMU's emulation has races. Seen of 10.0, once in hundreds of boots: "iotlb_to_section: Assertion `section_index <
# d->map.sections_nb' failed". Nothing of the user's has run by then.
CRASHES_BORNE = 1
CONSOLE_LINES_SHOWN = 120  # a panic says why above its trace, which can be 60 lines long
# Variables that name something of this host's session, which the lab has not.
SESSION_VARIABLES = re.compile(r"DISPLAY|WAYLAND_DISPLAY|XAUTHORITY|DBUS_.*|XDG_RUNTIME_DIR|XDG_SESSION_.*|SSH_.*|"
                               r"TMUX.*|STY|NOTIFY_SOCKET|LISTEN_.*|JOURNAL_STREAM|INVOCATION_ID")


class MachineFailed(Exception):
    """A machine did not boot, or ended before the command."""

    def __init__(self, machine, text):
        super().__init__(f"machine {machine.name} {text}")
        self.machine = machine


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="scripts/lab", usage="scripts/lab [OPTION…] COMMAND…",
        description="Boots a virtual machine with RDMA devices (Soft-RoCE) on this host's root and runs COMMAND in it.",
        epilog=f"Exit status: the command's (128 + number when it died of a signal); {MACHINE_FAILED} when a machine "
               "did not boot or ended before the command; 2 for wrong usage. See docs/lab.md.")
    parser.add_argument("--nodes", type=int, choices=(1, 2), default=2, help="NUMA nodes, each with a NIC (default 2)")
    parser.add_argument("--memory", type=mebibytes, default="4G", metavar="SIZE",
                        help="memory of a machine (default 4G)")
    parser.add_argument("--pair", action="store_true", help="two machines, a and b; the command runs on a")
    parser.add_argument("--share", action="append", default=[], type=shared_folder, metavar="DIR",
                        help="a folder of the host that the lab can write to, at the same path (may be repeated)")
    parser.add_argument("--boot-deadline", type=float, default=120, metavar="SECONDS",
                        help="when to give up on a machine that does not come up (default 120)")
    parser.add_argument("--append", default="", metavar="ARGUMENTS", help="more arguments for the kernel")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    arguments = parser.parse_args()
    if arguments.command[:1] == ["--"]:
        del arguments.command[0]
    if not arguments.command:
        parser.error("no command")
    return arguments


def mebibytes(text):
    match = re.fullmatch(r"(\d+)([MG])", text)
    size = int(match[1]) * {"M": 1, "G": 1024}[match[2]] if match else 0
    if size < 512:
        raise argparse.ArgumentTypeError(f"{text!r} is no size of at least 512M, as 2048M or 4G")
    return size


def shared_folder(text):
    path = os.path.realpath(text)
    if not os.path.isdir(path) or "\n" in path:
        raise argparse.ArgumentTypeError(f"{text!r} is no folder")
    return path


def start_machines(options, paired):
    """Boots one machine, or two with cables between them: one for each data link, one for management."""
    if not paired:
        return [Machine("a", options, [None] * (options.node_count + 1))]
    cables = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(options.node_count + 1)]
    return [Machine(name, options, [cable[index] for cable in cables]) for index, name in enumerate("ab")]


def wait_until_up(machines, deadline_s):
    end = time.monotonic() + deadline_s
    for machine in machines:
        readable, _, _ = select.select([machine.command], [], [], max(0, end - time.monotonic()))
        if not readable:
            raise MachineFailed(machine, f"did not come up within {deadline_s:g} s")
        try:
            frames.receive(machine.command)
        except frames.Closed:
            machine.wait()
            raise MachineFailed(machine, "ended while it booted") from None


def boot(options, paired, deadline_s, crashes_borne=CRASHES_BORNE):
    """Returns the machines, up."""
    machines = start_machines(options, paired)
    try:
        wait_until_up(machines, deadline_s)
        return machines
    except MachineFailed as error:
        crashed = error.machine.has_crashed()
        for machine in machines:
            machine.kill()
        if not crashed or not crashes_borne:
            raise
        print(f"lab: QEMU crashed while machine {error.machine.name} booted: once more", file=sys.stderr)
    return boot(options, paired, deadline_s, crashes_borne - 1)


def serve_link_requests(machine, machines):
    """Does what lab-link on one machine asks for, at both ends of the cable."""
    for line in machine.link_requests.makefile("r", encoding="ascii"):
        number, state = line.split()
        answer = "ok"
        try:
            for end in machines:
                end.set_link(number, state)
        except (RuntimeError, OSError) as error:
            answer = str(error)
        machine.link_requests.sendall(f"{answer}\n".encode(), socket.MSG_NOSIGNAL)


def run_command(command, machines):
    """Runs the command on the first machine. When the other one ends early, all is over, too."""
    ended = []

    def watch(peer):
        peer.wait()
        ended.append(peer)
        machines[0].kill()

    for machine in machines:
        threading.Thread(target=serve_link_requests, args=(machine, machines), daemon=True).start()
    for peer in machines[1:]:
        threading.Thread(target=watch, args=(peer,), daemon=True).start()
    environment = {name: value for name, value in os.environ.items() if not SESSION_VARIABLES.fullmatch(name)}
    environment["GODWIT_LAB"] = machines[0].name
    try:
        return frames.run_command(machines[0].command, command, environment)
    except frames.Closed:
        raise MachineFailed((ended or machines)[0], "ended before the command did") from None


def main():
    arguments = parse_arguments()
    options = Options(arguments.nodes, arguments.memory, tuple(arguments.share), arguments.append)
    machines = []
    try:
        machines = boot(options, arguments.pair, arguments.boot_deadline)
        return run_command(arguments.command, machines)
    except MachineFailed as error:
        print(f"lab: {error}; the end of its console:", file=sys.stderr)
        for line in error.machine.console().splitlines()[-CONSOLE_LINES_SHOWN:]:
            print(f"  | {line}", file=sys.stderr)
        return MACHINE_FAILED
    finally:
        for machine in machines:
            machine.kill()


# Nothing needs cleaning up (see machine.py), so a signal may just end us: the machines end with us.
for ending in (signal.SIGINT, signal.SIGPIPE):
    signal.signal(ending, signal.SIG_DFL)
status = main()
sys.stderr.flush()
# Not sys.exit(): a thread may wait for our input still.
os._exit(status)
