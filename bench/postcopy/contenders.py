# SPDX-License-Identifier: Apache-2.0
"""The tools under comparison, all over loopback TCP. Each goes into post-copy at once, but for Godwit's `auto`."""

from moves.tools import GodwitTool, QemuTool

MODES = ("now", "auto")


def all_tools():
    return [
        QemuPostCopy("qemu-post-copy"),
        QemuPostCopy("qemu-preempt", ["postcopy-preempt"]),
        *(GodwitTool(f"godwit-{mode}", send_arguments=("--post-copy", mode)) for mode in MODES),
    ]


class QemuPostCopy(QemuTool):
    """QEMU's migration, told to go into post-copy as soon as it has begun."""

    def __init__(self, name, capabilities=()):
        super().__init__(name, ["postcopy-ram", "postcopy-blocktime", *capabilities])

    def after_start(self, source):
        source.qmp.command("migrate-start-postcopy")

    def details(self, source, destination):
        return {"source": source.qmp.command("query-migrate"), "destination": destination.qmp.command("query-migrate")}
