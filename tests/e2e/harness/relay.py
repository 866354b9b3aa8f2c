# SPDX-License-Identifier: Apache-2.0
"""`godwit relay` on both hosts, between two QEMUs that migrate by themselves."""

import contextlib
import os
import signal
import subprocess

from . import agent, paths
from .listening import listens
from .waiting import wait_until

PORT = 7472


class Relay:
    """One `godwit relay listen` or `connect`. Leaving the with block kills what is left of it."""

    def __init__(self, side, folder, arguments, netns=None, enter=()):
        self.side = side
        self.output_path = folder / f"relay-{side}.output"
        command = [*enter, *(("/sbin/ip", "netns", "exec", netns) if netns else ()), str(paths.GODWIT), "relay", side, *arguments]
        if "--transport" not in arguments:
            command += ["--transport", agent.TRANSPORT]
        self.said_before = len(self.output()) if self.output_path.exists() else 0  # by one before it
        with open(self.output_path, "ab") as file:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def output(self):
        return self.output_path.read_text(errors="replace")

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def terminate(self):
        """Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def wait(self, timeout_s=20):
        return self.process.wait(timeout_s)

    def cpu_seconds(self):
        """Waits for it to end, and returns the CPU seconds that it took."""
        _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime


def connect(folder, netns, *extra):
    """Starts the destination's side and returns once it waits."""
    socket = () if "--unix" in extra else ("--unix", str(folder / "in.sock"))
    relay = Relay("connect", folder, [*socket, "--listen", f"127.0.0.1:{PORT}", *extra], netns)
    wait_until(lambda: listens(relay.process.pid, PORT), f"the relay waiting; it says: {relay.output()}", 30, poll_s=0.01)
    return relay


def listen(folder, netns, *extra):
    """Starts the source's side and returns once it listens, which is a moment after its socket is there."""
    relay = Relay("listen", folder, ["--unix", str(folder / "out.sock"), "--to", f"127.0.0.1:{PORT}", *extra],
                  netns)
    wait_until(lambda: "relays what is written into" in relay.output()[relay.said_before:],
               f"the relay listening; it says: {relay.output()}", 10, poll_s=0.01)
    return relay


@contextlib.contextmanager
def relays(folder, netns, *extra):
    with connect(folder, netns, *extra) as there, listen(folder, netns, *extra) as here:
        yield here, there


def remove_socket(folder):
    with contextlib.suppress(FileNotFoundError):
        os.unlink(folder / "out.sock")
