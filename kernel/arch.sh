# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# All differences between architectures in kernel/, in one table. Sourced, never run.
# Sets ARCH (a name of uname -m) from CRIVIRT_GUEST_ARCH, or else to the architecture of this computer, and its row:
#   KERNEL_ARCH      the kernel's own name, for make ARCH=
#   KERNEL_TARGET    what make builds, and
#   KERNEL_OUTPUT    where in the tree it lands
#   KERNEL_FILE      its name in a guest image
#   KERNEL_CROSS     prefix of Debian's cross compiler, used on computers of another architecture
#   DEBIAN_ARCH      Debian's name of the architecture
#   STOCK_PACKAGE    Debian's metapackage of the stock kernel
# Fragments for one architecture only are in config/ARCH/.

ARCH=${CRIVIRT_GUEST_ARCH:-$(uname -m)}
case $ARCH in
    x86_64) # PVH boots the uncompressed ELF file, without a decompressor
        KERNEL_ARCH=x86 KERNEL_TARGET=vmlinux KERNEL_OUTPUT=vmlinux KERNEL_FILE=vmlinux
        DEBIAN_ARCH=amd64 STOCK_PACKAGE=linux-image-amd64 ;;
    aarch64)
        KERNEL_ARCH=arm64 KERNEL_TARGET=Image KERNEL_OUTPUT=arch/arm64/boot/Image KERNEL_FILE=Image
        DEBIAN_ARCH=arm64 STOCK_PACKAGE=linux-image-arm64 ;;
    *)
        echo "kernel/arch.sh: no guest kernel for architecture '$ARCH' (x86_64 and aarch64 are known)" >&2
        exit 1 ;;
esac
KERNEL_CROSS=
[ "$ARCH" = "$(uname -m)" ] || KERNEL_CROSS=$ARCH-linux-gnu-
