# SPDX-License-Identifier: Apache-2.0
"""The links that are measured: where each of the two processes runs, and how one finds the other."""

import contextlib
import dataclasses

from harness.network import Namespace, Pair
from moves.lab import DEVICE, HOST
from rdma import rails


@dataclasses.dataclass(frozen=True)
class Link:
    """netdev: the client's network device; None: whatever leads there."""

    name: str
    title: str
    address: str
    client_netns: str | None = None
    server_netns: str | None = None
    netdev: str | None = None
    rdma_device: str | None = None  # of the client
    server_rdma_device: str | None = None
    limits: bool = False  # the link, and not a CPU, says how fast it goes


@contextlib.contextmanager
def loopback():
    with Namespace() as namespace:
        yield Link("loopback", "loopback of a network namespace", "127.0.0.1", namespace.name, namespace.name, "lo")


@contextlib.contextmanager
def veth():
    with Pair() as pair:
        yield Link("veth", "two network namespaces joined by a veth pair", pair.DESTINATION_ADDRESS, pair.source.name,
                   pair.destination.name, "link0")


@contextlib.contextmanager
def rxe():
    yield RXE


@contextlib.contextmanager
def rxe_limited():
    with rails.Links():
        yield RXE_LIMITED


RXE = Link("rxe", "Soft-RoCE in the RDMA lab, one device to itself", HOST, rdma_device=DEVICE, server_rdma_device=DEVICE)
RXE_LIMITED = Link("rxe-limited", f"Soft-RoCE in the RDMA lab, over a veth pair of {rails.RATE_MBIT} Mbit/s",
                   rails.address(0, 2), rdma_device=rails.rail(0, 1), server_rdma_device=rails.rail(0, 2), limits=True)
ON_THIS_HOST = {"loopback": loopback, "veth": veth}
IN_LAB = {"rxe": (RXE, rxe), "rxe-limited": (RXE_LIMITED, rxe_limited)}
