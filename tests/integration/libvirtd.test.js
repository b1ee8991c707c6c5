// SPDX-License-Identifier: Apache-2.0
'use strict';
// A pod under the node's libvirtd (libvirt_uri = qemu:///system) instead of the embedded driver.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, after} = require('node:test');
const {Node} = require('./support/node');
const {eventually, must} = require('./support/kit');

// The sockets of libvirtd and virtlogd exist once on a node. Where these run already, the test would disturb their clients.
const taken = ['libvirt-sock', 'virtlogd-sock'].some((name) => {
    try {
        must('sh', '-c', `ss -lx | grep -q /run/libvirt/${name}`);
        return true;
    } catch {
        return false;
    }
});
const ended = [];
after(async () => {
    for (const end of ended.reverse())
        await end();
});

async function startLibvirtd(node) {
    const config = path.join(node.dir, 'libvirtd.conf');
    fs.writeFileSync(config, 'auth_unix_rw = "none"\nunix_sock_group = "root"\n');
    const daemon = node.spawn(['libvirtd', '-f', config, '-p', path.join(node.dir, 'libvirtd.pid')], 'libvirtd.log');
    await eventually('libvirtd answers', async () => {
        if (daemon.gone)
            throw new Error(fs.readFileSync(path.join(node.dir, 'libvirtd.log'), 'utf8'));
        return (await node.run('virsh', '-c', 'qemu:///system', 'version')).code === 0;
    });
    return daemon;
}

test('a pod with a volume runs under libvirtd, and runs on when libvirtd is restarted', {skip: taken && 'libvirtd runs already'}, async () => {
    const node = new Node({flags: ['--libvirt-uri=qemu:///system']});
    ended.push(() => node.end());
    node.makeNetwork();
    node.spawn(['virtlogd', '-p', path.join(node.dir, 'virtlogd.pid')], 'virtlogd.log');
    let libvirtd = await startLibvirtd(node);
    await node.startDaemon();
    await node.loadBusybox();
    const volume = path.join(node.dir, 'volume');
    fs.mkdirSync(volume);
    fs.writeFileSync(path.join(volume, 'file'), 'from the node\n');
    const pod = await node.runPod();
    const container = await node.runContainer(pod, {mounts: [{container_path: '/volume', host_path: volume}]});
    assert.strictEqual(await node.output(container, 'cat /volume/file'), 'from the node');
    assert.match((await node.run('virsh', '-c', 'qemu:///system', 'list', '--name')).stdout, new RegExp(pod.id));

    // The daemon ends with libvirtd, so that the service manager starts it again; the pod runs on.
    libvirtd.kill('SIGTERM');
    assert.deepStrictEqual(await node.daemon.ended, {code: 0, signal: null});
    await libvirtd.ended;
    libvirtd = await startLibvirtd(node);
    await node.startDaemon();
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
    assert.strictEqual(await node.output(container, 'cat /volume/file'), 'from the node');
    await node.removePod(pod);
    assert.strictEqual((await node.run('virsh', '-c', 'qemu:///system', 'list', '--name', '--all')).stdout.trim(), '');
    await node.noLeaks();
});
