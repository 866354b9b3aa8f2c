# SPDX-License-Identifier: Apache-2.0
"""The demo behind scripts/demo: a Linux guest moves from host A to host B while a client pings it.

  client 10.72.0.1 ── bridge ─┬─ host A: bridge ── tap ── guest 10.72.0.2 (before)
                              └─ host B: bridge ── tap ── guest 10.72.0.2 (after)
                     host A 10.71.0.1 ══ migration link ══ 10.71.0.2 host B
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

from harness import agent, linux_guest, paths
from harness.network import Namespace, Pair, connect
from harness.qemu import Machine, Memory, Qemu
from harness.waiting import wait_until

GUEST_ADDRESS = "10.72.0.2"
GUEST_MIB = 1024
MEMORY_LOAD_MIB = 128
DISK_POOL_MIB = 64
PING_INTERVAL_S = 0.01


def say(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


class Client:
    """The third namespace: everybody's bridge, and a ping that never stops."""

    def __init__(self, hosts, log_path):
        self.namespace = Namespace()
        self._log_path = log_path
        self._ping = None
        self.namespace.ip("link", "add", "bridge0", "type", "bridge")
        self.namespace.ip("link", "set", "bridge0", "up")
        self.namespace.ip("addr", "add", "10.72.0.1/24", "dev", "bridge0")
        for index, host in enumerate(hosts):
            connect(self.namespace, f"host{index}", host, "uplink")
            self.namespace.ip("link", "set", f"host{index}", "master", "bridge0")
            host.ip("link", "add", "bridge0", "type", "bridge")
            host.ip("tuntap", "add", "tap0", "mode", "tap")
            for device in ("uplink", "tap0"):
                host.ip("link", "set", device, "master", "bridge0")
                host.ip("link", "set", device, "up")
            host.ip("link", "set", "bridge0", "up")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._ping:
            self._ping.kill()
            self._ping.wait()
        self.namespace.__exit__()

    def start_ping(self):
        with open(self._log_path, "wb") as log:
            self._ping = subprocess.Popen(
                ["/sbin/ip", "netns", "exec", self.namespace.name, "ping", "-D", "-n", "-i", str(PING_INTERVAL_S),
                 GUEST_ADDRESS], stdout=log, stderr=log)
        wait_until(lambda: len(self.replies()) > 20, "the guest answering pings", 30)

    def replies(self):
        """[(arrival, sequence number)] so far."""
        return [(float(when), int(sequence)) for when, sequence in
                re.findall(r"^\[([\d.]+)\] \d+ bytes from .* icmp_seq=(\d+)", self._log_path.read_text(), re.M)]

    def stop_ping(self):
        """Ends the ping; returns the longest time between two replies and how many requests had none."""
        self._ping.send_signal(signal.SIGINT)
        self._ping.wait(10)
        replies = self.replies()
        gaps = [later[0] - earlier[0] for earlier, later in zip(replies, replies[1:])]
        sent = int(re.search(r"(\d+) packets transmitted", self._log_path.read_text())[1])
        return {"longest_gap_ms": round(max(gaps) * 1e3, 1), "sent": sent, "lost": sent - len(replies),
                "interval_ms": PING_INTERVAL_S * 1e3}


def choose_accelerator():
    """KVM where it boots this kernel, found out by booting it: nested or emulated KVM may not. Otherwise TCG."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    with tempfile.TemporaryDirectory() as folder:
        arguments = list(linux_guest.arguments())
        arguments[arguments.index("-append") + 1] = "console=ttyS0 earlyprintk=serial panic=1"
        machine = Machine(Memory(256), type="q35", accelerator="kvm", arguments=tuple(arguments))
        with contextlib.suppress(AssertionError), Qemu(machine, "probe", folder) as probe:
            probe.wait_serial("Linux version", timeout_s=4)
            return "kvm"
    return "tcg"


def uptime(qemu, which):
    beats = linux_guest.heartbeats(qemu.serial(), "alive")
    return beats[which][1] if beats else None


def checks(qemu, load):
    beats = linux_guest.heartbeats(qemu.serial(), load)
    return beats[-1][0] if beats else 0


def move(source, destination, hosts, folder):
    """Runs both agents, the sender's progress on our own terminal; returns the final report of the source."""
    listen = f"{hosts.DESTINATION_ADDRESS}:{agent.PORT}"
    key = pathlib.Path(folder) / "key"
    subprocess.run([paths.GODWIT, "keygen", key], check=True, capture_output=True)
    security = ("--psk-file", str(key))
    print(f"$ godwit receive --qmp {destination.agent_socket} --listen {listen} --psk-file {key}")
    print(f"$ godwit send --qmp {source.agent_socket} --to {listen} --psk-file {key}")
    with agent.receive(destination, folder, listen, hosts.destination.name, extra=security) as receiver, \
         agent.send(source, folder, listen, hosts.source.name, extra=security, output=agent.INHERIT) as sender:
        code = sender.wait(120)
        if code != 0:
            sys.exit(f"demo: godwit send ended with {code}")
        receiver.wait(30)
        return sender.report()


