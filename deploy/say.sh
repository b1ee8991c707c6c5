# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Output of our scripts: progress and errors go to stderr, results (paths) to stdout. Sourced, never run.

say() { printf '==> %s\n' "$*" >&2; }

fail() {
    printf '%s: error: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# need TOOL PACKAGE…: fails with the package to install when a tool is not on PATH.
need() {
    while [ $# -gt 1 ]; do
        command -v "$1" >/dev/null || fail "$1 is missing: apt-get install $2 (or run deploy/packages.sh)"
        shift 2
    done
}

# logged FILE COMMAND…: the command's output goes to a file, whose end is shown when the command fails.
logged() {
    local log=$1 status=0
    shift
    mkdir -p "$(dirname "$log")"
    "$@" >"$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        printf -- '---- the end of %s ----\n' "$log" >&2
        tail -n 40 "$log" >&2
        printf -- '---- %s ended with %s ----\n' "$1" "$status" >&2
    fi
    return "$status"
}
