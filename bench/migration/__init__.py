# SPDX-License-Identifier: Apache-2.0
"""The comparison of Godwit with QEMU's own migration. Entry: scripts/bench-migration."""