def run(version):
    say("Two hosts, a client, and a Linux guest on host A")
    accelerator = choose_accelerator()
    with tempfile.TemporaryDirectory(prefix="godwit-demo-", dir="/var/tmp") as folder, Pair() as hosts, \
         Client((hosts.source, hosts.destination), pathlib.Path(folder) / "ping.log") as client:
        disk = linux_guest.disk_image(folder, 256)
        machine = Machine(Memory(GUEST_MIB), version, "q35", accelerator, linux_guest.arguments(
            MEMORY_LOAD_MIB, DISK_POOL_MIB, disk, f"{GUEST_ADDRESS}/24", "tap0"))
        with Qemu(machine, "source", folder, netns=hosts.source.name) as source, \
             Qemu(machine, "destination", folder, incoming=True, netns=hosts.destination.name) as destination:
            source.wait_serial("OK disk", timeout_s=90)
            source.wait_serial("OK memory")
            print(f"guest up: QEMU {version}, {accelerator}, {GUEST_MIB} MiB; rewrites {MEMORY_LOAD_MIB} MiB, reads "
                  "its disk with O_DIRECT at depth 64")
            client.start_ping()

            say("It moves to host B")
            report = move(source, destination, hosts, folder)
            load_before = {load: checks(source, load) for load in ("memory", "disk")}
            wait_until(lambda: all(checks(destination, load) > before + 10000 for load, before in load_before.items())
                       or "BAD" in destination.serial(), "the guest checking its memory again", 90)
            ping = client.stop_ping()
            linux_guest.assert_memory_right(destination.serial())
            guest = {"memory_right": True, "checks_since": {
                load: checks(destination, load) - before for load, before in load_before.items()},
                "uptime_before_s": uptime(source, -1), "uptime_after_s": uptime(destination, -1)}
            return {"schema": "godwit-demo-1", "accelerator": accelerator, "qemu": version, "report": report,
                    "ping": ping, "guest": guest,
                    "source_status": source.qmp.status(), "destination_status": destination.qmp.status()}


def show(result):
    report, ping, guest = result["report"], result["ping"], result["guest"]
    say("It runs on host B")
    print(f"  total              {report['total_ms']:.0f} ms, {report['bytes_sent'] / 2**20:.0f} MiB sent, "
          f"{len(report['rounds'])} rounds")
    print(f"  downtime           {report['downtime_ms']:.1f} ms (predicted {report['predicted_downtime_ms']:.1f} ms)")
    print(f"  longest ping gap   {ping['longest_gap_ms']} ms (a ping every {ping['interval_ms']:.0f} ms; "
          f"{ping['lost']} of {ping['sent']} without an answer)")
    print(f"  guest's own check  right: {guest['checks_since']['memory']} pages and {guest['checks_since']['disk']} "
          "disk buffers looked at since")
    print(f"  uptime             {guest['uptime_before_s']:.1f} s before, {guest['uptime_after_s']:.1f} s after")
    print(f"  source             {result['source_status']}; destination {result['destination_status']}")


def main():
    parser = argparse.ArgumentParser(prog="scripts/demo", description="A Linux guest moves while it is pinged.")
    parser.add_argument("--json", metavar="FILE", help="write everything that is shown there as well")
    parser.add_argument("--qemu", choices=["7.2", "10.0"], default="7.2")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("demo: needs root (network namespaces, userfaultfd)")
    result = run(arguments.qemu)
    show(result)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if result["guest"]["uptime_after_s"] > result["guest"]["uptime_before_s"] else 1


sys.exit(main())
