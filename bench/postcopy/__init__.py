# SPDX-License-Identifier: Apache-2.0
"""The comparison of Godwit's post-copy with QEMU's own. Entry: scripts/bench-postcopy."""
