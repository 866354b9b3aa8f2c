# SPDX-License-Identifier: Apache-2.0
"""A QMP client, for the tests' own socket into a QEMU: the agent has the other one.

Every wait has a deadline; a QEMU that has gone away raises QmpError at once.
"""

import contextlib
import json
import socket
import time


class QmpError(Exception):
    """QEMU said no, or is not there any more."""


class Qmp:
    def __init__(self, path, timeout_s=20.0):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._timeout_s = timeout_s
        self._socket.settimeout(timeout_s)
        self._buffer = b""
        self.events = []   # those that nobody has waited for yet
        self.history = []  # all of them
        try:
            self._socket.connect(path)
            self._receive()
            self.command("qmp_capabilities")
        except OSError as error:
            raise QmpError(f"QMP at {path}: {error}") from error

    def close(self):
        self._socket.close()

    def command(self, name, **arguments):
        """Runs one command and returns its answer; events that come in between are kept in self.events."""
        request = {"execute": name}
        if arguments:
            request["arguments"] = arguments
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
            while True:
                message = self._receive()
                if "event" in message:
                    continue
                if "error" in message:
                    raise QmpError(f"{name}: {message['error']['desc']}")
                return message["return"]
        except OSError as error:
            raise QmpError(f"{name}: {error}") from error

    def wait_event(self, name, timeout_s=20.0, matching=lambda data: True):
        """Returns the oldest event of that name whose data match, waiting for it if need be."""
        deadline = time.monotonic() + timeout_s
        while True:
            for index, event in enumerate(self.events):
                if event["event"] == name and matching(event.get("data", {})):
                    return self.events.pop(index)
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                raise QmpError(f"no {name} event within {timeout_s} s")
            self._socket.settimeout(remaining_s)
            try:
                self._receive()
            except TimeoutError:
                continue
            finally:
                self._socket.settimeout(self._timeout_s)

    def run_changes(self):
        """[(time, runs)] of every STOP and RESUME so far, by QEMU's own clock; also of a QEMU that has ended."""
        try:
            self.command("query-status")  # its answer comes after all earlier events
        except QmpError:
            with contextlib.suppress(QmpError, OSError):
                while True:
                    self._receive()
        return [(event["timestamp"]["seconds"] + event["timestamp"]["microseconds"] / 1e6, event["event"] == "RESUME")
                for event in self.history if event["event"] in ("STOP", "RESUME")]

    def status(self):
        return self.command("query-status")["status"]

    def _receive(self):
        while b"\n" not in self._buffer:
            chunk = self._socket.recv(65536)
            if not chunk:
                raise QmpError("QEMU closed the QMP connection")
            self._buffer += chunk
        line, self._buffer = self._buffer.split(b"\n", 1)
        message = json.loads(line)
        if "event" in message:
            self.events.append(message)
            self.history.append(message)
        return message
