# SPDX-License-Identifier: Apache-2.0
"""`--metrics`: what a real Prometheus server makes of real agents."""

import json
import re
import socket

import pytest

from harness import agent, bench, relay
from harness.boot_sector import BootSector
from harness.paths import REPOSITORY
from harness.prometheus import Prometheus, check_metrics, get
from harness.scenario import scenario
from harness.waiting import wait_until

pytestmark = pytest.mark.skipif(agent.TRANSPORT == "rdma", reason="of the program, whatever the transport")

SOURCE, DESTINATION = "127.0.0.1:9471", "127.0.0.1:9472"
AFTER_THE_REPORT_CPU_S = 0.1
LEAST_SENT = 4 << 20  # bytes, before we look
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def documented_metrics():
    return set(re.findall(r"(?m)^\| `(\w+)`", (REPOSITORY / "docs/metrics.md").read_text()))


def dashboard_expressions():
    dashboard = json.loads((REPOSITORY / "dist/grafana-dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert expressions
    return expressions


def test_prometheus_sees_a_guest_move(folder, network):
    with scenario(folder, network, BootSector(dirty_mib=4)) as guests, \
         Prometheus(folder, network, {"source": SOURCE, "destination": DESTINATION}) as prometheus, \
         guests.receive("--metrics", DESTINATION), \
         guests.send("--metrics", SOURCE, "--bandwidth-limit", "40Mbit") as sender:
        wait_until(lambda: (prometheus.value("max_over_time(godwit_migration_sent_bytes_total[5m])") or 0) > LEAST_SENT,
                   f"Prometheus seeing bytes; the sender says: {sender.output()}", poll_s=0.1)
        content_type, text = get(network, f"http://{SOURCE}/metrics", OPEN_METRICS)
        assert content_type.startswith(OPEN_METRICS) and text.endswith("# EOF\n")
        content_type, text = get(network, f"http://{SOURCE}/metrics")
        assert content_type.startswith("text/plain; version=0.0.4") and check_metrics(text) == ""
        assert sender.wait() == 0, sender.output()

        # What it saw last, against what the agent says in the end.
        report = sender.report()
        assert prometheus.value("max_over_time(godwit_migration_memory_bytes[5m])") == report["ram_bytes"]
        sent = prometheus.value("max_over_time(godwit_migration_sent_bytes_total[5m])")
        assert LEAST_SENT < sent <= report["bytes_sent"]
        rail_sent = prometheus.value('max_over_time(godwit_rail_sent_bytes_total{rail="tcp"}[5m])')
        assert LEAST_SENT < rail_sent <= report["bytes_sent"]
        # The last scrape may have come after the report was made.
        scraped_cpu_s = prometheus.value("max_over_time(process_cpu_seconds_total{job='source'}[5m])")
        assert 0 < scraped_cpu_s <= report["cpu_seconds"] + AFTER_THE_REPORT_CPU_S
        sessions = {(labels["session"], labels["role"])
                    for labels, _ in prometheus.query('max_over_time(godwit_migration_info{session!=""}[5m])')}
        assert sessions == {(report["session"], "source"), (report["session"], "destination")}
        for job, state in (("source", "precopy"), ("destination", "receiving")):
            seen = f'max_over_time(godwit_migration_state{{job="{job}", godwit_migration_state="{state}"}}[5m])'
            assert prometheus.value(seen) == 1, (job, state)
        assert prometheus.metadata("godwit_migration_sent_bytes") == {
            "type": "counter", "unit": "bytes", "help": "Payload that all lanes have sent, pages sent again included."}
        for expression in dashboard_expressions():
            prometheus.query(expression.replace("$session", ".*").replace("$__rate_interval", "5s"))
        guests.assert_moved()


def test_page_faults_of_post_copy_are_seen(folder, network):
    def read(metric):
        assert sender.alive(), f"it has ended: {sender.output()}"
        match = re.search(rf"(?m)^{metric} (\S+)$", get(network, f"http://{DESTINATION}/metrics", OPEN_METRICS)[1])
        return float(match[1]) if match else 0

    with scenario(folder, network, BootSector(dirty_mib=16)) as guests, \
         guests.receive("--metrics", DESTINATION) as receiver, \
         guests.send("--post-copy", "now", "--bandwidth-limit", "100Mbit") as sender:
        wait_until(lambda: read("godwit_migration_fetched_bytes_total"), "pages fetched")
        fetched, faults = (read(f"godwit_migration_{metric}")
                           for metric in ("fetched_bytes_total", "page_fault_latency_seconds_count"))
        assert sender.wait() == 0, sender.output()
        assert receiver.wait() == 0, receiver.output()
        post_copy = receiver.report()["post_copy"]
        assert fetched <= post_copy["fault_bytes"] + post_copy["background_bytes"]
        assert 0 < faults <= post_copy["faults"]


def test_agents_that_serve_others_have_metrics(folder, network):
    with bench.Server(folder, network.name, "--metrics", SOURCE, "--once") as server, \
         relay.connect(folder, network.name, "--metrics", DESTINATION):
        for address, metric in ((SOURCE, "godwit_benches_total"), (DESTINATION, "godwit_relay_streams_total")):
            _, text = get(network, f"http://{address}/metrics")
            assert metric in text and check_metrics(text) == ""
        bench.measure(folder, network.name, "127.0.0.1", "--time", "1s", "--size", "1MiB", "--memory", "16MiB")
        assert server.process.wait(20) == 0, server.output()


def test_relays_tell_how_far_a_stream_is(folder, network):
    def read(address, metric):
        return float(re.search(rf"(?m)^{metric} (\S+)$", get(network, f"http://{address}/metrics")[1])[1])

    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as source, \
         relay.connect(folder, network.name, "--metrics", DESTINATION), \
         relay.listen(folder, network.name, "--metrics", SOURCE):
        listener.bind(str(folder / "in.sock"))
        listener.listen()
        source.connect(str(folder / "out.sock"))
        source.sendall(b"stream")
        with listener.accept()[0] as destination:
            assert destination.recv(6, socket.MSG_WAITALL) == b"stream"
            # While it runs; what has been passed on is counted a moment later.
            wait_until(lambda: read(SOURCE, "godwit_relay_sent_bytes_total") == 6, "bytes sent")
            wait_until(lambda: read(DESTINATION, "godwit_relay_received_bytes_total") == 6, "bytes received")
            assert read(SOURCE, "godwit_relay_streams_running") == 1
            source.close()
            assert destination.recv(1) == b""
        wait_until(lambda: read(SOURCE, 'godwit_relay_streams_total{outcome="ended"}') == 1, "the stream ended")
        assert read(SOURCE, "godwit_relay_sent_bytes_total") == 6


def test_every_metric_is_documented(folder, network):
    names = set()
    with bench.Server(folder, network.name, "--metrics", SOURCE), \
         relay.connect(folder, network.name, "--metrics", DESTINATION):
        for address in (SOURCE, DESTINATION):
            names |= set(re.findall(r"(?m)^# TYPE (\w+)", get(network, f"http://{address}/metrics", OPEN_METRICS)[1]))
    sources = "".join((REPOSITORY / name).read_text() for name in ("cli/migration_metrics.cc", "cli/agent_metrics.cc"))
    names |= set(re.findall(r'"((?:godwit|process)_[a-z_]+)"', sources))
    assert names == documented_metrics()
    used = {name for expression in dashboard_expressions() for name in re.findall(r"\b(?:godwit|process)_\w+", expression)}
    for name in used:
        assert re.sub(r"_(total|info|count)$", "", name) in names, name


def test_address_that_is_taken_stops_an_agent_before_anything_starts(folder, network):
    with scenario(folder, network) as guests, guests.receive("--metrics", DESTINATION) as receiver, \
         guests.send("--metrics", DESTINATION) as sender:
        assert sender.wait() == 4, sender.output()
        assert DESTINATION in sender.output() and "in use" in sender.output()
        assert guests.source.qmp.status() == "running" and receiver.alive()
