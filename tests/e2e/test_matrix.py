# SPDX-License-Identifier: Apache-2.0
"""`godwit bench matrix`: over hosts that are named, and under real launchers; what it names, and what it survives."""

import contextlib
import csv
import json
import subprocess

import pytest

from harness import bench, mpirun, paths
from harness.slurm import SlurmCluster
from harness.waiting import wait_until

# No rate but those of links that are limited is looked at.
QUICK = ("--time", "200ms", "--lanes", "1", "--memory", "8MiB")
# Long enough to be sure of a rate.
SURE = ("--time", "500ms", *QUICK[2:])
MATRIX = (str(paths.GODWIT), "bench", "matrix", "--transport", "tcp", *QUICK)


@contextlib.contextmanager
def serving(folder, star, *arguments):
    """`godwit bench serve` on every host."""
    with contextlib.ExitStack() as stack:
        servers = []
        for number, host in enumerate(star.hosts):
            place = folder / f"host-{number}"
            place.mkdir()
            servers.append(stack.enter_context(bench.Server(place, host.name, *arguments, address=star.address(number))))
        yield servers


def matrix(star, folder, hosts, *arguments):
    """Returns what it did, and its JSON."""
    path = folder / "matrix.json"
    command = bench.command(star.hub.name, "matrix", "--hosts", ",".join(hosts), "--json", str(path), *arguments)
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    print(result.stdout, result.stderr)
    return result, json.loads(path.read_text()) if path.exists() and path.stat().st_size else None


def all_addresses(star):
    return [star.address(number) for number in range(len(star.hosts))]


def named(report, kind):
    return [(finding["from"], finding["to"]) for finding in report["findings"] if finding["kind"] == kind]


def check_whole(report, names):
    """Every direction of every pair is there, with its numbers."""
    assert report["complete"] and [host["name"] for host in report["hosts"]] == names, report
    pairs = {(pair["from"], pair["to"]): pair for pair in report["pairs"]}
    assert set(pairs) == {(one, other) for one in names for other in names if one != other}
    for pair in [*report["pairs"], *report["at_once"]]:
        assert pair["failure"] is None and pair["bytes_per_s"] > 0 and pair["moved_bytes"] > 0, pair
    for pair in report["pairs"]:
        assert pair["reads"] > 0 and 0 < pair["read_p50_us"] <= pair["read_p99_us"], pair
    assert {pair["from"] for pair in report["at_once"]} == set(names)
    return pairs


def test_slow_link_is_named_with_its_direction(folder, star):
    key = folder / "key"
    subprocess.run([str(paths.GODWIT), "keygen", str(key)], check=True, capture_output=True)
    usual, slow = 400, 80
    for number in range(4):
        star.limit(number, usual, slower=(3, slow) if number == 1 else None)
    hosts = all_addresses(star)
    with serving(folder, star, "--psk-file", str(key)):
        csv_path = folder / "matrix.csv"
        result, report = matrix(star, folder, hosts, *SURE, "--psk-file", str(key), "--csv", str(csv_path))
    assert result.returncode == 0, result.stderr
    pairs = check_whole(report, hosts)
    assert (hosts[1], hosts[3]) in named(report, "slow_link") and (hosts[1], hosts[3]) in named(report, "asymmetry")
    assert f"{hosts[1]} -> {hosts[3]} is slow" in result.stdout
    # The links cannot carry more.
    for way, pair in pairs.items():
        megabits = slow if way == (hosts[1], hosts[3]) else usual
        assert pair["bytes_per_s"] * 8 < 1.05e6 * megabits, pair
    assert report["security"].startswith("TLS 1.3") and report["launcher"] is None
    rows = list(csv.DictReader(csv_path.read_text().splitlines()))
    assert len(rows) == len(report["pairs"]) + len(report["at_once"])
    assert float(rows[0]["bytes_per_s"]) == report["pairs"][0]["bytes_per_s"]


def test_slow_host_is_named_instead_of_its_links(folder, star):
    for number in range(4):
        star.limit(number, 80 if number == 2 else 400)
    hosts = all_addresses(star)
    with serving(folder, star, "--insecure"):
        result, report = matrix(star, folder, hosts, *SURE, "--insecure")
    assert result.returncode == 0, result.stderr
    assert (hosts[2], None) in named(report, "slow_sender")
    assert hosts[2] not in [one for one, _ in named(report, "slow_link")]


