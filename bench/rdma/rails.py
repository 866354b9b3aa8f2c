# SPDX-License-Identifier: Apache-2.0
"""Two rails against one, where each is limited to a rate: does a second link carry as much again?

Each rail is a veth pair with a Soft-RoCE device on either end, so that one machine holds both hosts. What is sent from
one end's address to the other's has to go over the pair, not over the loopback as between local addresses otherwise:
rules that come before the kernel's own table say so.
"""

import pathlib
import subprocess

from moves.measure import Profile
from moves.rows import Medians
from moves.tools import GodwitTool

COUNT = 2
RATE_MBIT = 80  # what two rails carry together is to be less than what this machine's CPUs do
WANT = 0.6      # of one rail's total time, at most: half, and what does not depend on the link

PROFILE = Profile("rails", "256 MiB guest, 128 MiB non-zero, idle", 0, 50, downtime_limit_ms=1000, memory_mib=256,
                  fill_mib=128)


class Links:
    """The links and devices; gone at the end of the with block."""

    def __enter__(self):
        # The kernel's own rule for local addresses comes first otherwise.
        _run("ip", "rule", "add", "preference", "1000", "lookup", "local")
        _run("ip", "rule", "delete", "preference", "0")
        _set("net/ipv4/conf/all/rp_filter", "0")
        for number in range(COUNT):
            self._make(number)
        return self

    def __exit__(self, *_):
        _run("ip", "rule", "add", "preference", "0", "lookup", "local")
        _run("ip", "rule", "delete", "preference", "1000")
        for number in range(COUNT):
            for host in (1, 2):
                _run("ip", "rule", "delete", "preference", str(_table(number, host)))
            _run("ip", "link", "delete", _netdev(number, 1))

    def _make(self, number):
        near, far = _netdev(number, 1), _netdev(number, 2)
        _run("ip", "link", "add", near, "mtu", "9000", "type", "veth", "peer", "name", far, "mtu", "9000")
        for host in (1, 2):
            device = _netdev(number, host)
            _set(f"net/ipv4/conf/{device}/accept_local", "1")
            _set(f"net/ipv4/conf/{device}/rp_filter", "0")
            _run("ip", "address", "add", f"{address(number, host)}/24", "dev", device)
            _run("ip", "link", "set", device, "up")
        for host in (1, 2):
            device, peer = _netdev(number, host), 3 - host
            lladdr = pathlib.Path(f"/sys/class/net/{_netdev(number, peer)}/address").read_text(encoding="ascii").strip()
            _run("ip", "neighbour", "replace", address(number, peer), "lladdr", lladdr, "dev", device)
            table = str(_table(number, host))
            _run("ip", "route", "add", address(number, peer), "dev", device, "table", table)
            _run("ip", "rule", "add", "preference", table, "iif", "lo", "from", address(number, host),
                 "to", address(number, peer), "lookup", table)
            _run("tc", "qdisc", "add", "dev", device, "root", "tbf", "rate", f"{RATE_MBIT}mbit", "burst", "64kb",
                 "limit", "8mb")
            _run("rdma", "link", "add", rail(number, host), "type", "rxe", "netdev", device)


def _run(*command):
    subprocess.run(command, check=True, capture_output=True, text=True)


def _set(name, value):
    pathlib.Path("/proc/sys", name).write_text(value, encoding="ascii")


def _netdev(number, host):
    return f"rail{number}h{host}"


def rail(number, host):
    return f"rxe_rail{number}h{host}"


def address(number, host):
    return f"10.78.{number}.{host}"


def _table(number, host):
    return 200 + 10 * number + host


def all_tools(host, key_file):
    def tool(count):
        def rails(end):
            return [word for number in range(count) for word in ("--rail", rail(number, end))]
        return GodwitTool(_name(count), host, ("--transport", "rdma", "--psk-file", key_file),
                          send_arguments=rails(1), receive_arguments=rails(2))
    return [tool(count) for count in range(1, COUNT + 1)]


def _name(count):
    return f"godwit-{count}-rail{'s' if count > 1 else ''}"


def markdown(all_rows):
    medians = Medians(all_rows)
    lines = [f"| rails, {RATE_MBIT} Mbit/s each | total ms | of one rail's | CPU s |", "|---|---|---|---|"]
    for count in range(1, COUNT + 1):
        if medians.get(PROFILE.name, _name(count), "wall") is not None:
            total = medians.cell(PROFILE.name, _name(count), "wall")
            cpu = medians.cell(PROFILE.name, _name(count), "cpu", digits=2)
            lines.append(f"| {count} | {total} | {_ratio(medians, count)} | {cpu} |")
    return "\n".join(lines)


def _ratio(medians, count):
    ours, one = (medians.get(PROFILE.name, _name(rails), "wall") for rails in (count, 1))
    return round(ours / one, 3) if ours is not None and one else None


def targets(all_rows):
    found = _ratio(Medians(all_rows), COUNT)
    return [{"name": f"{COUNT} rails: total time / one rail's", "value": found, "want": WANT, "better": "at most",
             "ok": found is not None and found <= WANT}]
