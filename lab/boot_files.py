# SPDX-License-Identifier: Apache-2.0
"""What a lab machine boots: Debian's kernel as an ELF file, and an initramfs with the modules and lab/guest.

Both are made from what scripts/setup has unpacked, and kept in .cache/lab until that or lab/guest changes.
"""

import lzma
import os
import pathlib
import shlex
import struct
import subprocess
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
CACHE = REPOSITORY / ".cache"
KERNEL = CACHE / "kernel-6.12"
MODULES_FOLDER = KERNEL / "lib/modules"
MADE = CACHE / "lab"
GUEST = REPOSITORY / "lab/guest"

# What the lab promises to have; modprobe adds what these need. virtio_pci and virtio_console are built in. rxe needs
# crc32 at run time ("No such file or directory" without it), which no dependency says.
MODULES = [
    "9pnet_virtio", "9p", "overlay", "virtio_net", "crc32_generic", "rdma_rxe", "rdma_ucm", "veth", "tun", "bridge",
    "sch_tbf", "sch_netem",
]

SHARED_SOURCES = ["command.cc", "frames.cc"]


def kernel():
    """Returns the kernel as an ELF file, which QEMU enters directly (PVH).

    Unpacking it in the machine instead would take longer than all the rest of the boot: the CPU is emulated.
    """
    target = MADE / "vmlinux"
    source = KERNEL / "vmlinuz"
    if _is_newer(target, [source]):
        return target
    image = source.read_bytes()
    setup_sectors = image[0x1F1] or 4
    payload_offset, payload_bytes = struct.unpack_from("<II", image, 0x248)
    payload_start = (setup_sectors + 1) * 512 + payload_offset
    # The last word of the payload is its unpacked size, which is the boot loader's and not zstd's.
    payload = image[payload_start:payload_start + payload_bytes - 4]
    elf = subprocess.run(["zstd", "-dcq"], input=payload, check=True, capture_output=True).stdout
    return _write(target, elf)


def initramfs(settings, shares):
    """Returns the initramfs of one machine; `settings` become shell variables of guest/init."""
    own = _Archive()
    own.add("settings", "".join(f"{name}={shlex.quote(str(value))}\n" for name, value in settings.items()).encode())
    own.add("shares", b"".join(os.fsencode(share) + b"\n" for share in shares))
    # The kernel unpacks archives one after the other.
    return _common_initramfs().read_bytes() + own.finish()


def _common_initramfs():
    target = MADE / "initramfs.cpio"
    if _is_newer(target, [pathlib.Path(__file__), KERNEL / "vmlinuz", *GUEST.iterdir()]):
        return target
    archive = _Archive()
    for folder in ("bin", "proc", "sys", "dev", "modules", "programs"):
        archive.add_folder(folder)
    archive.add_program("bin/busybox", pathlib.Path("/bin/busybox"))
    archive.add_program("init", GUEST / "init")
    archive.add_program("programs/lab-link", GUEST / "lab-link")
    with tempfile.TemporaryDirectory() as folder:
        for name, source in (("agent", "agent.cc"), ("lab-peer", "peer.cc")):
            archive.add_program(f"programs/{name}", _compile(source, pathlib.Path(folder) / name))
    order = _modules_in_order()
    for path in order:
        archive.add(f"modules/{path.stem}", lzma.decompress(path.read_bytes()))
    archive.add("modules/order", "".join(f"{path.stem}\n" for path in order).encode())
    return _write(target, archive.finish())


def _compile(source, program):
    """Builds a program of lab/guest by itself, so that the lab needs no build of Godwit. lab/CMakeLists.txt checks it."""
    subprocess.run(["g++", "-std=c++20", "-O2", "-s", "-static", "-I", REPOSITORY, "-o", program, GUEST / source,
                    *(GUEST / shared for shared in SHARED_SOURCES)], check=True)
    return program


def _modules_in_order():
    """The files of all modules, each after those that it needs."""
    version = next(MODULES_FOLDER.iterdir()).name
    files = {}
    for module in MODULES:
        lines = subprocess.run(["/sbin/modprobe", "-d", KERNEL, "-S", version, "--show-depends", module],
                               check=True, capture_output=True, text=True).stdout.splitlines()
        files.update(dict.fromkeys(line.split()[1] for line in lines if line.startswith("insmod ")))
    return [pathlib.Path(file) for file in files]


def _is_newer(target, ingredients):
    return target.exists() and all(target.stat().st_mtime > item.stat().st_mtime for item in ingredients)


def _write(target, data):
    """Writes a whole file or none: two labs may make it at the same time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    partial.write_bytes(data)
    partial.rename(target)
    return target


class _Archive:
    """A cpio archive in the "newc" format, which is what an initramfs is."""

    def __init__(self):
        self._data = bytearray()
        self._count = 0

    def add(self, name, content, mode=0o644):
        self._add(name, content, 0o100000 | mode)

    def add_program(self, name, path):
        self.add(name, path.read_bytes(), 0o755)

    def add_folder(self, name):
        self._add(name, b"", 0o040755)

    def finish(self):
        self._add("TRAILER!!!", b"", 0)
        return bytes(self._data)

    def _add(self, name, content, mode):
        self._count += 1
        encoded = name.encode() + b"\0"
        # inode, mode, owner, group, links, time, size, device twice two numbers, length of the name, checksum
        fields = [self._count, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0]
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields)
        for part in (encoded, content):
            self._data += part
            self._data += bytes(-len(self._data) % 4)
