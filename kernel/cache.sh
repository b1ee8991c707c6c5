# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# A cache of results that take long to make, by the hash of their inputs. Sourced, never run.
# CRIVIRT_CACHE moves the cache (default /var/cache/crivirt). An entry appears by one rename, so that it is complete
# or missing, also when two builds race.

CRIVIRT_CACHE=${CRIVIRT_CACHE:-/var/cache/crivirt}

# cache_entry KIND INPUT…: the path of the entry for these inputs: files count by content, other words as they are. Lines of
# a file that are only a comment do not count; Kconfig's "# CONFIG_X is not set" is none.
cache_entry() {
    local kind=$1 input
    shift
    local hash
    hash=$(for input in "$@"; do
        if [ -f "$input" ]; then
            printf '%s ' "${input##*/}"
            sed '/^ *#/{/^# CONFIG_.* is not set/!d}' "$input" | sha256sum
        else
            printf '%s\n' "$input"
        fi
    done | sha256sum | cut -c 1-16)
    printf '%s/%s/%s\n' "$CRIVIRT_CACHE" "$kind" "$hash"
}

# cache_commit DIRECTORY ENTRY: makes a finished directory the entry, unless another build was faster.
cache_commit() {
    chmod 755 "$1"
    mkdir -p "${2%/*}"
    mv -T "$1" "$2" 2>/dev/null || { [ -d "$2" ] && rm -rf "$1"; }
}

# apt_download PACKAGE…: Debian packages into the current directory, verified by apt. Root's apt hands the download to
# its own user, who must be able to write here.
apt_download() {
    if [ "$(id -u)" = 0 ] && getent passwd _apt >/dev/null; then
        chmod 755 . && chown _apt .
    fi
    apt-get download -q "$@" >&2 || fail "apt-get could not download $*: run apt-get update, and check the network"
}
