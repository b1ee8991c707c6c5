#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs the packages of these groups of deploy/packages that are missing; needs root only when one is missing. On another release
# of Debian than 12, deploy/packages-RELEASE has the names that differ.
#   packages.sh runtime build        install
#   packages.sh --list runtime       only print the names
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
# shellcheck source=say.sh
. "$here/say.sh"

# shellcheck source=/dev/null
VERSION_ID=$(. /etc/os-release && printf '%s' "${VERSION_ID:-}")
architecture=$(dpkg --print-architecture)
list_only=no
if [ "${1:-}" = --list ]; then
    list_only=yes
    shift
fi
[ $# -gt 0 ] || fail "usage: packages.sh [--list] GROUP…, of: runtime build kernel test"

packages_of() {
    local group=$1 found
    found=$(awk -v g="$group" -v ga="$group:$architecture" '$1 == g || $1 == ga { print $2 }' "$here/packages")
    [ -n "$found" ] || fail "deploy/packages has no group '$group'"
    printf '%s\n' "$found" | of_release
}

# The names of packages on this machine's release of Debian.
of_release() {
    local release=$here/packages-${VERSION_ID:-}
    if [ -f "$release" ]; then
        awk 'NR == FNR { if (!/^#/) { name = $1; $1 = ""; other[name] = $0 }; next }
            { n = split($0 in other ? other[$0] : $0, names); for (i = 1; i <= n; i++) print names[i] }' "$release" -
    else
        cat
    fi
}

is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

wanted=()
for group in "$@"; do
    mapfile -t -O "${#wanted[@]}" wanted < <(packages_of "$group")
done
if [ "$list_only" = yes ]; then
    printf '%s\n' "${wanted[@]}"
    exit 0
fi

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    say "packages: all ${#wanted[@]} are installed ($*)"
    exit 0
fi
[ "$(id -u)" = 0 ] || fail "these packages are missing, and only root can install them: ${missing[*]}"
say "packages: installing ${#missing[@]} of ${#wanted[@]}: ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >&2 || say "packages: apt-get update failed; trying with the present package lists"
apt-get install -y -q --no-install-recommends "${missing[@]}" >&2 ||
    fail "apt-get could not install: ${missing[*]}"
