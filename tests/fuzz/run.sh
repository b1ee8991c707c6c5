#!/bin/bash
# Runs one fuzz target for some seconds: run.sh BUILD_DIRECTORY NAME SECONDS
# It starts from tests/fuzz/corpus/NAME where there is one. What it finds is left in BUILD_DIRECTORY/found/NAME.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=../../deploy/say.sh
. "$here/../../deploy/say.sh"
[ $# = 3 ] || fail "usage: run.sh BUILD_DIRECTORY NAME SECONDS"
build=$1 name=$2 seconds=$3

program=$(find "$build" -name "$name" -type f -perm -u+x | head -n 1)
[ -n "$program" ] || fail "'$build' has no program $name: does a CMakeLists.txt say crivirt_fuzz($name …)?"
corpus=$build/corpus/$name
found=$build/found/$name
mkdir -p "$corpus" "$found"
seeds=()
[ ! -d "$here/corpus/$name" ] || seeds=("$here/corpus/$name")
exec "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found/" "$corpus" "${seeds[@]}"
