# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the end-to-end tests. The tests need root: namespaces, userfaultfd and other processes' memory."""

import os
import pathlib
import shutil
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

from harness import agent, paths  # noqa: E402
from harness.network import HostNetwork, Namespace, Pair  # noqa: E402


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
    with Pair() as hosts:
        yield hosts


@pytest.fixture(scope="session")
def linux_disk():
    """The disk image of the Linux guest's disk load; nobody writes to it."""
    from harness import linux_guest
    folder = tempfile.mkdtemp(prefix="godwit-e2e-disk-", dir="/var/tmp")
    yield linux_guest.disk_image(folder, 256)
    shutil.rmtree(folder)


def require_godwit():
    assert paths.GODWIT.exists(), f"{paths.GODWIT} is not built (scripts/build)"
