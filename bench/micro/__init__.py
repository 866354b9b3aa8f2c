# SPDX-License-Identifier: Apache-2.0
"""The microbenchmarks, repeated, and against another revision. Entry: scripts/bench-micro."""
