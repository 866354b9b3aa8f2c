# SPDX-License-Identifier: Apache-2.0
"""Godwit agents as processes: started, watched, held in a state, killed."""

import atexit
import functools
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import tempfile

from . import paths
from .listening import listens
from .waiting import wait_until

PORT = 7471
# What carries the pages in these tests. RDMA devices live in the host's own network namespace, in the RDMA lab.
TRANSPORT = os.environ.get("GODWIT_TEST_TRANSPORT", "tcp")
INHERIT = "inherit"  # as `output`: the agent talks to our own terminal


class Agent:
    """One `godwit send` or `godwit receive`. Leaving the with block kills what is left of it."""

    def __init__(self, role, folder, arguments, netns=None, wrapper=(), output=None):
        self.role = role
        self.netns = netns
        self.folder = pathlib.Path(folder)
        self.json_path = self.folder / f"{role}.json"
        self.output_path = self.folder / f"{role}.output"
        self.runtime_folder = _runtime_folder(self.folder)
        command = [*wrapper, *(("/sbin/ip", "netns", "exec", netns) if netns else ()), str(paths.GODWIT), *arguments]
        # One that is resumed has the options of the one that died.
        if arguments[0] != "resume":
            command += ["--json", str(self.json_path)]
        self._environment = {**os.environ, "GODWIT_RUNTIME_DIR": str(self.runtime_folder)}
        with open(self.output_path, "ab") as file:
            file = None if output == INHERIT else file
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                             env=self._environment)
        self.resource_usage = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.alive():
            self._process.kill()
            self.wait()

    @property
    def pid(self):
        return self._process.pid

    def output(self):
        return self.output_path.read_text(errors="replace")

    def alive(self):
        return self.resource_usage is None and self._poll() is None

    def _poll(self):
        if self._process.returncode is None:
            pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
            if pid:
                self._process.returncode = os.waitstatus_to_exitcode(status)
                self.resource_usage = usage
        return self._process.returncode

    def wait(self, timeout_s=60.0):
        """Returns the exit code."""
        if self._process.returncode is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                ended = select.select([pidfd], [], [], timeout_s)[0]
            finally:
                os.close(pidfd)
            assert ended, f"godwit {self.role} did not end within {timeout_s} s; it says: {self.output()}"
        return self._poll()

    def memory_bytes(self):
        """What the agent has in memory beyond the guest, which it maps as shared memory; 0 once it has ended."""
        try:
            with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
                fields = dict(line.split(":", 1) for line in file)
            return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
        except (FileNotFoundError, ProcessLookupError, KeyError):
            return 0

    def cpu_seconds(self):
        """CPU seconds of an agent that has ended."""
        return self.resource_usage.ru_utime + self.resource_usage.ru_stime

    def signal(self, number):
        self._process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.wait()

    def stopped(self):
        """True while the agent holds itself with SIGSTOP (--test-hold)."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
                return file.read().rsplit(")", 1)[1].split()[0] == "T"
        except FileNotFoundError:
            return False

    def wait_held(self, timeout_s=20.0):
        def held():
            assert self._poll() is None, f"godwit {self.role} ended with {self._process.returncode}: {self.output()}"
            return self.stopped()
        wait_until(held, f"godwit {self.role} holding itself; it says: {self.output()}", timeout_s)

    def release(self):
        self.signal(signal.SIGCONT)

    def report(self):
        return json.loads(self.json_path.read_text())

    def sessions_left(self):
        """Session directories of this role that are still there."""
        return [str(path) for path in self.runtime_folder.glob(f"*/{self.role_folder}")]

    def godwit(self, *arguments):
        """Runs another godwit command on this agent's host, to its end."""
        return subprocess.run([str(paths.GODWIT), *arguments], capture_output=True, text=True, timeout=30,
                              env=self._environment, check=False)

    def status(self):
        """The sessions on this agent's host, as `godwit status --json` tells them."""
        result = self.godwit("status", "--json")
        assert result.returncode == 0, result.stdout + result.stderr
        return json.loads(result.stdout)

    def wait_session(self):
        """Returns this agent's session once there is one."""
        def session():
            assert self.alive(), f"godwit {self.role} has ended: {self.output()}"
            return [entry["session"] for entry in self.status() if entry["role"] == self.role_folder]
        return wait_until(session, f"a session of godwit {self.role}")[0]

    @property
    def role_folder(self):
        return "source" if self.role == "send" else "destination"


@functools.cache
def _runtime_folder(folder):
    """Both agents' session folders, on tmpfs as /run/godwit is; gone with this process."""
    path = tempfile.mkdtemp(prefix="godwit-run-", dir="/dev/shm")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return pathlib.Path(path)


def receive(qemu, folder, listen=f"127.0.0.1:{PORT}", netns=None, wrapper=(), extra=()):
    """Starts a receiver and returns once it listens."""
    agent = Agent("receive", folder, ["receive", "--qmp", qemu.agent_socket, "--listen", listen, *_transport(extra), *extra],
                  netns=netns, wrapper=wrapper)
    port = int(listen.rsplit(":", 1)[1])

    def listening():
        assert agent.alive(), f"godwit receive ended at once: {agent.output()}"
        return listens(agent.pid, port)
    wait_until(listening, f"godwit receive listening on {listen}; it says: {agent.output()}", timeout_s=30, poll_s=0.002)
    return agent


def send(qemu, folder, to=f"127.0.0.1:{PORT}", netns=None, wrapper=(), extra=(), output=None):
    return Agent("send", folder, ["send", "--qmp", qemu.agent_socket, "--to", to, *_transport(extra), *extra],
                 netns=netns, wrapper=wrapper, output=output)


def resume(dead, session):
    """Starts an agent in the place of one that died."""
    return Agent(dead.role, dead.folder, ["resume", session, "--role", dead.role_folder], netns=dead.netns)


def _transport(extra):
    return () if "--transport" in extra else ("--transport", TRANSPORT)
