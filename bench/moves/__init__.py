# SPDX-License-Identifier: Apache-2.0
"""Measured moves of a guest, with Godwit or with QEMU alone: what the comparisons of whole migrations share."""
