#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs a pod by crivirtd, and succeeds when its program ran in a VM: on another kernel than the node's. It needs no registry.
#   check.sh [SECONDS]        how long this may take (default: 300, for guests that are emulated)
set -eu
here=$(dirname "$(readlink -f "$0")")
PATH=$here/../../../bin:$PATH
name=crivirt-check-$$

crivirt load -i "$here/../../../share/crivirt/check.tar" >/dev/null
trap 'crivirt rmp -f "$name" >/dev/null 2>&1 || true' EXIT
guest=$(timeout "${1:-300}" crivirt run --rm --pull never --name "$name" localhost/crivirt-check:1 \
    cat /proc/sys/kernel/random/boot_id) || { echo "check: no pod could be run: $guest" >&2; exit 1; }
if [ -z "$guest" ] || [ "$guest" = "$(cat /proc/sys/kernel/random/boot_id)" ]; then
    echo "check: the pod's program did not run in a VM (its boot id is '$guest')" >&2
    exit 1
fi
