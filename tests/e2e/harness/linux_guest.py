# SPDX-License-Identifier: Apache-2.0
"""The Linux test guest: Debian's kernel, an initramfs made here, and the loads of tools/guestload.cc."""

import lzma
import pathlib
import re
import shutil
import struct
import subprocess
import tempfile

from . import paths

# In the order in which they depend on each other.
MODULES = [
    "drivers/virtio/virtio", "drivers/virtio/virtio_ring", "drivers/virtio/virtio_pci_modern_dev",
    "drivers/virtio/virtio_pci_legacy_dev", "drivers/virtio/virtio_pci", "net/core/failover",
    "drivers/net/net_failover", "drivers/net/virtio_net", "drivers/block/virtio_blk",
    "drivers/virtio/virtio_balloon",
]


def kernel():
    """Returns the path of Debian's kernel as an ELF file.

    QEMU enters that directly (PVH). Unpacking the kernel inside the guest instead would take most of the boot's time
    when the CPU is emulated.
    """
    target = paths.BUILD / "test-guest.vmlinux"
    if target.exists() and target.stat().st_mtime > paths.KERNEL.stat().st_mtime:
        return target
    image = paths.KERNEL.read_bytes()
    setup_sectors = image[0x1F1] or 4
    payload_offset, payload_size = struct.unpack_from("<II", image, 0x248)
    payload_start = (setup_sectors + 1) * 512 + payload_offset
    made = target.with_suffix(".partial")
    made.write_bytes(lzma.LZMADecompressor().decompress(image[payload_start:payload_start + payload_size]))
    made.rename(target)
    return target


def initramfs():
    """Returns the path of the initramfs, making it when it is missing or older than what it is made of."""
    target = paths.BUILD / "test-guest.cpio"
    ingredients = [paths.GUESTLOAD, paths.GUESTS / "init", pathlib.Path(__file__), paths.KERNEL]
    if target.exists() and all(target.stat().st_mtime > item.stat().st_mtime for item in ingredients):
        return target
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder) / "root"
        for name in ("bin", "proc", "sys", "dev", "modules"):
            (root / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", root / "bin/busybox")
        shutil.copy(paths.GUESTLOAD, root / "bin/guestload")
        shutil.copy(paths.GUESTS / "init", root / "init")
        (root / "init").chmod(0o755)
        kernel_folder = next((paths.CACHE / "kernel/lib/modules").iterdir()) / "kernel"
        for module in MODULES:
            shutil.copy(kernel_folder / f"{module}.ko", root / "modules")
        (root / "modules/order").write_text("".join(f"{pathlib.Path(module).name}.ko\n" for module in MODULES))
        subprocess.run("find . | cpio --quiet -o -H newc -R 0:0 > ../initramfs", shell=True, cwd=root, check=True)
        made = target.with_suffix(".partial")
        shutil.move(pathlib.Path(folder) / "initramfs", made)
        made.rename(target)
    return target


def disk_image(folder, size_mib):
    """Writes the image that the guest's disk load expects. It must lie on a real disk: tmpfs has no O_DIRECT."""
    path = pathlib.Path(folder) / "disk.raw"
    subprocess.run([paths.GUESTLOAD, "image", path, str(size_mib)], check=True)
    return path


def arguments(memory_mib=0, disk_mib=0, disk=None, address=None, tap=None, aio="native"):
    """QEMU arguments of one Linux guest, the same for source and destination."""
    command_line = "console=ttyS0 quiet panic=1 mitigations=off tsc=unstable no_timer_check"
    command_line += f" guest.memory={memory_mib}" if memory_mib else ""
    command_line += f" guest.disk={disk_mib}" if disk_mib else ""
    command_line += f" guest.address={address}" if address else ""
    result = ["-kernel", str(kernel()), "-initrd", str(initramfs()), "-append", command_line, "-no-reboot",
              "-nodefaults", "-vga", "none"]
    if disk:
        result += ["-drive", f"file={disk},format=raw,if=none,id=disk0,cache=none,aio={aio},file.locking=off",
                   "-device", "virtio-blk-pci,drive=disk0,share-rw=on"]
    if tap:
        result += ["-netdev", f"tap,id=net0,ifname={tap},script=no,downscript=no",
                   "-device", "virtio-net-pci,netdev=net0,mac=52:54:00:47:57:01,romfile="]
    return tuple(result)


def heartbeats(serial, load):
    """[(checks, uptime)] of a load's heartbeats on the serial port."""
    pattern = rf"OK {load}(?: (\d+))? uptime ([\d.]+)"
    return [(int(checks or 0), float(uptime)) for checks, uptime in re.findall(pattern, serial)]


def assert_memory_right(serial):
    assert "BAD" not in serial, f"the guest found wrong memory: {serial[serial.index('BAD'):][:300]}"
    assert "Kernel panic" not in serial and "BUG:" not in serial, serial[-3000:]
