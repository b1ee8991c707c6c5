#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Ends all pods of crivirtd, the daemon and the timer, removes the node's labels crivirt.io/…, and then all files. For uninstall.sh,
# which removes the units. It refuses while the kubelet uses crivirt.
set -eu
here=$(dirname "$(readlink -f "$0")")
PATH=$here/../../../bin:$PATH

# In a function, because the shell reads a script while it runs, and this one removes itself.
remove() {
    status=0
    if [ "$(cat /var/lib/crivirt-switch/runtime 2>/dev/null)" = crivirt ] || [ -e /var/lib/crivirt-switch/step ]; then
        echo "the kubelet uses crivirt: remove the node's label crivirt.io/switch, and wait for crivirt.io/state=installed" >&2
        exit 1
    fi
    systemctl disable --now crivirt-switch.timer || true
    systemctl stop crivirt-switch.service || true
    crivirt pods -q --no-trunc | xargs -r crivirt rmp -f >/dev/null || echo "some pods could not be removed" >&2
    systemctl disable --now crivirtd.service
    sh "$here/switch.sh" forget || echo "the labels crivirt.io/… of the node are left" >&2
    cmp -s "$here/../../../share/crivirt/crictl.yaml" /etc/crictl.yaml && rm /etc/crictl.yaml
    for directory in /run/crivirt /var/log/crivirt /var/lib/crivirt /var/lib/crivirt-switch /etc/crivirt /opt/crivirt; do
        if grep -q " $directory/" /proc/self/mounts; then # rm would follow it
            echo "$directory is left: something is mounted there" >&2
            status=1
        else
            rm -rf "$directory"
        fi
    done
    exit "$status"
}
remove
