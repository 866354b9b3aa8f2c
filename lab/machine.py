# SPDX-License-Identifier: Apache-2.0
"""One machine of the lab: a QEMU process that leaves nothing behind, however this process ends.

All that connects the two is inherited file descriptors: sockets, the log of the console, the initramfs. There is no
file, path or port to clean up, and the kernel kills QEMU when we die.
"""

import dataclasses
import fcntl
import json
import os
import socket
import subprocess
import threading

import boot_files
import host_clock

# Not Debian 12's QEMU 7.2: with that, one boot in a hundred ends in "Oops: int3". A CPU of it may go on executing the
# breakpoint that the kernel puts into code of its own while it changes it.
QEMU = [boot_files.CACHE / "qemu-10.0/usr/bin/qemu-system-x86_64",
        "-L", boot_files.CACHE / "qemu-10.0/usr/share/qemu", "-L", "/usr/share/seabios", "-L", "/usr/share/qemu"]

# A panic ends the machine at once, and so does an error in the kernel: what is measured after it means nothing. The
# rest makes an emulated machine faster; its clock is the host's own, which needs no watching.
KERNEL_ARGUMENTS = ("console=ttyS0 quiet panic=-1 oops=panic mitigations=off init_on_alloc=0 tsc=reliable "
                    "no_timer_check pcie_ports=compat cgroup_no_v1=all")


@dataclasses.dataclass(frozen=True)
class Options:
    """What all machines of one lab have in common."""

    node_count: int = 2
    memory_mib: int = 4096
    shares: tuple = ()
    kernel_arguments: str = ""


class Machine:
    """A running QEMU. `cables` are this machine's ends: data links, then the management link; None: not connected."""

    def __init__(self, name, options, cables):
        self.name = name
        self.command, command_end = socket.socketpair()
        self.link_requests, link_requests_end = socket.socketpair()
        monitor, monitor_end = socket.socketpair()
        self._monitor = Monitor(monitor)
        self._console = os.memfd_create("console")
        fcntl.fcntl(self._console, fcntl.F_SETFL, os.O_APPEND)
        initramfs = _initramfs(name, options)
        arguments = [
            *_board(options), *_root(options), *_network(name, options, cables),
            "-name", f"lab-{name}", "-kernel", str(boot_files.kernel()), "-initrd", f"/dev/fd/{initramfs}",
            "-append", f"{KERNEL_ARGUMENTS} tsc_early_khz={host_clock.counter_khz()} {options.kernel_arguments}",
            "-chardev", f"file,id=console,path=/dev/fd/{self._console},append=on", "-serial", "chardev:console",
            "-chardev", f"socket,id=monitor,fd={monitor_end.fileno()}", "-mon", "chardev=monitor,mode=control",
            "-device", "virtio-serial-pci,bus=pcie.0",
            *_port("command", command_end), *_port("links", link_requests_end)]
        given_away = [end for end in (command_end, link_requests_end, monitor_end, *cables) if end]
        # setpriv: should we die without a chance to clean up, the kernel kills QEMU.
        self._process = subprocess.Popen(
            ["/usr/bin/setpriv", "--pdeathsig", "KILL", *QEMU, *arguments],
            stdin=subprocess.DEVNULL, stdout=self._console, stderr=self._console,
            pass_fds=[*(end.fileno() for end in given_away), initramfs, self._console])
        os.close(initramfs)
        for end in given_away:
            end.close()

    def set_link(self, number, state):
        """Plugs in ("up") or pulls out ("down") this machine's end of a data link's cable."""
        self._monitor.execute("set_link", name=f"link{number}", up=state == "up")

    def wait(self):
        self._process.wait()

    def has_crashed(self):
        """Whether QEMU itself died, of a signal, and not the machine in it."""
        status = self._process.poll()
        return status is not None and status < 0

    def kill(self):
        self._process.kill()
        self._process.wait()

    def console(self):
        """All that the machine, and QEMU itself, said so far."""
        return os.pread(self._console, os.fstat(self._console).st_size, 0).decode(errors="replace")


class Monitor:
    """QEMU's QMP."""

    def __init__(self, connection):
        self._connection = connection
        self._answers = None
        self._lock = threading.Lock()

    def execute(self, command, **arguments):
        with self._lock:
            if not self._answers:
                self._answers = self._connection.makefile("rb")
                self._execute("qmp_capabilities", {})
            self._execute(command, arguments)

    def _execute(self, command, arguments):
        request = json.dumps({"execute": command, "arguments": arguments})
        self._connection.sendall(request.encode(), socket.MSG_NOSIGNAL)
        for line in self._answers:
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return
        raise ConnectionError(f"{command}: QEMU has ended")


def _initramfs(name, options):
    fd = os.memfd_create("initramfs")
    settings = {"node": name, "link_count": options.node_count, "kernel_modules": boot_files.MODULES_FOLDER}
    with open(fd, "wb", closefd=False) as file:
        file.write(boot_files.initramfs(settings, options.shares))
    return fd


def _board(options):
    """Two nodes: a socket with one CPU and half of the memory on each. One node: both CPUs and all of the memory."""
    node_count = options.node_count
    arguments = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35,usb=off",
                 "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", f"2,sockets={node_count}",
                 "-m", f"{options.memory_mib}M"]
    for node in range(node_count):
        cpus = f"cpus={node}" if node_count == 2 else "cpus=0-1"
        arguments += ["-object", f"memory-backend-ram,id=ram{node},size={options.memory_mib // node_count}M",
                      "-numa", f"node,nodeid={node},memdev=ram{node},{cpus}"]
    return arguments


def _root(options):
    """The host's root, which cannot be written to, and the folders that can."""
    arguments = _folder("root", "/", "on")
    for index, share in enumerate(options.shares):
        arguments += _folder(f"share{index}", share, "off")
    return arguments


def _folder(tag, path, read_only):
    # A comma in an option's value is written twice.
    value = path.replace(",", ",,")
    return ["-fsdev", f"local,id={tag},path={value},security_model=none,readonly={read_only},multidevs=remap",
            "-device", f"virtio-9p-pci,bus=pcie.0,fsdev={tag},mount_tag={tag}"]


def _network(name, options, cables):
    """A NIC on each node, behind a PCI root of that node as in a real machine; one more for management."""
    host = {"a": "01", "b": "02"}[name]
    arguments = []
    for number in range(options.node_count):
        arguments += [
            "-device", f"pxb-pcie,id=root{number},bus=pcie.0,bus_nr={0x40 * (number + 1)},numa_node={number}",
            "-device", f"pcie-root-port,id=slot{number},bus=root{number},chassis={number + 1}"]
        arguments += _nic(f"link{number}", f"slot{number}", f"52:54:00:6c:{host}:0{number}", cables[number])
    if cables[-1]:
        arguments += _nic("management", "pcie.0", f"52:54:00:6c:{host}:ff", cables[-1])
    return arguments


def _nic(name, bus, address, cable):
    # Without a cable there is a hub at the other end of which is nothing, so that the NIC has a carrier.
    backend = f"dgram,id={name},local.type=fd,local.str={cable.fileno()}" if cable else f"hubport,id={name},hubid={bus[-1]}"
    return ["-netdev", backend, "-device", f"virtio-net-pci,bus={bus},netdev={name},mac={address},romfile="]


def _port(name, end):
    return ["-chardev", f"socket,id={name},fd={end.fileno()}",
            "-device", f"virtserialport,chardev={name},name={name}"]
