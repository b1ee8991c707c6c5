#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes a guest image: a directory with the kernel, initrd.img and manifest.json, which lists their inputs.
#   image.sh --kernel tuned|stock --agent FILE DIRECTORY
# The kernel keeps its own name (vmlinux, vmlinuz, Image); the link `kernel` leads to it, so that the configuration of the daemon
# is the same for all.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../deploy/say.sh
. "$here/../deploy/say.sh"
# shellcheck source=arch.sh
. "$here/arch.sh"

flavour=tuned agent='' output=''
while [ $# -gt 0 ]; do
    case $1 in
        --kernel) flavour=${2:?--kernel wants tuned or stock} && shift 2 ;;
        --agent) agent=${2:?--agent wants a file} && shift 2 ;;
        -*) fail "unknown option $1" ;;
        *) output=$1 && shift ;;
    esac
done
if [ -z "$agent" ] || [ -z "$output" ]; then
    fail "usage: image.sh --kernel tuned|stock --agent FILE DIRECTORY"
fi

# One build at a time: a second one would spend the same minutes again.
# shellcheck source=cache.sh
. "$here/cache.sh"
mkdir -p "$CRIVIRT_CACHE"
exec 9>"$CRIVIRT_CACHE/$flavour.lock"
flock -n 9 || { say "waiting for another build of the $flavour kernel" && flock 9; }

case $flavour in
    tuned)
        from=$("$here/build.sh")
        file=$KERNEL_FILE modules=() ;;
    stock)
        from=$("$here/stock.sh")
        file=vmlinuz modules=(--modules "$from/modules") ;;
    *) fail "unknown kernel '$flavour': tuned or stock" ;;
esac

exec 9>&-

sha256() { sha256sum "$1" | cut -d ' ' -f 1; }

write_manifest() {
    cat <<END
{
  "version": 1,
  "architecture": "$ARCH",
  "kernel": {"flavour": "$flavour", "file": "$file", "release": "$(cat "$from/release")",
             "source": "$(cat "$from/source")", "sha256": "$(sha256 "$output/$file")"},
  "initrd": {"file": "initrd.img", "sha256": "$(sha256 "$output/initrd.img")",
             "agent_sha256": "$(sha256 "$agent")", "crun": "$(crun --version | head -n 1)"}
}
END
}

umask 022 # the user that QEMU runs as reads it
mkdir -p "$output"
install -m 644 "$from/$file" "$output/$file.new"
mv "$output/$file.new" "$output/$file"
ln -sfn "$file" "$output/kernel"
"$here/initramfs.sh" --agent "$agent" "${modules[@]}" "$output/initrd.img"
write_manifest >"$output/manifest.json.new"
mv "$output/manifest.json.new" "$output/manifest.json"
say "guest image: $output ($flavour kernel $(cat "$from/release"))"
