// SPDX-License-Identifier: Apache-2.0
'use strict';
// Who may read what the daemon keeps on the node. Other users of the node may read none of it, and may pass through those
// directories only in which QEMU's user, who is one of them, has something to open.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {programs} = require('./support/environment');
const {Node} = require('./support/node');
const {eventually, must} = require('./support/kit');

let node;
before(async () => {
    node = await Node.start({templates: true, flags: ['--host-pods=always', `--host-agent=${programs.agent}`, '--guest-vm-pool-size=1']});
});
after(() => node.end());

// Directories whose names others cannot list, and through which QEMU's user passes.
const PASSABLE = [
    'state', // state_dir
    'state/images', 'state/images/layers', 'state/images/layers/sha256', 'state/images/layers/sha512', // layers, which are disks
    'state/pods', /^state\/pods\/\w+$/, // writable disks
    'state/libvirt', /^state\/libvirt\/(cache|lib|log)(\/qemu)?$/, // libvirt's, with directories of QEMU's user in them
    /^state\/libvirt\/lib\/qemu\/(channel|channel\/target|ram)$/,
    'run', 'run/vm', // agent sockets and consoles, in directories of QEMU's user
    'run/libvirt', 'run/libvirt/qemu',
];
// libvirt writes the process ids of the daemon and of QEMU, which are no secret.
const READABLE = [/^run\/libvirt\/qemu\/\w+\.pid$/];
const isIn = (list, name) => list.some((one) => one instanceof RegExp ? one.test(name) : one === name);

// [{name, status}] of everything below the directory that others can reach, without what is mounted there.
function walk(top, name) {
    const mounts = new Set(fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n').map((line) => line.split(' ')[4]));
    const found = [];
    const visit = (file, as) => {
        const status = fs.lstatSync(file, {throwIfNoEntry: false});
        if (!status || mounts.has(file) && file !== top)
            return;
        found.push({name: as, status});
        if (status.isDirectory() && status.mode & 0o001)
            for (const entry of fs.readdirSync(file))
                visit(path.join(file, entry), `${as}/${entry}`);
    };
    visit(top, name);
    return found;
}

const openToOthers = () => [...walk(node.stateDir, 'state'), ...walk(node.runDir, 'run')]
    .filter(({status}) => !status.isSymbolicLink() && status.mode & 0o007)
    .filter(({name, status}) => !(status.isDirectory() && (status.mode & 0o007) === 1 && isIn(PASSABLE, name)))
    .filter(({name, status}) => !((status.mode & 0o007) === 4 && isIn(READABLE, name)))
    .map(({name, status}) => `${(status.mode & 0o7777).toString(8)} ${name}`).sort();

test('other users of the node can read nothing below the state and run directories, and pass through few of them', async () => {
    const report = async () => JSON.parse((await node.cri.call('Status', {verbose: true})).info.templates);
    await eventually('the VM pool is full', async () => (await report()).vmPool === 1);
    const volume = path.join(node.dir, 'volume');
    fs.mkdirSync(volume, {recursive: true});
    const mounts = [{host_path: volume, container_path: '/volume'}];
    const pod = await node.runPod();
    const container = await node.runContainer(pod, {mounts});
    assert.strictEqual(await node.output(container, 'echo works'), 'works');
    const linux = {security_context: {namespace_options: {network: 'NODE', pid: 'NODE', ipc: 'NODE'}}};
    const host = await node.runPod({linux});
    await node.runContainer(host, {linux, mounts});
    assert.deepStrictEqual(openToOthers(), []);
    await node.removePod(pod);
    await node.removePod(host);
});

test('layers are readable by root and QEMU\'s group alone, also those that an earlier version has left', async () => {
    const layers = path.join(node.stateDir, 'images/layers/sha256');
    const [name] = fs.readdirSync(layers);
    const qemu = Number(must('getent', 'group', 'libvirt-qemu').split(':')[2]);
    const look = () => {
        const {mode, uid, gid} = fs.statSync(path.join(layers, name));
        return {mode: mode & 0o7777, uid, gid};
    };
    assert.deepStrictEqual(look(), {mode: 0o440, uid: 0, gid: qemu});
    await node.stopDaemon();
    fs.chmodSync(path.join(layers, name), 0o444);
    fs.chownSync(path.join(layers, name), 0, 0);
    await node.startDaemon();
    assert.deepStrictEqual(look(), {mode: 0o440, uid: 0, gid: qemu});
});
