# SPDX-License-Identifier: Apache-2.0
"""`godwit bench`: whether its numbers are right, where they are known, and how it ends."""

import csv
import signal
import subprocess
import time

import pytest

from harness import agent, bench
from harness.bench import Server
from harness.waiting import wait_until

HOST = "127.0.0.1"
# In the lab everything is emulated, a hundred times slower, and there are two rails.
SIZES_KIB = (64,) if agent.TRANSPORT == "rdma" else (4, 1024)
SHORT = ("--time", "4s", "--size", ",".join(f"{size}KiB" for size in SIZES_KIB), "--memory", "128MiB")

over_tcp = pytest.mark.skipif(agent.TRANSPORT == "rdma", reason="of the command, whatever the transport")


def results(report, kind, **fields):
    return [result for result in report[kind] if all(result[name] == value for name, value in fields.items())]


def test_every_size_is_measured_and_adds_up(folder, network):
    with Server(folder, network.name, "--once") as server:
        csv_path = folder / "bench.csv"
        report, text = bench.measure(folder, network.name, HOST, *SHORT, "--csv", str(csv_path))
        assert server.process.wait(20) == 0, server.output()
    print(text)
    assert report["schema"] == 1 and report["paths"][0]["transport"] == agent.TRANSPORT
    for verb in ("write", "read"):
        for size in (kib << 10 for kib in SIZES_KIB):
            found = results(report, "bandwidth", verb=verb, size_bytes=size)
            assert found and all(result["bytes_per_s"] > 1e6 for result in found)
            latency = results(report, "latency", verb=verb, size_bytes=size)[0]
            assert 0 < latency["p50_us"] <= latency["p90_us"] <= latency["p99_us"] <= latency["p99_9_us"] <= latency["max_us"]
        # All rails together, and each alone.
        ways = {tuple(result["rails"]) for result in results(report, "bandwidth", verb=verb)}
        rails = [path["rail"] for path in report["paths"]]
        assert ways == {tuple(rails), *((rail,) for rail in rails)}
    faults = results(report, "latency", verb="fault")
    assert [fault["load"] for fault in faults] == ["none", "full"] and faults[1]["load_bytes_per_s"] > 1e6
    assert all((path["registration_s_per_gib"] > 0) == (agent.TRANSPORT == "rdma") for path in report["paths"])
    assert results(report, "latency", verb="message")[0]["count"] > 10
    for result in report["bandwidth"]:
        # In all it has moved at least what it says for the time that the clock ran.
        assert result["moved_bytes"] >= 0.7 * result["bytes_per_s"] * result["duration_s"], result
        assert result["cpu_s_per_gb"] > 0 and result["peer_cpu_s_per_gb"] >= 0
    rows = list(csv.DictReader(csv_path.read_text().splitlines()))
    assert len(rows) == len(report["bandwidth"]) + len(report["latency"])
    assert float(rows[0]["bytes_per_s"]) == report["bandwidth"][0]["bytes_per_s"]
    assert "read" in text and "p99.9" in text


@over_tcp
def test_bytes_that_moved_are_those_on_the_wire(folder, network):
    with Server(folder, network.name):
        before = network.bytes_received()
        report, _ = bench.measure(folder, network.name, "--time", "2s", "--size", "64KiB", HOST, "--memory", "32MiB",
                                  "--lanes", "1")
        wire = network.bytes_received() - before
    moved = sum(result["moved_bytes"] for result in report["bandwidth"])
    moved += sum(result["count"] * result["size_bytes"] + result["load_moved_bytes"] for result in report["latency"])
    # Beside them: headers and acknowledgements, and what is done before the clock runs.
    assert moved <= wire <= 1.1 * moved + (64 << 20), (moved, wire)


@over_tcp
def test_link_of_a_known_rate_is_measured_as_that(folder, pair):
    # Both ways, since reads come back; no queue so short that TCP loses what it sent. Of a frame of 1514 bytes, 1448
    # are TCP's.
    megabits = 200
    for host in (pair.source, pair.destination):
        host.run("/sbin/tc", "qdisc", "add", "dev", "link0", "root", "tbf", "rate", f"{megabits}mbit",
                 "burst", "128kb", "limit", "8mb")
    address = pair.DESTINATION_ADDRESS
    with Server(folder, pair.destination.name, "--insecure", address=address):
        report, text = bench.measure(folder, pair.source.name, address, "--insecure", "--time", "8s", "--size", "64KiB",
                                     "--lanes", "1", "--memory", "16MiB")
    print(text)
    expected = megabits * 1e6 / 8 * 1448 / 1514
    for verb in ("write", "read"):
        for result in results(report, "bandwidth", verb=verb, size_bytes=64 << 10):
            # The link cannot carry more; less it does on a machine that is slow to wake for its timers.
            assert 0.5 * expected < result["bytes_per_s"] < 1.03 * expected, (verb, result, expected)


@over_tcp
def test_with_a_key_and_only_with_it(folder, network):
    key = folder / "key"
    subprocess.run([str(bench.paths.GODWIT), "keygen", str(key)], check=True, capture_output=True)
    with Server(folder, network.name, "--psk-file", str(key)):
        report, _ = bench.measure(folder, network.name, HOST, "--time", "1s", "--size", "64KiB", "--psk-file", str(key))
        assert "TLS 1.3" in report["security"]
        assert bench.run(network.name, HOST).returncode == 4


@over_tcp
def test_second_bench_is_told_that_it_has_to_wait(folder, network):
    with Server(folder, network.name) as server:
        with bench.start(network.name, HOST, "--transport", "tcp", "--time", "30s") as first:
            wait_until(lambda: "measures" in server.output(), "the first bench measuring")
            second = bench.run(network.name, HOST)
            assert second.returncode == 4 and "another bench" in second.stderr, second.stderr

            # Ctrl-C ends the first one, and not the server.
            first.send_signal(signal.SIGINT)
            assert first.wait(10) == 1, first.stderr.read()
        wait_until(lambda: "stopped" in server.output(), "the server having heard of it")
        bench.measure(folder, network.name, HOST, "--time", "1s", "--size", "64KiB")
        assert server.terminate() == 0


@over_tcp
def test_server_that_dies_ends_the_bench(folder, network):
    with Server(folder, network.name) as server, \
         bench.start(network.name, HOST, "--transport", "tcp", "--time", "30s") as client:
        wait_until(lambda: "measures" in server.output(), "the bench measuring")
        time.sleep(0.5)
        server.process.kill()
        assert client.wait(20) == 1
        assert client.stderr.read().strip()


@over_tcp
def test_what_cannot_be_is_refused_before_anything_is_begun(folder, network):
    for arguments, code, word in (
            ((HOST,), 4, "nobody listens"),                            # nobody is there
            (("192.0.2.1",), 4, "--insecure"),                         # another host, without security
            ((HOST, "--lanes", "8", "--size", "16MiB", "--memory", "16MiB"), 4, "--memory"),
            ((HOST, "--json", "/nonexistent/report"), 4, "/nonexistent/report"),
            ((), 2, "HOST"), ((HOST, "--size", "64"), 2, "64"), ((HOST, "--lanes", "0"), 2, "lanes"),
            ((HOST, "--time", "soon"), 2, "soon")):
        result = bench.run(network.name, *arguments)
        assert result.returncode == code and word in result.stderr, (arguments, result)
