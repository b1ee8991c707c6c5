#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs one fuzz target for some seconds: run.sh BUILD_DIRECTORY NAME SECONDS
# It starts from the seeds in tests/fuzz/corpus/NAME. Inputs that it finds to crash are left in BUILD_DIRECTORY/found/NAME.
# A seed is used as it is, unless its name ends in
#   .esc        text with printf's escapes
#   .hex        hexadecimal digits, with blanks and comments (#)
#   .textproto  a message in protobuf's text format. Its comments say which:
#                 # message NAME    of the agent's protocol
#                 # rpc NAME        the request of the CRI's method NAME, after the byte by which rpc_fuzz chooses that
#                 # prefix HH…      bytes that come before the message
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$(dirname "$here")")
# shellcheck source=../../deploy/say.sh
. "$root/deploy/say.sh"
[ $# = 3 ] || fail "usage: run.sh BUILD_DIRECTORY NAME SECONDS"
build=$1 name=$2 seconds=$3

unhex() { perl -pe 's/#.*//; s/\s+//g; $_ = pack("H*", $_)'; }

# comment FILE KEY: the value of a comment "# KEY value"
comment() { sed -n "s/^# $2 //p" "$1"; }

# A method's number is its place among those of the CRI, which is how rpc_fuzz counts.
rpc_number() {
    sed -n 's/^ *rpc \([A-Za-z]*\)(.*/\1/p' "$root/common/cri-api/api.proto" | grep -nx "$1" | awk -F: '{ printf "%02x", $1 - 1 }'
}

message_seed() {
    local file=$1 rpc message
    comment "$file" prefix | unhex
    rpc=$(comment "$file" rpc)
    message=$(comment "$file" message)
    if [ -n "$rpc" ]; then
        rpc_number "$rpc" | unhex
        protoc -I "$root/common/cri-api" --encode="runtime.v1.${rpc}Request" api.proto <"$file"
    else
        protoc -I "$root/agent/wire" --encode="crivirt.agent.v1.$message" agent.proto <"$file"
    fi
}

# seed FILE: its bytes
seed() {
    case $1 in
        *.esc) printf '%b' "$(cat "$1")" ;;
        *.hex) unhex <"$1" ;;
        *.textproto) message_seed "$1" ;;
        *) cat "$1" ;;
    esac
}

program=$(find "$build" -name "$name" -type f -perm -u+x | head -n 1)
[ -n "$program" ] || fail "'$build' has no program $name: a CMakeLists.txt must contain crivirt_fuzz($name …)"
corpus=$build/corpus/$name
found=$build/found/$name
seeds=$build/seeds/$name
mkdir -p "$corpus" "$found"
rm -rf "$seeds"
mkdir -p "$seeds"
for file in "$here/corpus/$name"/*; do
    [ -f "$file" ] || fail "there are no seeds for $name: put some into $here/corpus/$name"
    seed "$file" >"$seeds/${file##*/}"
done
exec "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/" "$corpus" "$seeds"
