# SPDX-License-Identifier: Apache-2.0
"""`godwit bench serve` and `godwit bench HOST` as processes."""

import json
import signal
import subprocess

from . import agent, paths
from .listening import listens
from .waiting import wait_until

PORT = 7473


def command(netns, *arguments):
    return [*(("/sbin/ip", "netns", "exec", netns) if netns else ()), str(paths.GODWIT), "bench", *arguments]


class Server:
    """Returns from its creation once it waits. Leaving the with block kills what is left of it."""

    def __init__(self, folder, netns, *arguments, address="127.0.0.1"):
        self.output_path = folder / "bench-serve.output"
        options = ("--listen", f"{address}:{PORT}", "--transport", agent.TRANSPORT, *arguments)
        with open(self.output_path, "ab") as file:
            self.process = subprocess.Popen(command(netns, "serve", *options), stdin=subprocess.DEVNULL,
                                            stdout=file, stderr=file)
        wait_until(lambda: listens(self.process.pid, PORT), f"the server waiting; it says: {self.output()}", 20)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def output(self):
        return self.output_path.read_text(errors="replace")

    def terminate(self):
        """Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def start(netns, *arguments):
    return subprocess.Popen(command(netns, *arguments), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def run(netns, *arguments):
    return subprocess.run(command(netns, *arguments, "--transport", agent.TRANSPORT), stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120, check=False)


def measure(folder, netns, *arguments):
    """Returns its JSON and what it printed."""
    result = run(netns, *arguments, "--json", str(folder / "bench.json"))
    assert result.returncode == 0, result.stderr
    return json.loads((folder / "bench.json").read_text()), result.stdout
