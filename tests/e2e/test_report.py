# SPDX-License-Identifier: Apache-2.0
"""Pages of --report, of real runs, in a real browser: what they show, and that they keep to themselves."""

import contextlib
import json
import re
import subprocess

import pytest

from harness import bench, paths
from harness.boot_sector import BootSector
from harness.page import Browser
from harness.qemu import MIB, Memory
from harness.scenario import COMPLETED, scenario

# One colour is an empty canvas; axes and their text alone have a few, by the smoothing of letters.
COLOURS_OF_LINES = 40
ANY_TEXT = "</script><script>document.title = 'owned'</script><!-- <script> \u2028 \"&amp;"


@pytest.fixture(scope="module")
def browser():
    with Browser() as browser:
        yield browser


def report(*arguments):
    return subprocess.run([str(paths.GODWIT), "report", *map(str, arguments)], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL, check=False)


def assert_well_drawn(page, expected_charts):
    """In both schemes and on paper, without a complaint or a request."""
    drawn = {}
    for scheme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 27)")):
        page.set_scheme(scheme)
        assert page.background() == background
        drawn[scheme] = page.charts()
        assert set(expected_charts) <= set(drawn[scheme]), drawn[scheme].keys()
        for name, colours in drawn[scheme].items():
            assert len(colours) > COLOURS_OF_LINES, (scheme, name, len(colours))
        page.show(f"{page.run('return document.title')} {scheme}".replace("/", "-"))
    for name, colours in drawn["light"].items():
        assert colours != drawn["dark"][name], name
    assert page.print().startswith(b"%PDF")
    assert page.complaints() == [] and page.requests() == []
    told = page.names_told()
    for name in expected_charts:
        assert any(told_name == name for _, told_name in told), (name, told)


