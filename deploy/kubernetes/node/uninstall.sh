#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Removes crivirt and all that it has stored from the node; remove.sh does the work on the node itself.
#   uninstall.sh ROOT       ROOT has the node's /etc/systemd/system; as for install.sh
set -eu
[ $# = 1 ] || { echo "usage: uninstall.sh ROOT" >&2; exit 2; }
PATH=$(dirname "$(readlink -f "$0")")/../../../bin:$PATH
units=$1/etc/systemd/system
store=/opt/crivirt

cat >"$units/crivirt-remove.service" <<END
[Unit]
Description=crivirt: end all pods and crivirtd, and remove them from this node
ConditionPathExists=$store/current

[Service]
Type=oneshot
ExecStart=$store/current/bin/busybox sh $store/current/lib/crivirt/node/remove.sh
TimeoutStartSec=15min
END
systemctl daemon-reload
status=0
systemctl start crivirt-remove.service || status=$?
rm -f "$units/crivirt-remove.service"
if [ "$status" != 0 ]; then
    echo "uninstall: error: crivirt was not removed; its reason is in the node's journal (journalctl -u crivirt-remove)" >&2
    exit 1
fi
rm -f "$units"/crivirtd.service "$units"/crivirt-check.service "$units"/crivirt-switch.service "$units"/crivirt-switch.timer
systemctl daemon-reload
echo "uninstall: crivirt is not on this node any more" >&2
