# SPDX-License-Identifier: Apache-2.0
"""Unmodified QEMU processes, each with two QMP sockets: one for the agent, one for the tests.

A Machine says what the guest is; the same Machine starts the source and the destination, so that they agree.
"""

import contextlib
import dataclasses
import os
import pathlib
import signal
import subprocess

from . import paths
from .qmp import Qmp, QmpError
from .waiting import wait_until

MIB = 1 << 20


@dataclasses.dataclass(frozen=True)
class Memory:
    """How guest RAM is backed. kind: "file" (tmpfs or hugetlbfs folder), "memfd", or "private"."""

    size_mib: int = 64
    kind: str = "file"
    folder: str = "/dev/shm"
    backends: int = 1
    preallocated: bool = False
    slots: int = 0
    max_mib: int = 0
    host_nodes: tuple = ()  # of each backend, where it is to lie

    def arguments(self, name, size_mib_override=None):
        total_mib = size_mib_override or self.size_mib
        each_mib = total_mib // self.backends
        size = f"{total_mib}M"
        if self.slots:
            size += f",slots={self.slots},maxmem={self.max_mib}M"
        arguments = ["-m", size]
        for index in range(self.backends):
            options = f"id=ram{index},size={each_mib}M,prealloc={'on' if self.preallocated else 'off'}"
            if self.host_nodes:
                options += f",host-nodes={self.host_nodes[index]},policy=bind"
            if self.kind == "file":
                arguments += ["-object", f"memory-backend-file,{options},share=on,mem-path={self.path(name, index)}"]
            elif self.kind == "memfd":
                arguments += ["-object", f"memory-backend-memfd,{options},share=on"]
            else:
                arguments += ["-object", f"memory-backend-ram,{options}"]
        if self.backends == 1:
            return arguments + ["-machine", "memory-backend=ram0"]
        for index in range(self.backends):
            arguments += ["-numa", f"node,nodeid={index},memdev=ram{index}"]
        return arguments

    def path(self, name, index):
        return f"{self.folder}/godwit-test-{os.getpid()}-{name}-ram{index}"


@dataclasses.dataclass
class Machine:
    """One guest's hardware. `arguments` are given to QEMU on both sides as they are."""

    memory: Memory = Memory()
    version: str = "7.2"
    type: str = "pc"
    accelerator: str = "tcg"
    arguments: tuple = ()


class Qemu:
    """One QEMU process. Use as a context manager: leaving it kills the process and removes its files."""

    def __init__(self, machine, name, folder, incoming=False, netns=None, wrapper=(), memory_mib=None, extra=()):
        self.machine = machine
        self.name = name
        self.netns = netns
        self.folder = pathlib.Path(folder)
        self.agent_socket = str(self.folder / f"{name}.agent.qmp")
        self.serial_path = self.folder / f"{name}.serial"
        self.error_path = self.folder / f"{name}.stderr"
        own_socket = str(self.folder / f"{name}.qmp")
        command = [
            *wrapper, *(("ip", "netns", "exec", netns) if netns else ()), *paths.qemu_command(machine.version),
            "-name", f"guest={name},debug-threads=on", "-machine", machine.type, "-accel", machine.accelerator,
            "-display", "none", "-monitor", "none", "-serial", f"file:{self.serial_path}",
            "-qmp", f"unix:{self.agent_socket},server=on,wait=off", "-qmp", f"unix:{own_socket},server=on,wait=off",
            *machine.memory.arguments(name, memory_mib), *machine.arguments, *extra]
        if incoming:
            command += ["-incoming", "defer"]
        self.command = command
        with open(self.error_path, "wb") as error_file:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=error_file, stderr=error_file)
        self.qmp = None
        self.qmp = wait_until(lambda: self._connect(own_socket), f"QMP of {name}", timeout_s=30)

    def _connect(self, path):
        if self._process.poll() is not None:
            raise AssertionError(f"QEMU {self.name} ended at once: {self.error_path.read_text()}")
        try:
            return Qmp(path)
        except QmpError:
            return None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
        if self.qmp:
            self.qmp.close()
        if self.machine.memory.kind == "file":
            for index in range(self.machine.memory.backends):
                pathlib.Path(self.machine.memory.path(self.name, index)).unlink(missing_ok=True)

    @property
    def pid(self):
        return self._process.pid

    def alive(self):
        return self._process.poll() is None

    def kill(self):
        if self.alive():
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def serial(self):
        return self.serial_path.read_bytes().decode(errors="replace")

    def wait_serial(self, text, timeout_s=40.0):
        def seen():
            if not self.alive():
                raise AssertionError(f"QEMU {self.name} is gone: {self.error_path.read_text()}")
            return text in self.serial()
        wait_until(seen, f"{text!r} on the serial port of {self.name}, which says: {self.serial()[-2000:]}", timeout_s)

    def memory_files(self):
        """Paths that open this guest's RAM, in guest-physical order."""
        memory = self.machine.memory
        if memory.kind == "file":
            return [memory.path(self.name, index) for index in range(memory.backends)]
        found = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            path = f"/proc/{self.pid}/fd/{fd}"
            try:
                if "memfd:memory-backend-memfd" in os.readlink(path):
                    found.append((int(fd), path))
            except FileNotFoundError:
                pass
        return [path for _, path in sorted(found)]

    def userfault_descriptors(self):
        """How many userfaultfds this QEMU holds: none, once no agent has anything to do with it."""
        links = []
        with contextlib.suppress(FileNotFoundError):  # the process has ended
            for fd in os.listdir(f"/proc/{self.pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    links.append(os.readlink(f"/proc/{self.pid}/fd/{fd}"))
        return sum("userfaultfd" in link for link in links)
