# SPDX-License-Identifier: Apache-2.0
"""CPU time of a QEMU without what its vCPUs use, exact to the nanosecond and with ended threads included."""

import os
import time


def process_cpu_seconds(pid):
    """CPU seconds of all threads the process has and ever had."""
    return time.clock_gettime((~pid << 3) | 2)  # the kernel's encoding of a process's scheduler clock


def vcpu_cpu_seconds(pid):
    total_ns = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
            if not file.read().startswith("CPU "):
                continue
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
            total_ns += int(file.read().split()[0])
    return total_ns / 1e9


def overhead_cpu_seconds(pid):
    """CPU seconds of everything but the vCPUs."""
    return process_cpu_seconds(pid) - vcpu_cpu_seconds(pid)
