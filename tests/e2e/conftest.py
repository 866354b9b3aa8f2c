# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests. The tests need root: namespaces, userfaultfd and other processes' memory."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import agent, paths  # noqa: E402
from harness.network import HostNetwork, Namespace, Pair, Star  # noqa: E402


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture
def folder():
    """A folder on a real disk (tmpfs has no O_DIRECT), gone after the test."""
    with tempfile.TemporaryDirectory(prefix="godwit-e2e-", dir="/var/tmp") as path:
        yield pathlib.Path(path)


@pytest.fixture
def network():
    """A namespace with nothing but its loopback; the host's own where the RDMA devices are needed."""
    if agent.TRANSPORT == "rdma":
        yield HostNetwork()
        return
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def pair():
    """Two namespaces joined by a link that can be cut."""
    if agent.TRANSPORT == "rdma":
        pytest.skip("RDMA devices live in the host's own namespace, and their link cannot be cut")
    with Pair() as hosts:
        yield hosts


@pytest.fixture
def star():
    """Four hosts, a namespace each, joined by a switch."""
    with Star(4) as hosts:
        yield hosts


@pytest.fixture(scope="session")
def linux_disk():
    """The disk image of the Linux guest's disk load; nobody writes to it."""
    from harness import linux_guest
    folder = tempfile.mkdtemp(prefix="godwit-e2e-disk-", dir="/var/tmp")
    yield linux_guest.disk_image(folder, 256)
    shutil.rmtree(folder)


@pytest.fixture
def huge_pages():
    """A hugetlbfs of 2 MiB pages with enough of them, given back afterwards."""
    count_file = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
    if not count_file.exists():
        pytest.skip("the kernel has no 2 MiB pages")
    before = count_file.read_text()
    mount = pathlib.Path("/var/tmp/godwit-hugetlbfs")
    mount.mkdir(exist_ok=True)
    count_file.write_text(str(int(before) + 80))
    if int(count_file.read_text()) < int(before) + 80:
        count_file.write_text(before)
        pytest.skip("no 80 free 2 MiB pages")
    subprocess.run(["mount", "-t", "hugetlbfs", "-o", "pagesize=2M", "none", mount], check=True)
    yield str(mount)
    subprocess.run(["umount", "-l", mount], check=True)
    count_file.write_text(before)


def require_godwit():
    assert paths.GODWIT.exists(), f"{paths.GODWIT} is not built (scripts/build)"
