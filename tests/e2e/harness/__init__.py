# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests, the demo and the migration bench share: real QEMUs, real agents, real networks."""
