# SPDX-License-Identifier: Apache-2.0
"""Post-copy bears whatever fails, at any moment. See harness/soak.py; `scripts/soak` runs it for longer."""

import os

from harness import agent, soak

INJECTIONS = int(os.environ.get("GODWIT_SOAK_INJECTIONS", "200"))


def test_guests_survive_random_failures():
    seed = int(os.environ.get("GODWIT_SOAK_SEED", soak.new_seed()))
    assert soak.run(INJECTIONS, seed, agent.TRANSPORT) >= INJECTIONS
