# SPDX-License-Identifier: Apache-2.0
"""Network namespaces: a private loopback, or two hosts joined by a veth pair.

Each test has namespaces of its own, so that fixed ports never collide and a link can be cut without anyone else
noticing. TCP uses cubic or reno in them: bbr, where it is the default, halves what a local link carries.
"""

import itertools
import os
import subprocess

_serial_numbers = itertools.count()


def _ip(*arguments):
    subprocess.run(["/sbin/ip", *arguments], check=True, capture_output=True, text=True)


class Namespace:
    """One network namespace with its loopback up; gone, with all its links, at the end of the with block."""

    def __init__(self):
        self.name = f"godwit-{os.getpid()}-{next(_serial_numbers)}"
        _ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")
        self._choose_congestion_control()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["/sbin/ip", "netns", "del", self.name], check=False, capture_output=True)

    def run(self, *command):
        return subprocess.run(["/sbin/ip", "netns", "exec", self.name, *command],
                              check=True, capture_output=True, text=True).stdout

    def ip(self, *arguments):
        _ip("-n", self.name, *arguments)

    def _choose_congestion_control(self):
        # cubic may be reserved for the host's own namespace; without loss, reno grows and holds just as it does.
        for name in ("cubic", "reno"):
            try:
                self.run("/sbin/sysctl", "-q", "-w", f"net.ipv4.tcp_congestion_control={name}")
                break
            except subprocess.CalledProcessError:
                continue

    def bytes_received(self, device="lo"):
        return int(self.run("cat", f"/sys/class/net/{device}/statistics/rx_bytes"))

    def connections(self):
        """(local port, remote port) of every established TCP connection, seen from here."""
        return _connections(self.run)

    def reset_connection(self, local_port):
        """Ends the connection as if its other end had said so, for both."""
        self.run("/bin/ss", "-K", "-tn", "state", "established", "sport", "=", f":{local_port}")


class HostNetwork:
    """The host's own namespace, as a Namespace: for what lives there alone."""

    name = None
    connections = Namespace.connections
    reset_connection = Namespace.reset_connection

    def run(self, *command):
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def bytes_received(self, device="lo"):
        return int(self.run("cat", f"/sys/class/net/{device}/statistics/rx_bytes"))


def _connections(run):
    rows = [line.split() for line in run("/bin/ss", "-tnH", "state", "established").splitlines()]
    return [tuple(int(address.rsplit(":", 1)[1]) for address in row[2:4]) for row in rows]


def connect(one, one_device, other, other_device):
    """Joins two namespaces by a veth pair, both ends up."""
    _ip("link", "add", one_device, "netns", one.name, "type", "veth", "peer", "name", other_device, "netns", other.name)
    one.ip("link", "set", one_device, "up")
    other.ip("link", "set", other_device, "up")


class Pair:
    """Two namespaces, `source` (10.71.0.1) and `destination` (10.71.0.2), joined by one link that can be cut."""

    SOURCE_ADDRESS = "10.71.0.1"
    DESTINATION_ADDRESS = "10.71.0.2"

    def __init__(self):
        self.source = Namespace()
        self.destination = Namespace()
        connect(self.source, "link0", self.destination, "link0")
        for namespace, address in ((self.source, self.SOURCE_ADDRESS), (self.destination, self.DESTINATION_ADDRESS)):
            namespace.ip("addr", "add", f"{address}/24", "dev", "link0")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.source.__exit__()
        self.destination.__exit__()

    def cut(self):
        self.destination.ip("link", "set", "link0", "down")

    def mend(self):
        self.destination.ip("link", "set", "link0", "up")


class Star:
    """Hosts (10.72.0.1, 10.72.0.2, …), a namespace each, joined by a switch in one more, which is 10.72.0.254."""

    HUB_ADDRESS = "10.72.0.254"
    DEVICE = "link0"

    def __init__(self, count):
        self.hub = Namespace()
        self.hosts = [Namespace() for _ in range(count)]
        self.hub.ip("link", "add", "switch", "type", "bridge")
        self.hub.ip("addr", "add", f"{self.HUB_ADDRESS}/24", "dev", "switch")
        self.hub.ip("link", "set", "switch", "up")
        for number, host in enumerate(self.hosts):
            connect(host, self.DEVICE, self.hub, f"port{number}")
            self.hub.ip("link", "set", f"port{number}", "master", "switch")
            host.ip("addr", "add", f"{self.address(number)}/24", "dev", self.DEVICE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for namespace in (*self.hosts, self.hub):
            namespace.__exit__()

    @staticmethod
    def address(number):
        return f"10.72.0.{number + 1}"

    def limit(self, number, megabits, slower=None):
        """What host `number` sends goes at so many Mbit/s; `slower` is another host's number, and the rate to that."""
        def tc(*arguments):
            self.hosts[number].run("/sbin/tc", *arguments)
        shaped = ("dev", self.DEVICE, "parent")
        tc("qdisc", "add", "dev", self.DEVICE, "root", "handle", "1:", "htb", "default", "10")
        tc("class", "add", *shaped, "1:", "classid", "1:10", "htb", "rate", f"{megabits}mbit", "burst", "128kb")
        if slower:
            other, rate = slower
            tc("class", "add", *shaped, "1:", "classid", "1:20", "htb", "rate", f"{rate}mbit", "burst", "32kb")
            tc("filter", "add", *shaped, "1:", "protocol", "ip", "u32", "match", "ip", "dst", self.address(other),
               "flowid", "1:20")
