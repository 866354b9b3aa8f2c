# SPDX-License-Identifier: Apache-2.0
"""The tools under comparison. Each moves a guest between two started QEMUs and says what it measured itself.

Each tool is given the same downtime limit and no bandwidth limit. The clock starts with the command to the source, when
the destination is waiting already, and stops when the guest runs there; CPU time is counted from before the first
command to the end of the last agent.
"""

import dataclasses
import pathlib
import threading
import time

from harness import agent, relay
from harness.qmp import QmpError

UNLIMITED_BYTES_PER_S = 100 * 10**9


class DidNotComplete(Exception):
    """The tool gave up, or did not converge in time."""


@dataclasses.dataclass
class Outcome:
    """What the tool says of itself; times in milliseconds. wall_ms: until the guest ran there; finished_ms: until all was
    there, as well by our clock. agent_cpu_s: processes that are not QEMU; agent_memory_bytes: the most that one of them
    had beyond the mapped guest. started_s: of the command, by time.monotonic(). details: what else the tool says."""

    wall_ms: float
    reported_total_ms: float
    reported_downtime_ms: float
    reported_bytes: int
    agent_cpu_s: float = 0.0
    agent_memory_bytes: int = 0
    started_s: float = 0.0
    finished_ms: float = 0.0
    details: dict = dataclasses.field(default_factory=dict)


class QemuTool:
    """QEMU's own migration, over what the address says: "tcp:HOST:PORT", "rdma:HOST:PORT"."""

    def __init__(self, name, capabilities=(), parameters=None, address="tcp:127.0.0.1:4444"):
        self.name = name
        self._incoming = self._outgoing = address
        self._capabilities = ["events", *capabilities]
        self._parameters = parameters or {}

    def migrate(self, source, destination, folder, netns, downtime_limit_ms, timeout_s):
        del folder, netns
        for qemu in (destination, source):
            qemu.qmp.command("migrate-set-capabilities", capabilities=[
                {"capability": name, "state": True} for name in self._capabilities])
            qemu.qmp.command("migrate-set-parameters", **self._parameters, **{
                "downtime-limit": downtime_limit_ms, "max-bandwidth": UNLIMITED_BYTES_PER_S})
        destination.qmp.command("migrate-incoming", uri=self._incoming)
        started = time.monotonic()
        source.qmp.command("migrate", uri=self._outgoing)
        self.after_start(source)
        try:
            destination.qmp.wait_event("RESUME", timeout_s)
            wall_ms = (time.monotonic() - started) * 1e3
            source.qmp.wait_event("MIGRATION", timeout_s, lambda data: data["status"] in ("completed", "failed"))
        except QmpError as error:
            raise DidNotComplete(f"{self.name}: {error}") from error
        finished_ms = (time.monotonic() - started) * 1e3
        result = source.qmp.command("query-migrate")
        if result["status"] != "completed":
            raise DidNotComplete(f"{self.name}: {result['status']}: {result.get('error-desc')}")
        return Outcome(wall_ms, result["total-time"], result["downtime"], result["ram"]["transferred"],
                       started_s=started, finished_ms=finished_ms, details=self.details(source, destination))

    def after_start(self, source):
        """What is to be done once the migration has been started."""

    def details(self, source, destination):
        """What else QEMU says of a migration that has ended."""
        del source, destination
        return {}


class TunnelTool(QemuTool):
    """QEMU's own migration through `godwit relay`: out of one unix socket, into the other.

    `places` says whose memory the relays may reach: "" nobody's, "destination" or "both".
    """

    def __init__(self, name, capabilities=(), parameters=None, transport="tcp", places=""):
        super().__init__(name, capabilities, parameters)
        self._transport = transport
        self._places = places

    def migrate(self, source, destination, folder, netns, downtime_limit_ms, timeout_s):
        folder = pathlib.Path(folder)
        common = ("--once", "--transport", self._transport)
        there_too = ("--qmp", destination.agent_socket) if self._places else ()
        here_too = ("--qmp", source.agent_socket) if self._places == "both" else ()
        with relay.connect(folder, netns, *common, *there_too) as there, \
             relay.listen(folder, netns, *common, *here_too) as here:
            self._incoming, self._outgoing = f"unix:{folder}/in.sock", f"unix:{folder}/out.sock"
            outcome = super().migrate(source, destination, folder, netns, downtime_limit_ms, timeout_s)
            outcome.agent_cpu_s = here.cpu_seconds() + there.cpu_seconds()
        return outcome


class GodwitTool:
    """Two Godwit agents, one beside each QEMU. `arguments` are given to both."""

    def __init__(self, name="godwit", host="127.0.0.1", arguments=(), send_arguments=(), receive_arguments=()):
        self.name = name
        self._address = f"{host}:{agent.PORT}"
        self._send_arguments = (*arguments, *send_arguments)
        self._receive_arguments = (*arguments, *receive_arguments)

    def migrate(self, source, destination, folder, netns, downtime_limit_ms, timeout_s):
        with agent.receive(destination, folder, self._address, netns, extra=self._receive_arguments) as receiver:
            started = time.monotonic()
            with agent.send(source, folder, self._address, netns,
                            extra=(*self._send_arguments, "--downtime-limit", f"{downtime_limit_ms}ms")) as sender, \
                 _MemoryWatch(receiver, sender) as memory:
                try:
                    destination.qmp.wait_event("RESUME", timeout_s)
                    wall_ms = (time.monotonic() - started) * 1e3
                    if sender.wait(timeout_s) != 0:
                        raise DidNotComplete(f"{self.name}: send failed: {sender.output()}")
                    finished_ms = (time.monotonic() - started) * 1e3
                    receiver.wait(timeout_s)
                except (AssertionError, QmpError) as error:
                    raise DidNotComplete(f"{self.name}: {error}; it says: {sender.output()}") from error
                report = sender.report()
        return Outcome(wall_ms, report["total_ms"], report["downtime_ms"], report["bytes_sent"],
                       sender.cpu_seconds() + receiver.cpu_seconds(), memory.most_bytes, started, finished_ms,
                       {"source": report, "destination": receiver.report()})


class _MemoryWatch:
    """Looks at the agents' memory 50 times a second."""

    def __init__(self, *agents):
        self._agents = agents
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most_bytes = 0

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()

    def _run(self):
        while not self._end.wait(0.02):
            self.most_bytes = max(self.most_bytes, *(item.memory_bytes() for item in self._agents))
