# SPDX-License-Identifier: Apache-2.0
#
# A whole guest in 512 bytes, for measuring post-copy: enters 32-bit protected mode, fills [1 MiB, FILL_END) with words
# that depend on their address, as boot_sector.S does, and then for ever goes from page to page of [1 MiB, 1 MiB +
# pages) in an order that depends on what it reads there: one load decides which page is the next. It goes through all
# pages before it comes to one again. A page that is wrong ends it with an 'X' on the serial port.
#
# Invariant, which tests/e2e/tools/guest_memory.cc checks from outside: every word is SEED + its address, always.
# 0x9000 holds the heartbeat (grows with every page). From 0xa000 on lies a histogram of the loads that took
# TICKS_MIN ticks of the time-stamp counter or more: word 8 * e + m - 8 counts those of m << e to (m + 1) << e ticks,
# m from 8 to 15.
#
# pointer_chase.py replaces the parameters at the end of the sector.

.set HEARTBEAT, 0x9000
.set HISTOGRAM, 0xa000
.set HISTOGRAM_WORDS, 256
.set TICKS_MIN, 8192
.set SERIAL, 0x3f8
.set START, 0x100000

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
    mov $HISTOGRAM, %edi
    mov $HISTOGRAM_WORDS, %ecx
    rep stosl

    mov $START, %edi            # fill: word = SEED + address
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

    mov $'A', %al
    call write_letter
    mov $START, %edi
next_letter:
    mov steps_per_letter, %ebx
step:
    rdtsc
    mov %eax, %esi
    mov 4(%edi), %ebp           # the load that waits for the page
    rdtsc
    sub %esi, %eax
    cmp $TICKS_MIN, %eax
    jae slow
next:
    sub seed, %ebp
    sub $4, %ebp
    cmp %ebp, %edi
    jne wrong
    sub $START, %ebp
    shr $12, %ebp
    imul $1664525, %ebp         # a full cycle modulo any power of two
    add $1013904223, %ebp
    and page_mask, %ebp
    shl $12, %ebp
    lea START(%ebp), %edi
    incl HEARTBEAT
    dec %ebx
    jnz step
    mov $'B', %al
    call write_letter
    jmp next_letter

slow:
    bsr %eax, %ecx
    sub $3, %ecx
    shr %cl, %eax
    lea -8(%eax, %ecx, 8), %eax
    incl HISTOGRAM(, %eax, 4)
    jmp next

wrong:
    mov $'X', %al
    call write_letter
1:  hlt
    jmp 1b

write_letter:
    mov $SERIAL, %dx
    out %al, %dx
    ret

.balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff    # code, flat
    .quad 0x00cf92000000ffff    # data, flat
gdt_descriptor:
    .word . - gdt - 1
    .long gdt

.org 510 - 16
fill_end:           .long 0x02000000
page_mask:          .long 0x00000fff    # pages - 1, pages being a power of two
steps_per_letter:   .long 1000000
seed:               .long 0
.word 0xaa55
