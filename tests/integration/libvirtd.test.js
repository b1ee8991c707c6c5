'use strict';
// A pod under a libvirtd of the node's (libvirt_uri = qemu:///system) instead of the embedded driver.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, after} = require('node:test');
const {Machine} = require('./support/machine');
const {eventually, must} = require('./support/kit');

// libvirtd and virtlogd are the node's: where they run already, this test would disturb who uses them.
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

async function startLibvirtd(machine) {
    const config = path.join(machine.dir, 'libvirtd.conf');
    fs.writeFileSync(config, 'auth_unix_rw = "none"\nunix_sock_group = "root"\n');
    const daemon = machine.spawn(['libvirtd', '-f', config, '-p', path.join(machine.dir, 'libvirtd.pid')], 'libvirtd.log');
    await eventually('libvirtd answers', async () => {
        if (daemon.gone)
            throw new Error(fs.readFileSync(path.join(machine.dir, 'libvirtd.log'), 'utf8'));
        return (await machine.run('virsh', '-c', 'qemu:///system', 'version')).code === 0;
    });
    return daemon;
}

test('a pod with a volume lives under libvirtd, also when libvirtd is restarted', {skip: taken && 'libvirtd runs already'}, async () => {
    const machine = new Machine({flags: ['--libvirt-uri=qemu:///system']});
    ended.push(() => machine.end());
    machine.makeNetwork();
    machine.spawn(['virtlogd', '-p', path.join(machine.dir, 'virtlogd.pid')], 'virtlogd.log');
    let libvirtd = await startLibvirtd(machine);
    await machine.startDaemon();
    await machine.loadBusybox();
    const volume = path.join(machine.dir, 'volume');
    fs.mkdirSync(volume);
    fs.writeFileSync(path.join(volume, 'file'), 'from the node\n');
    const pod = await machine.runPod();
    const container = await machine.runContainer(pod, {mounts: [{container_path: '/volume', host_path: volume}]});
    assert.strictEqual(await machine.output(container, 'cat /volume/file'), 'from the node');
    assert.match((await machine.run('virsh', '-c', 'qemu:///system', 'list', '--name')).stdout, new RegExp(pod.id));

    // It ends, to be started again by the service manager; the pod goes on.
    libvirtd.kill('SIGTERM');
    assert.deepStrictEqual(await machine.daemon.ended, {code: 0, signal: null});
    await libvirtd.ended;
    libvirtd = await startLibvirtd(machine);
    await machine.startDaemon();
    assert.strictEqual((await machine.containerStatus(container)).state, 'CONTAINER_RUNNING');
    assert.strictEqual(await machine.output(container, 'cat /volume/file'), 'from the node');
    await machine.removePod(pod);
    assert.strictEqual((await machine.run('virsh', '-c', 'qemu:///system', 'list', '--name', '--all')).stdout.trim(), '');
    await machine.noLeaks();
});
