# SPDX-License-Identifier: Apache-2.0
"""Two processes at the two ends of a link, and the CPU time that both took."""

import dataclasses
import os
import signal
import subprocess
import tempfile
import time

from harness.listening import listens
from harness.waiting import wait_until
from rdma.processes import MeasurementFailed

TIMEOUT_S = 120


@dataclasses.dataclass(frozen=True)
class Ran:
    """output: the client's stdout. wall_s: of the client. cpu_s: of both, from beginning to end."""

    output: str
    wall_s: float
    cpu_s: float


def inside(netns, command):
    return [*(("/sbin/ip", "netns", "exec", netns) if netns else ()), *map(str, command)]


def run_pair(link, port, server_command, client_command, environment=None):
    """Starts the server, waits until it listens, runs the client to its end, and ends the server."""
    environment = {**os.environ, **(environment or {})}
    with tempfile.TemporaryFile("w+") as server_output, tempfile.TemporaryFile("w+") as output, \
         tempfile.TemporaryFile("w+") as errors:
        server = subprocess.Popen(inside(link.server_netns, server_command), stdin=subprocess.DEVNULL,
                                  stdout=server_output, stderr=server_output, env=environment)
        usage = 0.0
        try:
            _wait_until_it_listens(server, port, server_output)
            started = time.monotonic()
            client = subprocess.Popen(inside(link.client_netns, client_command), stdin=subprocess.DEVNULL,
                                      stdout=output, stderr=errors, env=environment)
            usage += _await(client, TIMEOUT_S)
            wall_s = time.monotonic() - started
            if client.returncode != 0:
                raise MeasurementFailed(f"{' '.join(map(str, client_command))}: {_text(errors) or _text(output)}")
        finally:
            usage += _end(server)
        output.seek(0)
        return Ran(output.read(), wall_s, usage)


def _wait_until_it_listens(server, port, output):
    def ready():
        if server.poll() is not None:
            raise MeasurementFailed(f"{server.args} ended at once: {_text(output)}")
        return listens(server.pid, port)
    try:
        wait_until(ready, f"{server.args} listening on port {port}", 30, poll_s=0.02)
    except AssertionError as error:
        raise MeasurementFailed(str(error)) from error


def _text(file):
    file.seek(0)
    return file.read()[-500:].strip()


def _reap(process, flags):
    """CPU seconds; None while it runs. Those of its own children are in them, when it waited for them."""
    if process.returncode is not None:
        return 0.0
    pid, status, usage = os.wait4(process.pid, flags)
    if not pid:
        return None
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime


def _await(process, timeout_s):
    try:
        return _poll(process, timeout_s)
    except AssertionError as error:
        process.kill()
        _reap(process, 0)
        raise MeasurementFailed(f"{process.args} did not end within {timeout_s} s") from error


def _poll(process, timeout_s):
    found = []

    def ended():
        usage = _reap(process, os.WNOHANG)
        if usage is not None:
            found.append(usage)
        return bool(found)
    wait_until(ended, "its end", timeout_s, poll_s=0.005)
    return found[0]


def _end(server):
    """A server that serves once ends by itself; others are told to."""
    try:
        return _poll(server, 1)
    except AssertionError:
        pass
    server.send_signal(signal.SIGTERM)
    try:
        return _poll(server, 5)
    except AssertionError:
        server.kill()
        return _reap(server, 0)
