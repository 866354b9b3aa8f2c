# SPDX-License-Identifier: Apache-2.0
#
# A whole guest in 512 bytes: enters 32-bit protected mode, fills [1 MiB, FILL_END) with words that depend on
# their address, and then for ever adds 1 to the first word of every page of [1 MiB, DIRTY_END). With nothing
# to dirty (DIRTY_END = 1 MiB) it halts between ticks of a 1 kHz timer instead.
#
# Invariant, which tests/e2e/tools/guest_memory.cc checks from outside: at any moment every word but the
# counters is SEED + its address, and the counters form at most one step along memory.
# 0x9000 holds the heartbeat (grows with every page touched, or every tick) and 0x9004 the number of passes.
#
# boot_sector.py replaces the parameters at the end of the sector.

.set HEARTBEAT, 0x9000
.set PASSES, 0x9004
.set IDT, 0x8000
.set SERIAL, 0x3f8

.code16
.globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    in $0x92, %al               # A20 through the fast gate
    or $2, %al
    out %al, $0x92
    lgdt gdt_descriptor
    mov %cr0, %eax
    or $1, %al
    mov %eax, %cr0
    ljmp $8, $protected

.code32
protected:
    mov $16, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7000, %esp
    xor %eax, %eax
    mov %eax, HEARTBEAT
    mov %eax, PASSES

    mov $0x100000, %edi         # fill: word = SEED + address
    mov seed, %eax
    add %edi, %eax
    mov fill_end, %ecx
fill:
    mov %eax, (%edi)
    add $4, %eax
    mov %eax, 4(%edi)
    add $4, %eax
    mov %eax, 8(%edi)
    add $4, %eax
    mov %eax, 12(%edi)
    add $4, %eax
    add $16, %edi
    cmp %ecx, %edi
    jb fill

    mov $SERIAL, %dx
    mov $'A', %al
    out %al, %dx
    mov dirty_end, %ecx
    cmp $0x100000, %ecx
    jbe idle

next_letter:
    mov passes_per_letter, %ebx
pass:
    mov $0x100000, %edi
page:
    incl (%edi)
    incl HEARTBEAT
    add $0x1000, %edi
    cmp %ecx, %edi
    jb page
    incl PASSES
    dec %ebx
    jnz pass
    mov $'B', %al
    out %al, %dx
    jmp next_letter

idle:                           # IRQ 0 arrives as vector 8, where the firmware has put it
    movl $(0x00080000 + 0x7c00 + tick - _start), IDT + 8 * 8
    movl $0x00008e00, IDT + 8 * 8 + 4
    lidt idt_descriptor
    mov $0xfe, %al              # every interrupt but the timer is masked
    out %al, $0x21
    mov $0xff, %al
    out %al, $0xa1
    mov $0x34, %al              # timer 0, rate generator, 1193182 / 1193 Hz
    out %al, $0x43
    mov $(1193 & 0xff), %al
    out %al, $0x40
    mov $(1193 >> 8), %al
    out %al, $0x40
    mov passes_per_letter, %ebx
    sti
wait:
    hlt
    jmp wait

tick:
    incl HEARTBEAT
    mov $0x20, %al
    out %al, $0x20
    dec %ebx
    jnz 1f
    incl PASSES
    mov passes_per_letter, %ebx
    mov $'B', %al
    out %al, %dx
1:  iret

.balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff    # code, flat
    .quad 0x00cf92000000ffff    # data, flat
gdt_descriptor:
    .word . - gdt - 1
    .long gdt
idt_descriptor:
    .word 9 * 8 - 1
    .long IDT

.org 510 - 16
fill_end:           .long 0x02000000
dirty_end:          .long 0x00100000
passes_per_letter:  .long 1
seed:               .long 0
.word 0xaa55
