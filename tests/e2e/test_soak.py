# SPDX-License-Identifier: Apache-2.0
"""Post-copy bears whatever fails, at any moment. See harness/soak.py; `scripts/soak` runs it for longer."""

import os

import pytest

from harness import agent, soak

INJECTIONS = int(os.environ.get("GODWIT_SOAK_INJECTIONS", "200"))
PARTS = 4  # side by side


@pytest.mark.parametrize("part", range(PARTS))
def test_guests_survive_random_failures(part):
    seed = int(os.environ.get("GODWIT_SOAK_SEED", soak.new_seed()))
    wanted = -(-INJECTIONS // PARTS)
    assert soak.run(wanted, seed + part, agent.TRANSPORT) >= wanted
