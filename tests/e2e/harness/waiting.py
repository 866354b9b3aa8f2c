# SPDX-License-Identifier: Apache-2.0
"""Waiting for conditions, with a deadline and a name for what did not happen."""

import time


def wait_until(condition, what, timeout_s=20.0, poll_s=0.01):
    """Polls until condition() is true and returns its value; fails with `what` after timeout_s."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what}")
        time.sleep(poll_s)
