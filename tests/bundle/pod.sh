#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# On a node that has only a bundle, as its init: prepares the node, starts crivirtd, runs a pod with a volume and a network by the
# CRI, and lists the files that the programs have in memory. What it prints is checked by bundle.test.js. The image of the pod is in
# /image.tar, and its name in /image-name; it has busybox.
set -eu
bundle=/opt/crivirt/current
export PATH="$bundle/bin:$PATH"
crivirt() { "$bundle/bin/crivirt" "$@"; }

sh "$bundle/libexec/crivirt/users.sh"
mkdir -p /etc/cni/net.d /var/lib /var/log /volume
cat >/etc/cni/net.d/10-node.conflist <<'END'
{"cniVersion": "1.0.0", "name": "node", "plugins": [{"type": "bridge", "bridge": "cvt0", "isGateway": true, "ipMasq": true,
 "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
 {"type": "portmap", "capabilities": {"portMappings": true}}]}
END
echo 'from the volume' >/volume/file

"$bundle/bin/crivirtd" --check-config && echo 'configuration: good'
"$bundle/bin/crivirtd" --guest-template=false --guest-vm-pool-size=0 --host-pods=always --boot-timeout=5m >/tmp/crivirtd.log 2>&1 &
daemon=$!
for _ in $(seq 600); do
    [ ! -S /run/crivirt/crivirtd.sock ] || break
    [ -d /proc/$daemon ] || { cat /tmp/crivirtd.log && exit 1; }
    sleep 0.1
done
crivirt version
crivirt load </image.tar
crivirt run --detach --name web -p 8080:80 -v /volume:/volume --entrypoint busybox "$(cat /image-name)" sleep 1000 >/dev/null ||
    { cat /tmp/crivirtd.log && exit 1; }
crivirt exec web busybox uname -r | sed 's/^/guest: /'
crivirt exec web busybox cat /volume/file | sed 's/^/volume: /'
crivirt exec web busybox ip -4 -o addr show eth0 | sed 's/^/network: /'
crivirt exec web busybox sh -c 'mkdir /tmp/www; echo "from the pod" >/tmp/www/index.html; busybox httpd -p 80 -h /tmp/www'
wget -q -O - http://10.88.0.1:8080/index.html | sed 's/^/port: /'
for process in /proc/[0-9]*; do
    program=$(readlink "$process/exe") || continue
    sed -n 's,^[^/]* \(/[^ ]*\)$,\1,p' "$process/maps" | grep -v '^/\(dev\|memfd\|SYSV\)' | sort -u | sed "s,^,mapped by ${program##*/}: ,"
done
crivirt rm -f web >/dev/null
crivirt run --rm --runtime host --entrypoint busybox "$(cat /image-name)" cat /proc/sys/kernel/osrelease | sed 's/^/host pod: /'
kill $daemon
wait $daemon
echo 'stopped'
