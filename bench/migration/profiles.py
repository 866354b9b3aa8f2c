# SPDX-License-Identifier: Apache-2.0
"""What the guest does while it is moved."""

from moves.measure import Profile

PROFILES = [
    Profile("loop-100m", "4 GiB guest, 3 GiB non-zero, 100 MiB dirtied in a loop", 100, 4),
    Profile("idle", "4 GiB guest, 3 GiB non-zero, idle", 0, 100),
    # A gigabyte a pass fits no default limit; all tools are given the same larger one.
    Profile("storm-1g", "4 GiB guest, 3 GiB non-zero, 1 GiB dirtied as fast as it can", 1024, 1, 2000),
]
