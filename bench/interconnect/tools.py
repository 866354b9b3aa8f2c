# SPDX-License-Identifier: Apache-2.0
"""What measures a link: `godwit bench`, and what others have. Each is told the same sizes and the same time.

measure(link, time_s) returns {metric: value}: bytes per second, CPU seconds of both ends per GB, microseconds. time_s is
what each figure may take. Latency is one way, as all of them but ib_read_lat tell it.
"""

import json
import re
import tempfile

from harness import paths
from rdma import perftest
from rdma.processes import MeasurementFailed
from rdma.transfers import Transfer

from .processes import run_pair

KIB, MIB = 1 << 10, 1 << 20
SIZES = (4 * KIB, 64 * KIB, MIB)
BULK = MIB
STREAMS = (1, 2, 4)
LATENCY_BYTES = 4 * KIB


def bandwidth(size_bytes, streams=1):
    return f"bandwidth {size_bytes // KIB} KiB x{streams}"


def cpu(size_bytes, streams=1):
    return f"cpu {size_bytes // KIB} KiB x{streams}"


def godwits_depth(size_bytes):
    """How many transfers `godwit bench` has under way on a lane, unless told otherwise."""
    return min(max(4 * MIB // size_bytes, 2), 64)


LATENCY = f"latency {LATENCY_BYTES // KIB} KiB"
READ_LATENCY = f"read latency {LATENCY_BYTES // KIB} KiB"


def cases():
    """(size, streams) of what is moved."""
    return [(size, 1) for size in SIZES] + [(BULK, streams) for streams in STREAMS if streams > 1]


class Iperf3:
    """A stream of writes of one size. With `zero_copy` it sends from a file, without a copy."""

    PORT = 5201

    def __init__(self, name="iperf3", zero_copy=False):
        self.name = name
        self._options = ["-Z"] if zero_copy else []

    def measure(self, link, time_s):
        values = {}
        for size, streams in cases():
            ran = run_pair(link, self.PORT, ["iperf3", "-s", "-1", "-p", self.PORT],
                           ["iperf3", "-c", link.address, "-p", self.PORT, "-J", "-l", size, "-P", streams, "-t", time_s,
                            *self._options])
            received = json.loads(ran.output)["end"]["sum_received"]
            values[bandwidth(size, streams)] = received["bits_per_second"] / 8
            values[cpu(size, streams)] = ran.cpu_s / received["bytes"] * 1e9
        return values


class Qperf:
    """A stream of writes of one size, and messages to and fro."""

    name = "qperf"
    PORT = 19765

    def measure(self, link, time_s):
        values = {bandwidth(size): self._one(link, time_s, "tcp_bw", size, "bw", "bytes/sec") for size in SIZES}
        values[LATENCY] = self._one(link, time_s, "tcp_lat", LATENCY_BYTES, "latency", "ns") / 1e3
        return values

    def _one(self, link, time_s, test, size, field, unit):
        ran = run_pair(link, self.PORT, ["qperf", "-lp", self.PORT],
                       ["qperf", link.address, "-lp", self.PORT, "-uu", "-t", time_s, "-m", size, test])
        match = re.search(rf"{field} += +([\d.,]+) {re.escape(unit)}", ran.output)
        if not match:
            raise MeasurementFailed(f"qperf printed no {field} in {unit}: {ran.output}")
        return float(match[1].replace(",", ""))


class Ucx:
    """UCX's put over TCP: one-sided, as ours, and with a connection of its own choice."""

    name = "ucx put"
    PORT = 13337
    CALIBRATION_BYTES = 16 * MIB  # it takes a number of transfers, and no time

    def measure(self, link, time_s):
        values = {}
        for size in SIZES:
            bytes_per_s, _ = self._bandwidth(link, size, self.CALIBRATION_BYTES)
            values[bandwidth(size)], values[cpu(size)] = self._bandwidth(link, size, bytes_per_s * time_s)
        values[LATENCY] = self._run(link, "ucp_put_lat", LATENCY_BYTES, 2000)[0]["50.0_percentile_lat"]
        return values

    def _bandwidth(self, link, size, total_bytes):
        found, cpu_s_per_gb = self._run(link, "ucp_put_bw", size, max(64, int(total_bytes / size)))
        return found["overall_bw"] * MIB, cpu_s_per_gb

    def _run(self, link, test, size, iterations):
        environment = {"UCX_TLS": "tcp,self", **({"UCX_NET_DEVICES": link.netdev} if link.netdev else {})}
        warm_up = min(100, iterations // 10)
        ran = run_pair(link, self.PORT, ["ucx_perftest", "-p", self.PORT],
                       ["ucx_perftest", link.address, "-p", self.PORT, "-t", test, "-s", size, "-n", iterations,
                        "-w", warm_up, "-f", "-v"], environment)
        lines = [line.split(",") for line in ran.output.splitlines() if "," in line]
        if len(lines) < 2:
            raise MeasurementFailed(f"ucx_perftest printed no figures: {ran.output[-500:]}")
        return dict(zip(lines[-2], map(float, lines[-1]))), ran.cpu_s / ((iterations + warm_up) * size) * 1e9


class Libfabric:
    """fi_pingpong, the one benchmark of libfabric in Debian 12: messages to and fro, so latency only."""

    name = "libfabric"
    PORT = 47592

    def measure(self, link, time_s):
        del time_s
        command = ["fi_pingpong", "-p", "tcp", "-e", "msg", "-I", 2000, "-S", LATENCY_BYTES]
        ran = run_pair(link, self.PORT, [*command, "-B", self.PORT], [*command, "-P", self.PORT, link.address])
        # bytes #sent #ack total time MB/sec usec/xfer Mxfers/sec
        rows = [line.split() for line in ran.output.splitlines() if line.split()[:1] != ["bytes"] and line.strip()]
        if not rows or len(rows[-1]) != 8:
            raise MeasurementFailed(f"fi_pingpong printed no figures: {ran.output}")
        return {LATENCY: float(rows[-1][6])}


class Godwit:
    """`godwit bench`, one run for each number of lanes."""

    name = "godwit"
    PORT = 7473

    def __init__(self, transport="tcp", lanes=STREAMS):
        self._common = ["--insecure", "--transport", transport]
        self._lanes = lanes

    def measure(self, link, time_s):
        values = {}
        for lanes in self._lanes:
            sizes = SIZES if lanes == 1 else (BULK,)
            # Reads, latencies and faults have their share of the time as well.
            report, _ = self.run(link, sizes, lanes, 3 * time_s * len(sizes) + 2)
            for result in report["bandwidth"]:
                if result["verb"] == "write":
                    size = result["size_bytes"]
                    values[bandwidth(size, lanes)] = result["bytes_per_s"]
                    values[cpu(size, lanes)] = result["cpu_s_per_gb"] + result["peer_cpu_s_per_gb"]
            if lanes == 1:
                values |= self._latencies(report)
        return values

    @staticmethod
    def _latencies(report):
        found = {result["verb"]: result["p50_us"] for result in report["latency"]
                 if result["load"] == "none" and result["size_bytes"] == LATENCY_BYTES}
        # Until a write is known to be there it takes a message to and fro. A fault is a read, and more.
        return {LATENCY: found["write"] / 2, READ_LATENCY: found["read"]} if "write" in found else {}

    def run(self, link, sizes, lanes, time_s):
        """Returns the bench's own report, and how long it took."""
        with tempfile.NamedTemporaryFile() as file:
            ran = run_pair(link, self.PORT,
                           [paths.GODWIT, "bench", "serve", "--once", "--listen", f"{link.address}:{self.PORT}",
                            *self._common, *_rail(link.server_rdma_device)],
                           [paths.GODWIT, "bench", *self._common, *_rail(link.rdma_device), "--time", f"{time_s}s", "--json", file.name,
                            "--size", ",".join(f"{size // KIB}KiB" for size in sizes),
                            *(("--lanes", lanes) if lanes else ()), f"{link.address}:{self.PORT}"])
            with open(file.name, encoding="utf-8") as report:
                return json.load(report), ran.wall_s


def over_tcp():
    return [Iperf3(), Godwit(), Ucx(), Iperf3("iperf3 -Z", zero_copy=True), Qperf(), Libfabric()]


def _rail(device):
    return ("--rail", device) if device else ()


class Perftest:
    """ib_write_bw and ib_read_lat."""

    name = "perftest"
    BYTES = 32 * MIB
    ITERATIONS_MAX = 5000

    def measure(self, link, time_s):
        del time_s
        def one(verb, kind, size, iterations):
            return perftest.measure(Transfer(verb, kind, size, 1, iterations, link.rdma_device, godwits_depth(size),
                                             peer_device=link.server_rdma_device), link.address)

        values = {bandwidth(size): one("write", "bandwidth", size, min(self.ITERATIONS_MAX, self.BYTES // size))
                  ["mib_per_s"] * MIB for size in SIZES}
        return values | {READ_LATENCY: one("read", "latency", LATENCY_BYTES, 1000)["median_us"]}


def over_rdma():
    return [Perftest(), Godwit("rdma", lanes=(1,))]
