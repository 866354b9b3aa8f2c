# SPDX-License-Identifier: Apache-2.0
"""Waiting for conditions, with a deadline and a name for what did not happen."""

import time

# Deadlines are those of a free machine. On one with other work everything may take several times as long; how long
# things take is measured by the benchmarks.
PATIENCE = 3


def wait_until(condition, what, timeout_s=20.0, poll_s=0.01):
    """Polls until condition() is true and returns its value; fails with `what` when that takes PATIENCE times timeout_s."""
    deadline = time.monotonic() + timeout_s * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {PATIENCE} times {timeout_s} s: {what}")
        time.sleep(poll_s)