def test_bench_is_drawn_with_its_own_numbers(folder, network, browser):
    page_path = folder / "bench.html"
    with bench.Server(folder, network.name):
        run, text = bench.measure(folder, network.name, "127.0.0.1", "--time", "2s", "--size", "4KiB,1MiB", "--memory", "32MiB",
                                  "--report", str(page_path))
    for result in run["latency"]:
        points = result["distribution"]
        assert points == sorted(points) and points[-1] == [result["max_us"], 1.0]
        assert [result["p50_us"], 0.5] in points and [result["p99_us"], 0.99] in points
    assert "share of all that took at most so long" in text

    page = browser.open(page_path)
    assert_well_drawn(page, ["Bandwidth by size of a transfer", "Latency of writes", "Latency of reads",
                             "Latency of messages", "Latency of page faults"])
    assert page.run("return document.title") == f"The way to {run['peer']} – Godwit"
    head, *rows = page.table("Bandwidth: every result")
    assert len(rows) == len(run["bandwidth"]) and head[4] == "rate"
    for row, result in zip(rows, run["bandwidth"]):
        assert row[0].startswith(result["verb"]) and row[2] == str(result["lanes"])
        figure, unit = row[4].split()[:2]
        assert float(figure) * {"kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9}[unit] == pytest.approx(result["bytes_per_s"], rel=0.005)
    assert len(page.table("Latency of writes")) == 1 + len(run["latency"][0]["distribution"])
    # The page has the very document that --json has.
    embedded = json.loads(page.run("return document.getElementById('runs').textContent"))
    assert embedded["runs"][0]["document"] == run


def test_charts_are_read_by_keyboard(folder, network, browser):
    with bench.Server(folder, network.name):
        bench.measure(folder, network.name, "127.0.0.1", "--time", "1s", "--size", "4KiB,1MiB", "--memory", "32MiB", "--report",
                      str(folder / "bench.html"))
    page = browser.open(folder / "bench.html")
    chart = page.chart("Bandwidth by size of a transfer")
    readout = lambda: page.run("return arguments[0].parentElement.querySelector('[role=status]').textContent", chart)
    read = []
    for key in ("\ue014", "\ue014", "\ue012", "\ue010", "\ue00c"):  # right, right, left, end, escape
        chart.send_keys(key)
        read.append(readout().split(":")[0])
    assert read == ["4 KiB", "1 MiB", "4 KiB", "1 MiB", ""]
    before = page.charts()["Bandwidth by size of a transfer"]
    for line in chart.find_elements("xpath", "preceding-sibling::ul//button"):
        line.send_keys(" ")
        assert line.get_attribute("aria-pressed") == "false"
    assert page.charts()["Bandwidth by size of a transfer"] != before
    assert page.complaints() == []


def move(guests, folder, name, *options):
    """Returns the source's report; both sides leave a page."""
    with guests.receive("--report", str(folder / f"{name}-destination.html")) as receiver, \
         guests.send("--report", str(folder / f"{name}.html"), *options) as sender:
        assert sender.wait() == COMPLETED, sender.output() + receiver.output()
        assert receiver.wait() == COMPLETED, receiver.output()
        guests.assert_moved()
        (folder / f"{name}.json").write_text(json.dumps(sender.report()))
        return sender.report()


def assert_timeline_adds_up(run):
    samples = run["timeline"]["samples"]
    times = [sample["ms"] for sample in samples]
    assert len(samples) > 5 and times == sorted(times) and times[-1] <= run["total_ms"]
    sent = [sample["bytes_sent"] for sample in samples]
    assert sent == sorted(sent) and samples[-1]["rail_bytes_sent"] in ([], [rail["bytes_sent"] for rail in run["rails"]])
    # What was carried between samples adds up to what was sent.
    begin = [run["setup_ms"], *times]
    carried = sum(sample["throughput_bytes_per_s"] * (sample["ms"] - before) / 1e3 for sample, before in zip(samples, begin))
    assert carried == pytest.approx(sent[-1], rel=0.01)
    starts = [round["start_ms"] for round in run["rounds"]]
    assert starts == sorted(starts) and 0 < starts[0] and starts[-1] < run["total_ms"]
    assert 0 < run["downtime_start_ms"] <= run["total_ms"] - run["downtime_ms"]
    states = [phase["state"] for phase in run["timeline"]["phases"]]
    assert states[0] == "connecting" and "precopy" in states and states[-1] == "completed"


def test_migrations_are_drawn_and_compared(folder, network, browser):
    runs = {}
    with scenario(folder, network, BootSector(dirty_mib=16)) as guests:
        runs["precopy"] = move(guests, folder, "precopy", "--bandwidth-limit", "400Mbit")
    later = folder / "later"
    later.mkdir()
    with scenario(later, network, BootSector(fill_end=96 * MIB, dirty_mib=80), Memory(128)) as guests:
        runs["postcopy"] = move(guests, folder, "postcopy", "--post-copy", "auto", "--downtime-limit", "10ms",
                                "--bandwidth-limit", "400Mbit")
    assert_timeline_adds_up(runs["precopy"])
    assert runs["precopy"]["timeline"]["samples"][-1]["bytes_sent"] == runs["precopy"]["bytes_sent"]
    assert runs["postcopy"]["timeline"]["samples"][-1]["faults"] > 0

    over_time = ["Throughput and dirty rate", "Remaining memory", "Downtime: predicted against actual", "Rail use",
                 "Memory sent by round"]
    page = browser.open(folder / "precopy.html")
    assert_well_drawn(page, over_time)
    assert page.run("return document.title") == f"Migration {runs['precopy']['session']} – Godwit"
    rounds = page.table("Rounds")[1:]
    assert [row[1] for row in rounds] == [round["kind"] for round in runs["precopy"]["rounds"]]
    assert [row[3].replace(",", "") for row in rounds] == [str(round["dirty_pages"]) for round in runs["precopy"]["rounds"]]
    assert page.table("Predicted against actual")[1][0] == "downtime"

    assert_well_drawn(browser.open(folder / "postcopy.html"), [*over_time, "Latency of page faults", "Page faults"])
    destination = browser.open(folder / "postcopy-destination.html")
    assert_well_drawn(destination, ["Latency of page faults", "Waited for missing pages"])

    compared = report(folder / "precopy.json", folder / "postcopy.json", "--report", folder / "both.html")
    assert compared.returncode == 0, compared.stderr
    figure, unit = re.search(r"(?m)^downtime +([\d.]+) (ms|s)\b", compared.stdout).groups()
    assert float(figure) * {"ms": 1, "s": 1e3}[unit] == pytest.approx(runs["precopy"]["downtime_ms"], rel=0.01)
    page = browser.open(folder / "both.html")
    assert_well_drawn(page, ["Throughput and dirty rate", "Remaining memory"])
    shown = {row[0]: row[1:] for row in page.table("Each run against the first")}
    assert shown["outcome"] == ["completed", "completed"] and shown["page faults"][0] == "-"
    for line in compared.stdout.splitlines()[1:3]:
        assert line.split()[0] in shown


def test_bandwidth_between_nodes_is_a_matrix(folder, browser):
    rates = {(0, 0): 9e9, (0, 1): 4e9, (1, 0): 5e9, (1, 1): 8e9}
    run = {"schema": 1, "paths": [{"rail": "r"}], "latency": [], "bandwidth": [
        {"verb": "write", "size_bytes": 1 << 20, "rails": ["r"], "memory_node": here, "peer_memory_node": there, "bytes_per_s": rate}
        for (here, there), rate in rates.items()]}
    (folder / "nodes.json").write_text(json.dumps(run))
    assert report(folder / "nodes.json", "--report", folder / "nodes.html").returncode == 0

    page = browser.open(folder / "nodes.html")
    cells = page.run("return [...document.querySelectorAll('table.matrix tr')].map((row) => [...row.cells].map((cell) => cell.textContent))")
    assert [row[1:] for row in cells] == [["0", "1"], ["9 GB/s", "4 GB/s"], ["5 GB/s", "8 GB/s"]]
    heat = page.run("return [...document.querySelectorAll('table.matrix td')].map((cell) => getComputedStyle(cell).backgroundColor)")
    assert len(set(heat)) == 4
    assert page.complaints() == []


def test_matrix_of_hosts_is_drawn(folder, network, browser):
    hosts = ["127.0.0.1", "127.0.0.2"]
    with contextlib.ExitStack() as servers:
        for host in hosts:
            place = folder / host
            place.mkdir()
            servers.enter_context(bench.Server(place, network.name, address=host))
        command = bench.command(network.name, "matrix", "--hosts", ",".join(hosts), "--time", "200ms", "--lanes", "1", "--memory", "8MiB",
                                "--json", str(folder / "matrix.json"), "--report", str(folder / "matrix.html"))
        subprocess.run(command, check=True, capture_output=True, timeout=60, stdin=subprocess.DEVNULL)
    run = json.loads((folder / "matrix.json").read_text())

    page = browser.open(folder / "matrix.html")
    assert page.complaints() == [] and page.requests() == []
    assert page.run("return document.title") == "The ways between 2 hosts – Godwit"
    matrices = page.run("return [...document.querySelectorAll('table.matrix')].map((table) => [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent)))")
    assert len(matrices) == 4
    rates = {(way["from"], way["to"]): way["bytes_per_s"] for way in run["pairs"]}
    head, *rows = matrices[0]
    assert head[1:] == hosts and [row[0] for row in rows] == hosts
    assert rows[0][1] == rows[1][2] == "–"
    for cell, way in ((rows[0][2], (hosts[0], hosts[1])), (rows[1][1], (hosts[1], hosts[0]))):
        figure, unit = cell.split()
        assert float(figure) * {"kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9}[unit] == pytest.approx(rates[way], rel=0.005)
    assert len(page.table("Every direction")) == 1 + len(run["pairs"]) + len(run["at_once"])
    page.show("matrix light")

    compared = report(folder / "matrix.json", folder / "matrix.json", "--report", folder / "both.html")
    assert compared.returncode == 0 and f"{hosts[0]} -> {hosts[1]}" in compared.stdout
    page = browser.open(folder / "both.html")
    assert page.complaints() == [] and len(page.run("return document.querySelectorAll('table.matrix')")) == 8


def test_texts_of_a_run_stay_texts(folder, browser):
    run = {"schema": 1, "software": ANY_TEXT, "peer": ANY_TEXT, "security": ANY_TEXT, "transport_note": ANY_TEXT, "duration_s": "1",
           "paths": [{"rail": ANY_TEXT, "link": 7, "peer_link": None}], "findings": [ANY_TEXT, {}], "unknown": {"a": [[1]]},
           "bandwidth": [{"verb": ANY_TEXT, "size_bytes": 4096, "bytes_per_s": 1e9, "rails": [ANY_TEXT]},
                         {"verb": 3, "size_bytes": "4096", "bytes_per_s": None, "rails": "x"}],
           "latency": [{"verb": "read", "size_bytes": 4096, "distribution": [[1, 0.5], [2, 1], "x", [None, 1], [-1, 0.2]]}]}
    (folder / "run.json").write_text(json.dumps(run))
    result = report(folder / "run.json", "--report", folder / "run.html")
    assert result.returncode == 0, result.stderr

    page = browser.open(folder / "run.html")
    assert page.complaints() == [] and page.requests() == []
    assert "owned'" in page.run("return document.querySelector('h1').textContent")
    assert page.run("return document.title") != "owned"
    assert page.run("return document.scripts.length") == 3
    assert json.loads(page.run("return document.getElementById('runs').textContent"))["runs"][0]["document"] == run
    assert set(page.charts()) == {"Bandwidth by size of a transfer", "Latency of reads"}
