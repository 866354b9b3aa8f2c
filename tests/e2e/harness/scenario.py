# SPDX-License-Identifier: Apache-2.0
"""A boot-sector guest between two QEMUs, and what must be true of it before, during and after a move."""

import contextlib
import dataclasses
import signal
import time

from . import agent
from .boot_sector import BootSector
from .qemu import Machine, Memory, Qemu
from .qmp import QmpError
from .waiting import wait_until

NO_DEVICES = ("-nodefaults", "-vga", "none")
COMPLETED, FAILED, USAGE, IN_DOUBT, REFUSED = 0, 1, 2, 3, 4

# What the operator waits at most, in seconds: a closed connection, and a silent one; plus one to resume the guest.
DETECTION_CLOSED_S = 3
DETECTION_SILENT_S = 10
RESUME_S = 1


class Scenario:
    """The guest runs on `source`; `destination` waits. Both agents' sockets are free."""

    def __init__(self, folder, guest, source, destination, source_netns, destination_netns, address):
        self.folder = folder
        self.guest = guest
        self.source = source
        self.destination = destination
        self.address = address
        self._source_netns = source_netns
        self._destination_netns = destination_netns
        self._sender = None

    def receive(self, *extra, **options):
        return agent.receive(self.destination, self.folder, listen=self.address, netns=self._destination_netns,
                             extra=extra, **options)

    def send(self, *extra, **options):
        # The tests share two CPUs with two guests: how long the guest stands still is the bench's business.
        if "--downtime-limit" not in extra:
            extra = ("--downtime-limit", "5s", *extra)
        self._sender = agent.send(self.source, self.folder, to=options.pop("to", self.address),
                                  netns=self._source_netns, extra=extra, **options)
        return self._sender

    def assert_moved(self, source_gone=False):
        """The guest runs on at the destination with right memory, and never ran twice."""
        assert self.destination.qmp.status() == "running"
        assert not runs(self.source) if source_gone else self.source.qmp.status() != "running"
        self.destination.wait_serial("BB")
        assert_never_two_running(self.source, self.destination)
        self._assert_runs_with_right_memory(self.destination)
        assert self.source.userfault_descriptors() == 0
        assert self.destination.userfault_descriptors() == 0

    def wait_running_on_source(self, within_s=RESUME_S + DETECTION_CLOSED_S):
        """The move failed, or will: the guest runs where it was. The agents may still be at work."""
        wait_until(lambda: self.source.qmp.status() == "running", "the guest running on the source", within_s)

    def assert_runs_on_source(self, within_s=RESUME_S + DETECTION_CLOSED_S):
        """The move failed and the source's agent has ended: the guest runs where it was, nothing of the attempt is left
        there. Stops the guest for a look at its memory."""
        self.wait_running_on_source(within_s)
        # An agent that was killed has a guardian, which is not to resume the guest while it is looked at.
        if self._sender:
            wait_until(lambda: not self._sender.sessions_left(), "the source's session settled", within_s)
        assert not runs(self.destination)
        assert_never_two_running(self.source, self.destination)
        self._assert_runs_with_right_memory(self.source)
        wait_until(lambda: self.source.userfault_descriptors() == 0, "the userfaultfd gone from the source's QEMU", 5)

    def _assert_runs_with_right_memory(self, qemu):
        letters = qemu.serial().count("B")
        wait_until(lambda: qemu.serial().count("B") > letters, f"a letter from the guest in {qemu.name}", 10)
        qemu.qmp.command("stop")
        check = self.guest.check_memory(qemu.memory_files())
        qemu.qmp.command("cont")
        assert check["ok"], f"the guest's memory in {qemu.name} is wrong: {check}"
        assert "A" not in self.destination.serial(), "the guest was started anew"


@contextlib.contextmanager
def scenario(folder, network, guest=None, memory=None, version="7.2", machine_type="pc", devices=NO_DEVICES,
             pair=None, destination_options=None, destination_version=None):
    """Boots the guest and starts a destination that fits it. With a pair the two live in different namespaces."""
    guest = guest or BootSector(dirty_mib=16)
    image = guest.write_image(folder / "floppy")
    machine = Machine(memory or Memory(), version, machine_type,
                      arguments=(*devices, "-drive", f"file={image},format=raw,if=floppy,readonly=on"))
    source_netns = pair.source.name if pair else network.name
    destination_netns = pair.destination.name if pair else network.name
    host = pair.DESTINATION_ADDRESS if pair else "127.0.0.1"
    options = {"machine": dataclasses.replace(machine, version=destination_version or version), **(destination_options or {})}
    with Qemu(machine, "source", folder, netns=source_netns) as source, \
         Qemu(name="destination", folder=folder, incoming=True, netns=destination_netns, **options) as destination:
        source.wait_serial("AB")
        yield Scenario(folder, guest, source, destination, source_netns, destination_netns, f"{host}:{agent.PORT}")


def assert_never_two_running(source, destination):
    """By QEMU's own events: the source had stopped before the destination first ran, and never ran again."""
    started = [when for when, runs in destination.qmp.run_changes() if runs]
    source_changes = source.qmp.run_changes()
    if not started:
        return
    before = [runs for when, runs in source_changes if when <= started[0]]
    assert before and not before[-1], "the source still ran when the destination started"
    assert not [when for when, runs in source_changes if runs and when > started[0]], "the source ran again"


def wait_in_post_copy(sender):
    """Returns the session once the guest runs on the destination with pages missing."""
    def session():
        assert sender.alive(), f"godwit send has ended: {sender.output()}"
        return [entry["session"] for entry in sender.status()
                if entry["role"] == "source" and entry["state"] == "post-copy"]
    return wait_until(session, f"post-copy; the sender says: {sender.output()}", poll_s=0.01)[0]


def hold_and(agent_process, action):
    """Waits until the agent holds itself, does `action`, and lets it go on."""
    agent_process.wait_held()
    action()
    with contextlib.suppress(ProcessLookupError):
        agent_process.signal(signal.SIGCONT)


def held_receiver(state):
    """What a receiver is given while its sender is cancelled in this state: who awaits *ready* must not get it before it
    has heard of the cancel. release() lets it go on."""
    return ("--test-hold", "loading-state") if state == "awaiting-ready" else ()


def release(receiver, state):
    if held_receiver(state):
        hold_and(receiver, lambda: None)


def seconds_until(condition, what, timeout_s):
    """How long it took until condition() became true."""
    started = time.monotonic()
    wait_until(condition, what, timeout_s, poll_s=0.002)
    return time.monotonic() - started


def runs(qemu):
    try:
        return qemu.qmp.status() == "running"
    except QmpError:
        return False
