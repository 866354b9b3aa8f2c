# SPDX-License-Identifier: Apache-2.0
"""`godwit probe` on a machine of two NUMA nodes with a Soft-RoCE device on each: the devices' nodes and what follows from them."""

import json
import os
import pathlib
import subprocess

import pytest

GODWIT = os.environ["GODWIT"]
LAB = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "lab"
SCRIPT = f"""
{GODWIT} probe --json
echo ===
{GODWIT} probe
echo ===
lab-link 1 down
{GODWIT} probe --json
"""


@pytest.fixture(scope="module")
def probes():
    result = subprocess.run([LAB, "--nodes", "2", "sh", "-c", SCRIPT], capture_output=True, text=True, timeout=150,
                            stdin=subprocess.DEVNULL, check=False)
    parts = result.stdout.split("===\n")
    assert len(parts) == 3, result.stderr
    return parts


@pytest.fixture(scope="module")
def numa(probes):
    return json.loads(probes[0])["numa"]


def device(numa, name):
    return next(device for device in numa["devices"] if device["name"] == name)


@pytest.mark.parametrize("number", [0, 1])
def test_soft_roce_is_on_the_node_of_its_nic(numa, number):
    rxe = device(numa, f"rxe{number}")
    assert (rxe["kind"], rxe["node"], rxe["interface"], rxe["state"]) == ("rdma", number, f"data{number}", "ACTIVE")
    assert device(numa, f"data{number}")["node"] == number


@pytest.mark.parametrize("number", [0, 1])
def test_nodes_have_memory_cpus_and_distances(numa, number):
    node = numa["nodes"][number]
    assert node["node"] == number
    assert node["memory_bytes"] > 1500 << 20
    assert node["cpus"] == [number]
    assert node["distances"] == ([10, 20] if number == 0 else [20, 10])


@pytest.mark.parametrize("number", [0, 1])
def test_pages_take_the_rail_of_their_node_and_its_lane_runs_there(numa, number):
    assert numa["nodes"][number]["rails"] == [f"rxe{number}"]
    assert device(numa, f"rxe{number}")["lane"]["cpus"] == [number]
    assert device(numa, f"data{number}")["lane"] is None


def test_devices_tell_what_they_can_do(numa):
    features = device(numa, "rxe0")["features"]
    # Soft-RoCE of this kernel does neither, and is no PCI device.
    assert (features["on_demand_paging"], features["dma_buf"], features["relaxed_ordering"]) == (False, False, None)
    assert features["requests_max"] >= 1024 and features["reads_in_flight_max"] >= 16
    assert device(numa, "data0")["features"] is None


def test_text_says_the_same(probes):
    lines = [" ".join(line.split()) for line in probes[1].splitlines()]
    for line in ("rdma-devices rxe0 (NUMA node 0), rxe1 (NUMA node 1)", "pages take rxe1: on the pages' own node",
                 "rxe1 RDMA over data1, ACTIVE, node 1", "on-demand paging: no, dma-buf: no, relaxed ordering: not known; "
                 f"{device(json.loads(probes[0])['numa'], 'rxe1')['features']['requests_max']} requests in a queue, 128 reads at a time", "lane on CPUs 1: beside its rail on node 1"):
        assert line in lines


def test_device_that_is_down_carries_nothing(probes):
    numa = json.loads(probes[2])["numa"]
    assert device(numa, "rxe1")["state"] == "DOWN"
    assert device(numa, "rxe1")["lane"] is None
    assert numa["nodes"][1]["rails"] == ["rxe0"]
    assert numa["nodes"][1]["reason"] == "rxe0: on node 0, at distance 20"
