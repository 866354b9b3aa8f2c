# SPDX-License-Identifier: Apache-2.0
"""The tools under comparison, all over loopback TCP. Each goes into post-copy at once, but for Godwit's `auto`."""

from moves.tools import GodwitTool, QemuTool, TunnelTool

MODES = ("now", "auto")


def all_tools():
    return [
        QemuPostCopy("qemu-post-copy"),
        QemuPostCopy("qemu-preempt", ["postcopy-preempt"]),
        RelayPostCopy("relay-post-copy"),
        RelayPostCopy("relay-requests", "both"),
        *(GodwitTool(f"godwit-{mode}", send_arguments=("--post-copy", mode)) for mode in MODES),
    ]


_CAPABILITIES = ("postcopy-ram", "postcopy-blocktime")


class PostCopy:
    """Told to go into post-copy as soon as it has begun."""

    def after_start(self, source):
        source.qmp.command("migrate-start-postcopy")

    def details(self, source, destination):
        return {"source": source.qmp.command("query-migrate"), "destination": destination.qmp.command("query-migrate")}


class QemuPostCopy(PostCopy, QemuTool):
    """QEMU's migration."""

    def __init__(self, name, capabilities=()):
        super().__init__(name, [*_CAPABILITIES, *capabilities])


class RelayPostCopy(PostCopy, TunnelTool):
    """The same through `godwit relay`, which reads requested pages from memory if `places` says that it may."""

    def __init__(self, name, places=""):
        super().__init__(name, _CAPABILITIES, places=places)
