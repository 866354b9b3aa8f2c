# SPDX-License-Identifier: Apache-2.0
"""Runs a command that may not make a userfaultfd, neither by the system call nor by /dev/userfaultfd: seccomp says EPERM.

usage: without_userfaultfd.py COMMAND…
"""

import ctypes
import os
import struct
import sys

SYS_IOCTL, SYS_USERFAULTFD, USERFAULTFD_IOC_NEW = 16, 323, 0xAA00  # x86-64
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, DENY = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO with EPERM
LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
NUMBER, ARGUMENT_1 = 0, 24  # offsets in struct seccomp_data


def forbid():
    program = [(LOAD, 0, 0, NUMBER), (JUMP_EQUAL, 4, 0, SYS_USERFAULTFD), (JUMP_EQUAL, 0, 2, SYS_IOCTL),
               (LOAD, 0, 0, ARGUMENT_1), (JUMP_EQUAL, 1, 0, USERFAULTFD_IOC_NEW), (RETURN, 0, 0, ALLOW),
               (RETURN, 0, 0, DENY)]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *step) for step in program))
    fprog = struct.pack("<HxxxxxxQ", len(program), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.c_char_p(fprog), 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_SECCOMP)")


forbid()
os.execvp(sys.argv[1], sys.argv[1:])
