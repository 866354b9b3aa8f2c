# SPDX-License-Identifier: Apache-2.0
#
# A firmware that does one thing: it copies the 512 bytes at its start to 0x7c00 and jumps there, so that the
# boot-sector guest runs on a machine without firmware, floppy and option ROMs, whose migration streams hold next to
# nothing but the guest.

.code16
.globl _start
_start:
    .org 512                    # the boot sector is put here
start:
    cli
    cld
    mov $0xf000, %ax
    mov %ax, %ds
    xor %ax, %ax
    mov %ax, %es
    xor %si, %si
    mov $0x7c00, %di
    mov $256, %cx
    rep movsw
    ljmp $0, $0x7c00

.org 0xfff0                     # where the processor starts
    ljmp $0xf000, $(start - _start)
.org 0x10000
