# SPDX-License-Identifier: Apache-2.0
"""How fast the host's time stamp counter counts. The one of an emulated CPU is the host's.

Linux finds that out by itself when it boots, by a timer that the emulator may serve too late on a busy host: its clock
then runs many times too fast, and every time-out in it ends too early.
"""

import ctypes
import mmap
import time

# rdtsc; shl rdx, 32; or rax, rdx; ret
_READ_COUNTER = bytes.fromhex("0f31" "48c1e220" "4809d0" "c3")
_READINGS = 50
_APART_S = 0.05


def counter_khz():
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(_READ_COUNTER)
    read_counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    count, at_ns = _read_both(read_counter)
    time.sleep(_APART_S)
    later_count, later_ns = _read_both(read_counter)
    return round((later_count - count) * 1e6 / (later_ns - at_ns))


def _read_both(read_counter):
    """Returns counter and time (ns) of one moment: of several readings, that which took least."""
    readings = []
    for _ in range(_READINGS):
        before_ns = time.monotonic_ns()
        count = read_counter()
        after_ns = time.monotonic_ns()
        readings.append((after_ns - before_ns, count, (before_ns + after_ns) / 2))
    _, count, at_ns = min(readings)
    return count, at_ns
