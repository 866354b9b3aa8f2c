# SPDX-License-Identifier: Apache-2.0
"""Going on in one boot of the RDMA lab, with the same arguments."""

import os
import sys

from harness import paths

DEVICE = "rxe0"
HOST = "10.77.0.1"  # that device's address


def is_here():
    return bool(os.environ.get("GODWIT_LAB"))


def enter(module, memory, json_file):
    """Replaces this process. Of the host's files only json_file's folder can be written there; it may be None, and is an
    absolute path otherwise."""
    share = ["--share", os.path.dirname(json_file)] if json_file else []
    own_arguments = [f"--json={json_file}" if text.startswith("--json=") else text for text in sys.argv[1:]]
    if "--json" in own_arguments:
        own_arguments[own_arguments.index("--json") + 1] = json_file
    lab = str(paths.REPOSITORY / "scripts/lab")
    os.execv(lab, [lab, "--memory", memory, *share, sys.executable, "-B", "-m", module, *own_arguments])
