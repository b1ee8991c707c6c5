#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Tells the programs of a bundle where it lies, when this is not the directory that it was made for:
#   busybox sh relocate.sh TREE [PREFIX]
# TREE is the bundle, PREFIX the path that it has when its programs run (default: TREE). It changes the texts in the programs that
# share/crivirt/relocations lists, "FILE OFFSET SIZE PATH", and so the digests of these files. No program of TREE may run.
set -eu
tree=${1:?usage: relocate.sh TREE [PREFIX]}
prefix=${2:-$(cd "$tree" && pwd -P)}

while read -r file offset size path; do
    text=$prefix/$path
    if [ ${#text} -ge "$size" ]; then
        echo "relocate.sh: error: the path $text is too long: at most $((size - 1)) characters" >&2
        exit 1
    fi
    {
        printf '%s' "$text"
        head -c $((size - ${#text})) /dev/zero
    } | dd of="$tree/$file" bs="$size" count=1 iflag=fullblock seek="$offset" oflag=seek_bytes conv=notrunc 2>/dev/null
done <"$tree/share/crivirt/relocations"
