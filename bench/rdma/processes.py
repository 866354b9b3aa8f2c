# SPDX-License-Identifier: Apache-2.0
"""A measurement by two processes: one serves, the other connects and prints what it measured."""

import subprocess
import tempfile

from harness.waiting import wait_until

TIMEOUT_S = 180


class MeasurementFailed(Exception):
    """One of the two processes failed, or did not end in time."""


def run_pair(server_command, client_command, is_ready):
    """Returns the client's output. is_ready(pid, output) says whether the server can be connected to."""
    with tempfile.TemporaryFile("w+") as output:
        server = subprocess.Popen(server_command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

        def text():
            output.seek(0)
            return output.read()

        def ready():
            if server.poll() is not None:
                raise MeasurementFailed(f"{server_command[0]} ended at once: {text()}")
            return is_ready(server.pid, text())

        try:
            wait_until(ready, f"{server_command[0]} being ready", TIMEOUT_S, poll_s=0.05)
            client = subprocess.run(client_command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                    timeout=TIMEOUT_S)
            if client.returncode != 0:
                raise MeasurementFailed(f"{client_command}: {client.stdout[-500:]}{client.stderr[-500:]}")
            return client.stdout
        except (subprocess.TimeoutExpired, AssertionError) as error:
            raise MeasurementFailed(str(error)) from error
        finally:
            try:
                server.wait(timeout=5 if server.poll() is None else 0)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
