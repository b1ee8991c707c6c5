'use strict';
// What a pod's containers see of the node: volumes of every kind, and what happens when their file server dies.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Machine} = require('./support/machine');
const {eventually, refused, must} = require('./support/kit');

let machine;
before(async () => { machine = await Machine.start(); });
after(() => machine.end());

// A directory of the node.
function directory(name) {
    const dir = path.join(machine.dir, name);
    fs.mkdirSync(dir, {recursive: true});
    return dir;
}

const serverPid = (pod) => Number(fs.readFileSync(path.join(machine.runDir, 'share', `${pod.id.slice(0, 24)}.server`), 'utf8'));

test('a file server that dies fails its volumes at once, and nothing else', async () => {
    const pod = await machine.runPod();
    const data = directory('dies');
    fs.writeFileSync(path.join(data, 'file'), 'before');
    const mounts = [{container_path: '/volume', host_path: data}];
    const container = await machine.runContainer(pod, {
        command: ['/bin/sh', '-c', 'while :; do cat /volume/file >/dev/null; done'], mounts,
    });
    const plain = await machine.runContainer(pod);
    assert.strictEqual(await machine.output(container, 'cat /volume/file'), 'before');
    process.kill(serverPid(pod), 'SIGKILL');
    const gone = await machine.exec(container, 'ls /volume', 60);
    assert.notStrictEqual(gone.exit_code, 0);
    assert.match(gone.stderr, /not connected/);
    assert.strictEqual(await machine.output(container, 'echo fine >/tmp/x; cat /tmp/x'), 'fine');
    assert.strictEqual(await machine.output(plain, 'echo fine'), 'fine');
    // Who is hit is told so; who is not, is not.
    const hit = await eventually('the status tells', async () => {
        const status = await machine.containerStatus(container);
        return status.message && status;
    });
    assert.match(hit.message, /volumes \/volume failed: their file server/);
    assert.strictEqual(hit.state, 'CONTAINER_RUNNING');
    assert.strictEqual((await machine.containerStatus(plain)).message, '');
    assert.match(machine.daemonLog(), /volumes \/volume failed/);
    // The next container has a file server again.
    const next = await machine.runContainer(pod, {mounts});
    assert.strictEqual(await machine.output(next, 'cat /volume/file; echo after >/volume/file'), 'before');
    assert.strictEqual(fs.readFileSync(path.join(data, 'file'), 'utf8'), 'after\n');
    assert.notStrictEqual((await machine.exec(container, 'ls /volume', 60)).exit_code, 0);
    await machine.remove(container);
    // So does one after a death that no daemon saw.
    await machine.stopDaemon('SIGKILL');
    process.kill(serverPid(pod), 'SIGKILL');
    await machine.startDaemon();
    await eventually('the status tells', async () => (await machine.containerStatus(next)).message);
    assert.notStrictEqual((await machine.exec(next, 'ls /volume', 60)).exit_code, 0);
    const last = await machine.runContainer(pod, {mounts});
    assert.strictEqual(await machine.output(last, 'cat /volume/file'), 'after');
    await machine.removePod(pod);
    await machine.noLeaks();
});

// A loop device of the node over a fresh file of `bytes`; both go with the test.
function loopDevice(context, name, bytes = 8 << 20) {
    const file = path.join(machine.dir, name);
    fs.writeFileSync(file, '');
    fs.truncateSync(file, bytes);
    const device = must('losetup', '--find', '--show', file).trim();
    context.after(() => must('losetup', '--detach', device));
    return device;
}

// The number of sectors and the first word of a container's block device.
const look = (container, device) =>
    machine.output(container, `echo $(cat /sys/dev/block/$(stat -c %t:%T ${device} | sed 's/\\(.*\\):\\(.*\\)/printf "%d:%d" 0x\\1 0x\\2/' | sh)/size) $(head -c 5 ${device})`);

