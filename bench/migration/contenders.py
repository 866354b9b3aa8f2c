# SPDX-License-Identifier: Apache-2.0
"""The tools under comparison, all over loopback TCP."""

from moves.tools import GodwitTool, QemuTool, TunnelTool


def all_tools():
    multifd = {"multifd-channels": 2}
    return [
        QemuTool("qemu-tcp"),
        QemuTool("qemu-multifd", ["multifd"], multifd),
        QemuTool("qemu-multifd-zero-copy", ["multifd", "zero-copy-send"], multifd),
        GodwitTool(),
        TunnelTool("tunnel"),
        TunnelTool("tunnel-multifd", ["multifd"], multifd),
        TunnelTool("channel", places="both"),
        TunnelTool("channel-private-source", places="destination"),
        TunnelTool("channel-multifd", ["multifd"], multifd, places="both"),
        GodwitTool("channel-mode", arguments=("--mode", "channel"), send_arguments=("--lanes", "1")),
        GodwitTool("channel-mode-multifd", arguments=("--mode", "channel"), send_arguments=("--lanes", "2")),
    ]
