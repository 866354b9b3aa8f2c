# SPDX-License-Identifier: Apache-2.0
"""`godwit bench` beside what others measure of the same link. Entry: scripts/bench-interconnect."""
