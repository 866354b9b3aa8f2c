# SPDX-License-Identifier: Apache-2.0
"""Real libvirt on two hosts that are namespaces: each has a libvirtd with its own state, identity and network."""

import os
import pathlib
import re
import subprocess
import uuid

from .qmp import QmpError
from .waiting import wait_until

RELAY_FOLDER = "/run/godwit-relay"
# Whatever libvirtd keeps, and the folder of the migration sockets, which libvirt calls the same on both hosts.
_OWN_FOLDERS = {"run": "/run/libvirt", "lib": "/var/lib/libvirt", "log": "/var/log/libvirt",
                "cache": "/var/cache/libvirt", "etc": "/etc/libvirt", "relay": RELAY_FOLDER}

_START = """
set -e
hostname "$1"
mount --make-rprivate /
shift
while [ $# -gt 0 ]; do
  [ -e "$2" ] || mkdir -p "$2"
  mount --bind "$1" "$2"
  shift 2
done
exec /usr/sbin/libvirtd --pid-file /run/libvirt/libvirtd.pid
"""


class LibvirtHost:
    """One libvirtd. Use as a context manager: leaving it kills the daemon and its guests."""

    def __init__(self, name, folder, netns):
        self.name = name
        self.folder = pathlib.Path(folder) / name
        self.netns = netns
        binds = []
        for own, path in _OWN_FOLDERS.items():
            (self.folder / own).mkdir(parents=True)
            binds += [str(self.folder / own), path]
        # The user whom libvirt looks up before it reads that another is meant.
        for file, line in (("passwd", "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin"),
                           ("group", "libvirt-qemu:x:64055:")):
            (self.folder / file).write_text(pathlib.Path("/etc", file).read_text() + line + "\n")
            binds += [str(self.folder / file), f"/etc/{file}"]
        (self.folder / "etc/libvirtd.conf").write_text(
            f'host_uuid = "{uuid.uuid4()}"\nauth_unix_rw = "none"\nunix_sock_group = "root"\n'
            'log_outputs = "2:file:/var/log/libvirt/libvirtd.log"\n')
        (self.folder / "etc/qemu.conf").write_text(
            'user = "root"\ngroup = "root"\nsecurity_driver = "none"\ncgroup_controllers = []\nnamespaces = []\n'
            'remember_owner = 0\nstdio_handler = "file"\n')
        self.error_path = self.folder / "libvirtd.stderr"
        with open(self.error_path, "wb") as file:
            self._process = subprocess.Popen(
                ["ip", "netns", "exec", netns, "unshare", "-m", "-u", "bash", "-c", _START, "libvirtd", name, *binds],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.uri = f"qemu+unix:///system?socket={self.folder}/run/libvirt-sock"
        self.relay_socket = self.folder / "relay/migration.sock"

    def wait_started(self):
        """libvirtd asks every QEMU of the machine what it can do, first of all."""
        wait_until(self._answers, f"libvirtd of {self.name}; it says: {self.error_path.read_text()}", 60, poll_s=0.05)

    def _answers(self):
        assert self._process.poll() is None, f"libvirtd of {self.name} ended: {self.error_path.read_text()}"
        return (self.folder / "run/libvirt-sock").exists() and self.virsh("version", check=False).returncode == 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for name in self.virsh("list", "--name", check=False).stdout.split():
            self.virsh("destroy", name, check=False)
        self._process.terminate()
        self._process.wait()

    def virsh(self, *arguments, check=True, timeout_s=60):
        result = subprocess.run(["virsh", "-c", self.uri, *arguments], capture_output=True, text=True,
                                timeout=timeout_s, check=False)
        if check and result.returncode != 0:
            raise QmpError(f"virsh {' '.join(arguments)}: {result.stderr}")
        return result

    def state(self, guest, *options):
        """"running", "paused", …; empty where there is no such guest."""
        return self.virsh("domstate", guest, *options, check=False).stdout.strip()

    def job(self, guest, *options):
        """What virsh domjobinfo says, by name."""
        text = self.virsh("domjobinfo", guest, *options).stdout
        return dict(re.findall(r"^([^:]+):\s+(.*?)\s*$", text, re.MULTILINE))

    def inside(self, *command):
        """The command line that runs `command` on this host."""
        return ["nsenter", "-t", str(self._process.pid), "-m", "-u", "-n", *command]

    def migrate(self, guest, destination, *options):
        """Starts virsh migrate by the relay's sockets, and returns the process."""
        return subprocess.Popen(
            ["virsh", "-c", self.uri, "migrate", "--live", guest, "--desturi", destination.uri,
             "--migrateuri", f"unix://{RELAY_FOLDER}/migration.sock", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def domain(name, floppy, serial, memory_mib=64, monitor=None):
    """A guest that boots from `floppy`. With a `monitor` beside libvirt's, at that path, its memory is shared, too."""
    shared = "<memoryBacking><source type='memfd'/><access mode='shared'/></memoryBacking>" if monitor else ""
    own_monitor = f"""<qemu:commandline>
    <qemu:arg value='-qmp'/><qemu:arg value='unix:{monitor},server=on,wait=off'/>
  </qemu:commandline>""" if monitor else ""
    return f"""<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>{memory_mib}</memory>
  {shared}
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type><boot dev='fd'/></os>
  <devices>
    <emulator>{os.path.realpath('/usr/bin/qemu-system-x86_64')}</emulator>
    <controller type='usb' model='none'/>
    <disk type='file' device='floppy'>
      <driver name='qemu' type='raw'/><source file='{floppy}'/><target dev='fda'/><readonly/>
    </disk>
    <serial type='file'><source path='{serial}' append='on'/></serial>
    <memballoon model='none'/>
  </devices>
  {own_monitor}
</domain>
"""
