# SPDX-License-Identifier: Apache-2.0
"""Which microbenchmarks a tree has, and building them: of this tree, and of another revision beside it."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Those that need an RDMA device.
IN_LAB = {"verbs_post_bench"}


class Unbuildable(Exception):
    """There is no such revision, or it does not build."""


def names(tree):
    return re.findall(r"(?m)^godwit_bench\((\w+)", (tree / "bench/CMakeLists.txt").read_text())


def build(tree, programs):
    """Returns {name: path}."""
    made = subprocess.run([tree / "scripts/build", "release", *programs], stdout=sys.stderr, check=False)
    if made.returncode:
        raise Unbuildable(f"{tree} does not build")
    return {name: tree / "build" / name for name in programs}


def check_out(revision):
    """Returns the name and the tree of another revision, which stays under .cache for the next time."""
    found = subprocess.run(["git", "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"], cwd=ROOT,
                           capture_output=True, text=True, check=False)
    if found.returncode:
        raise Unbuildable(f"there is no revision {revision!r} (git log shows those that there are)")
    commit = found.stdout.strip()
    tree = ROOT / ".cache/bench-micro" / commit
    if not (tree / "CMakeLists.txt").exists():
        subprocess.run(["git", "worktree", "prune"], cwd=ROOT, check=True)
        subprocess.run(["git", "worktree", "add", "--quiet", "--force", "--detach", tree, commit], cwd=ROOT, check=True)
    return commit[:12], tree
