#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What the installer's pod runs: install.sh at its start, and again whenever its configuration changes. /tmp/ready exists while what
# is installed is what is wanted; a configuration with which no pod runs is not tried again.
set -u
here=$(dirname "$(readlink -f "$0")")
config=${1:-/config/crivirt.toml}

trap 'exit 0' TERM INT
sh "$here/install.sh" /host "$config" || exit 1
touch /tmp/ready
cp "$config" /tmp/installed
while true; do
    sleep 20 &
    wait $!
    cmp -s "$config" /tmp/installed && continue
    rm -f /tmp/ready
    cp "$config" /tmp/installed
    sh "$here/install.sh" /host /tmp/installed && touch /tmp/ready
done