def test_dead_hosts_are_named_and_the_others_measured(folder, star):
    hosts = [*all_addresses(star), "10.72.0.77"]
    with serving(folder, star, "--insecure") as servers:
        command = bench.command(star.hub.name, "matrix", "--hosts", ",".join(hosts), "--insecure", *QUICK, "--json",
                                str(folder / "matrix.json"))
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            wait_until(lambda: "measures a matrix" in servers[2].output(), "the matrix having begun")
            servers[2].process.kill()
            output, errors = process.communicate(timeout=60)
        first = json.loads((folder / "matrix.json").read_text())
        # Those that are left are there for the next one.
        rest = [hosts[number] for number in (0, 1, 3)]
        again, second = matrix(star, folder, rest, *QUICK, "--insecure")
    assert process.returncode == 1, errors
    assert f"! {hosts[4]} is lost: " in output and f"! {hosts[2]} is lost: " in output, output
    assert [bool(host["lost"]) for host in first["hosts"]] == [False, False, True, False, True]
    measured = {(pair["from"], pair["to"]) for pair in first["pairs"] if pair["failure"] is None}
    assert measured >= {(one, other) for one in rest for other in rest if one != other}, first
    assert again.returncode == 0
    check_whole(second, rest)


def launched(result, launcher, names=None):
    """Checks a matrix that a launcher ran; stdout is its JSON."""
    print(result.stdout, result.stderr)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["launcher"] == launcher and report["security"] == "TLS 1.3, pre-shared key"
    assert len(report["hosts"]) >= 3
    check_whole(report, names or [host["name"] for host in report["hosts"]])
    # Only the first process says anything.
    assert result.stderr.count("rounds of pairs") == 1
    return report


@pytest.mark.parametrize("launch, launcher", [(mpirun.open_mpi, "PMIx"), (mpirun.mpich, "PMI-2")],
                         ids=("open-mpi", "mpich"))
def test_under_mpirun_over_namespaces(folder, star, launch, launcher):
    report = launched(launch(folder, star, *MATRIX, "--json", "-"), launcher)
    assert sorted(pair["address"].split(":")[0] for pair in report["at_once"]) == all_addresses(star)


def test_under_mpirun_on_one_machine(network):
    report = launched(mpirun.open_mpi_here(network, 3, *MATRIX, "--json", "-"), "PMIx")
    assert all(host["name"].endswith(f"/{rank}") for rank, host in enumerate(report["hosts"]))


def test_under_slurm(folder, star):
    with SlurmCluster(folder, star) as slurm:
        for kind, launcher in (("pmix", "PMIx"), ("pmi2", "PMI-2")):
            launched(slurm.srun(f"--mpi={kind}", *MATRIX, "--json", "-"), launcher, slurm.nodes)
        result = slurm.srun(*MATRIX)
        assert result.returncode == 4 and "--mpi=pmix" in result.stderr, result


def test_what_cannot_be_is_refused_before_anything_is_begun(folder, network):
    for arguments, code, word in (
            ((), 4, "--hosts"), (("--hosts", "127.0.0.1"), 4, "two hosts"),
            (("--hosts", "127.0.0.1,127.0.0.1"), 4, "twice"),
            (("--hosts", "127.0.0.1,127.0.0.2"), 4, "fewer than two"),
            (("--hosts", "192.0.2.1,192.0.2.2"), 4, "--insecure"),
            (("--hosts", "127.0.0.1,127.0.0.2", "--transport", "tcp"), 4, "bench serve"),
            (("--hosts", "127.0.0.1,127.0.0.2", "--json", "/nonexistent/report"), 4, "/nonexistent/report"),
            (("--time", "1ms"), 4, "--time"), (("--time", "soon"), 2, "soon"), (("--lanes", "0"), 2, "lanes")):
        command = bench.command(network.name, "matrix", *arguments)
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
                                check=False)
        assert result.returncode == code and word in result.stderr, (arguments, result)
