#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs integration files on a node that has a release build and the packages of group onnode (by-hand.js), one after the
# other, and prints the count of each:  integration.sh NAME…
set -euo pipefail
tests=$(dirname "$(dirname "$(readlink -f "$0")")")/integration
log=${LOG_DIR:-/root/log}
mkdir -p "$log"
for name in "$@"; do
    begin=$SECONDS
    (cd "$tests" && timeout -k 60 "${FILE_LIMIT:-3600}" node --test --test-reporter=tap ${PATTERN:+--test-name-pattern="$PATTERN"} \
        "$name.test.js") >"$log/$name.log" 2>&1 || true
    printf '%s: %s passed, %s failed, %s s\n' "$name" "$(sed -n 's/^# pass //p' "$log/$name.log")" \
        "$(awk '/^# (fail|cancelled) / { n += $3 } END { print n + 0 }' "$log/$name.log")" $((SECONDS - begin))
    grep -E -A 4 '^ *(not ok|error:)' "$log/$name.log" || true
done