test('block devices of the node become disks of the guest, for as long as a container has them', async (context) => {
    const pod = await machine.runPod();
    const device = loopDevice(context, 'disk');
    const link = path.join(machine.dir, 'volume-link');
    fs.symlinkSync(device, link); // as the kubelet's volumeDevices are
    const raw = path.join(machine.dir, 'raw');
    fs.writeFileSync(raw, 'a file'.padEnd(1 << 20, '\0'));
    const volume = {container_path: '/dev/xvda', host_path: link, permissions: 'mrw'};
    const one = await machine.runContainer(pod, {devices: [volume, {container_path: '/dev/raw', host_path: raw, permissions: 'r'}]});
    assert.strictEqual(await machine.output(one, 'echo hello | dd of=/dev/xvda conv=fsync 2>/dev/null; head -c 5 /dev/xvda'), 'hello');
    assert.strictEqual(fs.readFileSync(device).subarray(0, 5).toString(), 'hello');
    assert.strictEqual(await look(one, '/dev/xvda'), `${(8 << 20) / 512} hello`);
    assert.strictEqual(await machine.output(one, 'head -c 6 /dev/raw'), 'a file');
    assert.notStrictEqual((await machine.exec(one, 'echo x >/dev/raw')).exit_code, 0);
    assert.strictEqual(await machine.output(one, 'stat -c "%F %a %g" /dev/xvda'),
                       `block special file ${(fs.statSync(device).mode & 0o777).toString(8)} ${fs.statSync(device).gid}`);
    // Another container of the pod has the same disk, by a mount; it stays when the first one goes.
    const two = await machine.runContainer(pod, {mounts: [{container_path: '/dev/disk', host_path: device}]});
    await machine.output(one, 'echo again | dd of=/dev/xvda 2>/dev/null');
    assert.strictEqual(await machine.output(two, 'head -c 5 /dev/disk'), 'again');
    assert.strictEqual(await machine.output(two, 'stat -c %t:%T /dev/disk'), await machine.output(one, 'stat -c %t:%T /dev/xvda'));
    await machine.remove(one);
    assert.strictEqual(await machine.output(two, 'head -c 5 /dev/disk'), 'again');
    // The next daemon knows it, too.
    await machine.restartDaemon('SIGKILL');
    await machine.remove(two);
    await eventually('nobody has the device open', () => fs.closeSync(fs.openSync(device, fs.constants.O_RDWR | fs.constants.O_EXCL)) === undefined);
    assert.strictEqual(fs.readFileSync(device).subarray(0, 5).toString(), 'again');
    // The raw file's own loop device has ended, the test's has not.
    assert.deepStrictEqual(machine.leaks().filter((leak) => leak.startsWith('loop')), [`loop device ${path.basename(device)}`]);
    // And the disk can come back.
    const three = await machine.runContainer(pod, {devices: [{...volume, permissions: 'r'}]});
    assert.strictEqual(await machine.output(three, 'head -c 5 /dev/xvda'), 'again');
    assert.notStrictEqual((await machine.exec(three, 'echo x >/dev/xvda')).exit_code, 0);
    await refused(machine.create(pod, {devices: [{...volume, host_path: '/dev/nothing-here'}]}), 'UNIMPLEMENTED', '/dev/nothing-here');
    await machine.removePod(pod);
});

// As the kubelet mounts an emptyDir of medium Memory; it goes with the test.
function memoryVolume(context, name, options) {
    const dir = path.join(machine.dir, 'kubelet/pods/uid/volumes/kubernetes.io~empty-dir', name);
    fs.mkdirSync(dir, {recursive: true});
    must('mount', '-t', 'tmpfs', '-o', options, 'tmpfs', dir);
    context.after(() => must('umount', dir));
    return dir;
}

test('an emptyDir in memory is the guest\'s memory, with its size, owner and sub-paths, shared by the pod', async (context) => {
    const dir = memoryVolume(context, 'cache', 'size=4096k,mode=2777,gid=1234');
    const sub = path.join(machine.dir, 'kubelet/pods/uid/volume-subpaths/cache/main/0');
    fs.mkdirSync(sub, {recursive: true});
    fs.mkdirSync(path.join(dir, 'part'));
    must('mount', '--bind', path.join(dir, 'part'), sub);
    context.after(() => must('umount', sub));
    const pod = await machine.runPod();
    const one = await machine.runContainer(pod, {
        mounts: [{container_path: '/cache', host_path: dir}, {container_path: '/ro', host_path: dir, readonly: true}],
        linux: {security_context: {run_as_user: {value: 1000}, run_as_group: {value: 1000}, supplemental_groups: [1234]}},
    });
    const two = await machine.runContainer(pod, {mounts: [{container_path: '/part', host_path: sub}, {container_path: '/all', host_path: dir}]});
    assert.match(await machine.output(one, 'grep " /cache " /proc/mounts'), /^memory \/cache tmpfs rw,\S*size=4096k/);
    assert.strictEqual(await machine.output(one, 'echo word >/cache/file; stat -c "%a %g" /cache /cache/file'), '2777 1234\n644 1234');
    assert.strictEqual(await machine.output(two, 'cat /all/file; echo deep >/part/x; cat /all/part/x'), 'word\ndeep');
    assert.deepStrictEqual(fs.readdirSync(dir), ['part'], 'the node has what is the guest\'s');
    assert.notStrictEqual((await machine.exec(one, 'echo x >/ro/file')).exit_code, 0);
    const full = await machine.exec(one, 'dd if=/dev/zero of=/cache/big bs=1M count=8');
    assert.match(full.stderr, /No space left/);
    assert.strictEqual(await machine.output(one, 'stat -c %s /cache/big; rm /cache/big').then(Number) <= 4 << 20, true);
    // It outlives containers, and is emptied by nothing but the pod's end.
    await machine.remove(one);
    await machine.remove(two);
    const three = await machine.runContainer(pod, {mounts: [{container_path: '/cache', host_path: dir}]});
    assert.strictEqual(await machine.output(three, 'cat /cache/file'), 'word');
    await machine.removePod(pod);
});
