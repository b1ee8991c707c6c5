#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Gets the QEMU that runs the tests' node: Debian 13's, unpacked into the cache and never installed. Under load the emulation
# of AMD-V in Debian 12's QEMU 7.2 ends in soft lockups of the node's kernel.
# Prints a directory of the cache with the command qemu-system-x86_64.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../../deploy/say.sh
. "$here/../../deploy/say.sh"
# shellcheck source=../../kernel/cache.sh
. "$here/../../kernel/cache.sh"
need mmdebstrap mmdebstrap

mirror=${CRIVIRT_DEBIAN_MIRROR:-http://deb.debian.org}
entry=$(cache_entry node-qemu "$0")
if [ ! -d "$entry" ]; then
    say "QEMU for the node: downloading Debian 13's"
    mkdir -p "$CRIVIRT_CACHE"
    work=$(mktemp -d "$CRIVIRT_CACHE/node-qemu-XXXXXX")
    trap 'rm -rf --one-file-system "$work"' EXIT
    chmod 755 "$work" # mmdebstrap's apt downloads as its own user
    mkdir "$work/result"
    # apt resolves dependencies in a folder of its own, and the variant "extract" runs no package's scripts.
    logged "$work/mmdebstrap.log" mmdebstrap --variant=extract --include=qemu-system-x86 \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "5"' --keyring=/usr/share/keyrings trixie "$work/result/root" \
        "deb $mirror/debian trixie main" || fail "mmdebstrap could not get QEMU"
    rm -rf "$work"/result/root/{dev,usr/share/doc,usr/share/locale,usr/share/man,var}
    # Its own dynamic loader finds its own libraries.
    cat >"$work/result/qemu-system-x86_64" <<'END'
#!/bin/bash
root=$(dirname "$(readlink -f "$0")")/root/usr
libraries=$root/lib/x86_64-linux-gnu
export QEMU_MODULE_DIR=$libraries/qemu
exec "$root/lib64/ld-linux-x86-64.so.2" --library-path "$libraries" "$root/bin/qemu-system-x86_64" \
    -L "$root/share/qemu" -L "$root/share/seabios" "$@"
END
    chmod +x "$work/result/qemu-system-x86_64"
    "$work/result/qemu-system-x86_64" --version >&2 || fail "the QEMU that was downloaded does not run here"
    cache_commit "$work/result" "$entry"
fi
say "QEMU for the node: $entry"
printf '%s\n' "$entry"
