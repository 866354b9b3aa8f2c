# SPDX-License-Identifier: Apache-2.0
"""The comparison with perftest and with QEMU's migration over RDMA. Entry: scripts/bench-rdma."""
