# SPDX-License-Identifier: Apache-2.0
"""One measurement by rdma_transport_bench, which does through Godwit's RDMA transport what perftest does."""

import json

from harness import paths

from .processes import run_pair

NAME = "godwit"
PORT = 7600


def measure(transfer, host):
    """Returns {"mib_per_s", …}, or {"median_us", "p99_us", …}."""
    options = ["--device", transfer.device, "--verb", transfer.verb, "--measure", transfer.measure,
               "--size", str(transfer.size_bytes), "--queue-pairs", str(transfer.queue_pairs),
               "--iterations", str(transfer.iterations), "--depth", str(transfer.depth), f"{host}:{PORT}"]
    program = str(paths.BUILD / "rdma_transport_bench")
    output = run_pair([program, "serve", *options], [program, "connect", *options],
                      lambda _, text: "listening" in text)
    return json.loads(output)
