#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Removes the versions in /opt/crivirt/versions that are neither current, nor previous, nor run by any process of the node.
set -eu
versions=/opt/crivirt/versions

# One path a call: the readlink of busybox takes no more.
is_used() { # VERSION
    for link in /opt/crivirt/current /opt/crivirt/previous /proc/[0-9]*/exe; do
        case $(readlink "$link" 2>/dev/null)/ in
            *"versions/$1/"*) return 0 ;;
        esac
    done
    return 1
}

[ -L /opt/crivirt/current ] || exit 0
for version in "$versions"/*/; do
    is_used "$(basename "$version")" || rm -rf "$version"
done
