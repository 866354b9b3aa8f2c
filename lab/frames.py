# SPDX-License-Identifier: Apache-2.0
"""The host's side of the frames in guest/frames.h: runs one command through the agent of a machine."""

import os
import signal
import socket
import struct
import sys
import threading

READY = b"H"
REQUEST = b"R"
INPUT = b"I"
OUTPUT = b"O"
ERROR = b"E"
ENDED = b"X"

PIECE_BYTES = 65536
_HEADER = struct.Struct("<cI")


class Closed(Exception):
    """The machine is gone."""


def receive(connection):
    """Returns the next frame: (kind, payload). Throws Closed at the end of the stream."""
    kind, length = _HEADER.unpack(_receive_bytes(connection, _HEADER.size))
    return kind, _receive_bytes(connection, length)


def run_command(connection, arguments, environment):
    """Runs a command in the machine as if it were our own: input, output, errors, folder.

    Returns its exit status as a shell has it: 128 + number when it died of a signal. Throws Closed when the machine
    goes away before the command's end.
    """
    strings = [os.getcwd(), str(len(arguments)), *arguments, *(f"{name}={value}" for name, value in environment.items())]
    try:
        _send(connection, REQUEST, b"".join(os.fsencode(string) + b"\0" for string in strings))
    except OSError:
        raise Closed from None
    # A thread of its own sends, so that neither direction waits for the other.
    threading.Thread(target=_send_input, args=(connection,), daemon=True).start()
    while True:
        kind, payload = receive(connection)
        if kind == OUTPUT:
            _write(1, payload)
        elif kind == ERROR:
            _write(2, payload)
        elif kind == ENDED:
            return _exit_status(*struct.unpack("<i", payload))


def _send(connection, kind, payload):
    connection.sendall(_HEADER.pack(kind, len(payload)) + payload, socket.MSG_NOSIGNAL)


def _receive_bytes(connection, count):
    data = b""
    while len(data) < count:
        try:
            piece = connection.recv(count - len(data))
        except ConnectionError:
            raise Closed from None
        if not piece:
            raise Closed
        data += piece
    return data


def _send_input(connection):
    try:
        while True:
            piece = _read_input()
            _send(connection, INPUT, piece)
            if not piece:
                return
    except OSError:
        # The machine is gone, which is noticed where its output is read.
        pass


def _read_input():
    try:
        return os.read(0, PIECE_BYTES)
    except OSError:
        # Closed, or a terminal that is not ours to read: no input.
        return b""


def _write(fd, data):
    while data:
        data = data[os.write(fd, data):]


def _exit_status(status):
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    print(f"lab: the command died of signal {-code} ({signal.Signals(-code).name})", file=sys.stderr, flush=True)
    return 128 - code
