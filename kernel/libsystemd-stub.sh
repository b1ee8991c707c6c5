#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes a libsystemd.so.0 for the guest, in which each function that the program uses fails with "not implemented".
#   libsystemd-stub.sh PROGRAM OUTPUT       does nothing for a program that does not need libsystemd
# Debian's crun is linked with libsystemd, which brings gcrypt, gpg-error, lzma, zstd and lz4: 3.4 MB which the dynamic
# loader maps and relocates in each run of crun: a fifth of the processor time of a container's start, for
# the systemd cgroup manager and journald logs. A guest has neither: containers there use --cgroup-manager=cgroupfs,
# and PID 1 is the agent.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../deploy/say.sh
. "$here/../deploy/say.sh"
[ $# = 2 ] || fail "usage: libsystemd-stub.sh PROGRAM OUTPUT"
need objdump binutils gcc gcc

# "VERSION SYMBOL" a line, from "… *UND* … (VERSION) SYMBOL".
symbols=$(objdump -T "$1" | sed -n 's/.*\*UND\*.*[ (]\(LIBSYSTEMD_[0-9]*\))\{0,1\} *\([a-z_0-9]*\)$/\1 \2/p' | sort)
[ -n "$symbols" ] || exit 0

work=$(mktemp -d "${TMPDIR:-/tmp}/crivirt-stub-XXXXXX")
trap 'rm -rf "$work"' EXIT
awk '{ print "int " $2 "(void);\nint " $2 "(void)\n{\n    return -38; /* ENOSYS */\n}" }' <<<"$symbols" >"$work/stub.c"
awk '$1 != version { if (version) print "};"; print $1 " {"; version = $1 } { print "    " $2 ";" } END { print "};" }' \
    <<<"$symbols" >"$work/stub.map"
gcc -Os -Wall -Wextra -Werror -fPIC -shared -nostdlib -s -Wl,-soname,libsystemd.so.0 -Wl,--build-id=none \
    -Wl,--hash-style=gnu -Wl,-z,noseparate-code -Wl,-z,relro,-z,now -Wl,--version-script="$work/stub.map" \
    -o "$work/stub.so" "$work/stub.c"
install -D -m 755 "$work/stub.so" "$2"
