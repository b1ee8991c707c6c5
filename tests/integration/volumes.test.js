// SPDX-License-Identifier: Apache-2.0
'use strict';
// Volumes of every kind as containers see them, and what happens when their file server dies.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {programs} = require('./support/environment');
const {BUSYBOX} = require('./support/images');
const {eventually, failure, grows, refused, must} = require('./support/kit');

let node;
// The handler `mortal`: what happens where a file server is not replaced (recovery.test.js: where it is).
const config = `[handlers.unlocked]\nvolume_locks = false\n[handlers.mortal]\nvolume_recovery = false
[handlers.always]\nvolume_cache = "always"\n[handlers.never]\nvolume_cache = "never"\n`;
before(async () => { node = await Node.start({config}); });
after(() => node.end());

const directory = (name) => node.directory(name);
const serverPid = (pod) => node.fileServerPid(pod);

test('a file server that dies fails its volumes at once and nothing else', async () => {
    const pod = await node.runPod({}, 'mortal');
    const data = directory('dies');
    fs.writeFileSync(path.join(data, 'file'), 'before');
    const mounts = [{container_path: '/volume', host_path: data}];
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'while :; do cat /volume/file >/dev/null; done'], mounts,
    });
    const plain = await node.runContainer(pod);
    assert.strictEqual(await node.output(container, 'cat /volume/file'), 'before');
    process.kill(serverPid(pod), 'SIGKILL');
    const gone = await node.exec(container, 'ls /volume', 60);
    assert.notStrictEqual(gone.exit_code, 0);
    assert.match(gone.stderr, /not connected/);
    assert.strictEqual(await node.output(container, 'echo fine >/tmp/x; cat /tmp/x'), 'fine');
    assert.strictEqual(await node.output(plain, 'echo fine'), 'fine');
    // The status of the container with the volume says so, and no other.
    const hit = await eventually('the status has a message', async () => {
        const status = await node.containerStatus(container);
        return status.message && status;
    });
    assert.match(hit.message, /volumes \/volume failed: their file server/);
    assert.strictEqual(hit.state, 'CONTAINER_RUNNING');
    assert.strictEqual((await node.containerStatus(plain)).message, '');
    assert.match(node.daemonLog(), /volumes \/volume failed/);
    // The next container has a file server again.
    const next = await node.runContainer(pod, {mounts});
    assert.strictEqual(await node.output(next, 'cat /volume/file; echo after >/volume/file'), 'before');
    assert.strictEqual(fs.readFileSync(path.join(data, 'file'), 'utf8'), 'after\n');
    assert.notStrictEqual((await node.exec(container, 'ls /volume', 60)).exit_code, 0);
    await node.remove(container);
    // It also has one after a file server died while no daemon ran.
    await node.stopDaemon('SIGKILL');
    process.kill(serverPid(pod), 'SIGKILL');
    await node.startDaemon();
    await eventually('the status has a message', async () => (await node.containerStatus(next)).message);
    assert.notStrictEqual((await node.exec(next, 'ls /volume', 60)).exit_code, 0);
    const last = await node.runContainer(pod, {mounts});
    assert.strictEqual(await node.output(last, 'cat /volume/file'), 'after');
    await node.removePod(pod);
    await node.noLeaks();
});

// The fsguard of a pod's file server that was started first; the others are its forks.
const guardPids = (pod) => fs.readdirSync('/proc').filter((name) => {
    try {
        const words = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
        return words[0].endsWith('crivirt-fsguard') && words[3].includes(pod.id.slice(0, 24));
    } catch {
        return false; // it is no process, or no more
    }
}).map(Number).sort((one, other) => one - other);

test('an fsguard that is killed is replaced, and when none is left the pod fails with the reason', async () => {
    const pod = await node.runPod({}, 'mortal');
    const data = directory('unguarded');
    fs.writeFileSync(path.join(data, 'file'), 'before');
    const mounts = [{container_path: '/volume', host_path: data}];
    const busy = {command: ['/bin/sh', '-c', 'while :; do cat /volume/file >/dev/null; done'], mounts};
    const container = await node.runContainer(pod, busy);
    const pair = () => eventually('two processes guard it', () => { const pids = guardPids(pod); return pids.length === 2 && pids; });
    // Nothing is lost, whichever of the two dies.
    const first = await pair();
    process.kill(first[0], 'SIGKILL');
    assert.strictEqual(await node.output(container, 'cat /volume/file'), 'before');
    const second = await pair();
    assert.ok(second.includes(first[1]));
    process.kill(second.find((pid) => pid !== first[1]), 'SIGKILL');
    assert.strictEqual(await node.output(container, 'cat /volume/file'), 'before');
    const third = await pair();
    // The fsguard that took over can fail requests when the file server dies.
    process.kill(serverPid(pod), 'SIGKILL');
    assert.match((await node.exec(container, 'ls /volume', 60)).stderr, /not connected/);
    // It also has a record of what another fsguard has failed before.
    process.kill(third[0], 'SIGKILL');
    assert.match((await node.exec(container, 'ls /volume', 60)).stderr, /not connected/);
    await node.remove(container);
    const next = await node.runContainer(pod, {mounts});
    assert.strictEqual(await node.output(next, 'cat /volume/file'), 'before');
    // With no fsguard left, processes that wait in the guest cannot even be killed: the pod has failed and its status says why.
    const reader = node.exec(next, 'touch /volume/reading; while cat /volume/file; do :; done').then(() => null, (error) => error);
    await eventually('it reads', () => fs.existsSync(path.join(data, 'reading')));
    for (const pid of await pair())
        process.kill(pid, 'SIGKILL');
    assert.match((await reader).details, /guard/);
    await eventually('the pod has failed', async () => (await node.podStatus(pod)).state === 'SANDBOX_NOTREADY');
    const {state, reason, message} = await node.ended(next);
    assert.deepStrictEqual([state, reason], ['CONTAINER_EXITED', 'Unknown']);
    assert.match(message, /file server .* guard/);
    assert.match(node.daemonLog(), /volumes \/volume failed/);
    await node.removePod(pod);
    await node.noLeaks();
});

// Makes a loop device over a new file of `bytes`. Both are removed after the test.
function loopDevice(context, name, bytes = 8 << 20) {
    const file = path.join(node.dir, name);
    fs.writeFileSync(file, '');
    fs.truncateSync(file, bytes);
    const device = must('losetup', '--find', '--show', file).trim();
    context.after(() => must('losetup', '--detach', device));
    return device;
}

// The number of sectors and the first word of a container's block device.
const look = (container, device) =>
    node.output(container, `echo $(cat /sys/dev/block/$(stat -c %t:%T ${device} | sed 's/\\(.*\\):\\(.*\\)/printf "%d:%d" 0x\\1 0x\\2/' | sh)/size) $(head -c 5 ${device})`);

test('block devices of the node are disks of the guest for as long as a container has them', async (context) => {
    const pod = await node.runPod();
    const device = loopDevice(context, 'disk');
    const link = path.join(node.dir, 'volume-link');
    fs.symlinkSync(device, link); // as the kubelet's volumeDevices are
    const raw = path.join(node.dir, 'raw');
    fs.writeFileSync(raw, 'a file'.padEnd(1 << 20, '\0'));
    const volume = {container_path: '/dev/xvda', host_path: link, permissions: 'mrw'};
    const one = await node.runContainer(pod, {devices: [volume, {container_path: '/dev/raw', host_path: raw, permissions: 'r'}]});
    assert.strictEqual(await node.output(one, 'echo hello | dd of=/dev/xvda conv=fsync 2>/dev/null; head -c 5 /dev/xvda'), 'hello');
    assert.strictEqual(fs.readFileSync(device).subarray(0, 5).toString(), 'hello');
    assert.strictEqual(await look(one, '/dev/xvda'), `${(8 << 20) / 512} hello`);
    assert.strictEqual(await node.output(one, 'head -c 6 /dev/raw'), 'a file');
    assert.notStrictEqual((await node.exec(one, 'echo x >/dev/raw')).exit_code, 0);
    assert.strictEqual(await node.output(one, 'stat -c "%F %a %g" /dev/xvda'),
                       `block special file ${(fs.statSync(device).mode & 0o777).toString(8)} ${fs.statSync(device).gid}`);
    // Another container of the pod mounts the same disk, and keeps it when the first container is removed.
    const two = await node.runContainer(pod, {mounts: [{container_path: '/dev/disk', host_path: device}]});
    await node.output(one, 'echo again | dd of=/dev/xvda 2>/dev/null');
    assert.strictEqual(await node.output(two, 'head -c 5 /dev/disk'), 'again');
    assert.strictEqual(await node.output(two, 'stat -c %t:%T /dev/disk'), await node.output(one, 'stat -c %t:%T /dev/xvda'));
    await node.remove(one);
    assert.strictEqual(await node.output(two, 'head -c 5 /dev/disk'), 'again');
    // The next daemon has a record of the disk, too.
    await node.restartDaemon('SIGKILL');
    await node.remove(two);
    await eventually('nobody has the device open', () => fs.closeSync(fs.openSync(device, fs.constants.O_RDWR | fs.constants.O_EXCL)) === undefined);
    assert.strictEqual(fs.readFileSync(device).subarray(0, 5).toString(), 'again');
    // Of the loop devices only the test's is left.
    assert.deepStrictEqual(node.leaks().filter((leak) => leak.startsWith('loop')), [`loop device ${path.basename(device)}`]);
    // The disk can be attached again.
    const three = await node.runContainer(pod, {devices: [{...volume, permissions: 'r'}]});
    assert.strictEqual(await node.output(three, 'head -c 5 /dev/xvda'), 'again');
    assert.notStrictEqual((await node.exec(three, 'echo x >/dev/xvda')).exit_code, 0);
    await refused(node.create(pod, {devices: [{...volume, host_path: '/dev/nothing-here'}]}), 'UNIMPLEMENTED', '/dev/nothing-here');
    await node.removePod(pod);
});

// Mounts an emptyDir of medium Memory as the kubelet does. It is unmounted after the test.
function memoryVolume(context, name, options) {
    const dir = path.join(node.dir, 'kubelet/pods/uid/volumes/kubernetes.io~empty-dir', name);
    fs.mkdirSync(dir, {recursive: true});
    must('mount', '-t', 'tmpfs', '-o', options, 'tmpfs', dir);
    context.after(() => must('umount', dir));
    return dir;
}

test('an emptyDir of medium Memory is in the guest\'s memory, with its size, owner and sub-paths, and shared by the pod', async (context) => {
    const dir = memoryVolume(context, 'cache', 'size=4096k,mode=2777,gid=1234');
    const sub = path.join(node.dir, 'kubelet/pods/uid/volume-subpaths/cache/main/0');
    fs.mkdirSync(sub, {recursive: true});
    fs.mkdirSync(path.join(dir, 'part'));
    must('mount', '--bind', path.join(dir, 'part'), sub);
    context.after(() => must('umount', sub));
    const pod = await node.runPod();
    const one = await node.runContainer(pod, {
        mounts: [{container_path: '/cache', host_path: dir}, {container_path: '/ro', host_path: dir, readonly: true}],
        linux: {security_context: {run_as_user: {value: 1000}, run_as_group: {value: 1000}, supplemental_groups: [1234]}},
    });
    const two = await node.runContainer(pod, {mounts: [{container_path: '/part', host_path: sub}, {container_path: '/all', host_path: dir}]});
    assert.match(await node.output(one, 'grep " /cache " /proc/mounts'), /^tmpfs \/cache tmpfs rw,\S*size=4096k/);
    assert.strictEqual(await node.output(one, 'echo word >/cache/file; stat -c "%a %g" /cache /cache/file'), '2777 1234\n644 1234');
    assert.strictEqual(await node.output(two, 'cat /all/file; echo deep >/part/x; cat /all/part/x'), 'word\ndeep');
    assert.deepStrictEqual(fs.readdirSync(dir), ['part'], 'the node has what is the guest\'s');
    assert.notStrictEqual((await node.exec(one, 'echo x >/ro/file')).exit_code, 0);
    const full = await node.exec(one, 'dd if=/dev/zero of=/cache/big bs=1M count=8');
    assert.match(full.stderr, /No space left/);
    assert.strictEqual(await node.output(one, 'stat -c %s /cache/big; rm /cache/big').then(Number) <= 4 << 20, true);
    // It keeps its content until the pod ends.
    await node.remove(one);
    await node.remove(two);
    const three = await node.runContainer(pod, {mounts: [{container_path: '/cache', host_path: dir}]});
    assert.strictEqual(await node.output(three, 'cat /cache/file'), 'word');
    await node.removePod(pod);
});

test('a volume of the node\'s huge pages is refused, and the message says what to use instead', async (context) => {
    if (!/\thugetlbfs\n/.test(fs.readFileSync('/proc/filesystems', 'utf8'))) {
        context.skip('the node has no huge pages');
        return;
    }
    const dir = directory('kubelet/pods/uid/volumes/kubernetes.io~empty-dir/huge');
    must('mount', '-t', 'hugetlbfs', 'none', dir);
    context.after(() => must('umount', dir));
    const pod = await node.runPod();
    await refused(node.create(pod, {mounts: [{container_path: '/huge', host_path: dir}]}), 'UNIMPLEMENTED', dir, 'huge pages', 'vm.nr_hugepages');
    await node.removePod(pod);
});

test('mounts handle sub-paths, links, missing sources, flat and recursive read-only, and propagation from the node', async (context) => {
    const pod = await node.runPod();
    const data = directory('deep'), below = directory('deep/below'), late = directory('deep/late');
    fs.writeFileSync(path.join(data, 'file'), 'x');
    fs.symlinkSync(data, path.join(node.dir, 'deep-link'));
    // The directory is shared as a node's root is, so that later mounts below it propagate.
    must('mount', '--bind', data, data);
    must('mount', '--make-shared', data);
    must('mount', '-t', 'tmpfs', 'tmpfs', below);
    context.after(() => { for (const dir of [below, late, data]) must('umount', '-l', dir); });
    const container = await node.runContainer(pod, {mounts: [
        {container_path: '/whole', host_path: path.join(node.dir, 'deep-link')},
        {container_path: '/sub', host_path: below},
        {container_path: '/new', host_path: path.join(node.dir, 'not/yet/there')},
        {container_path: '/flat', host_path: data, readonly: true},
        {container_path: '/rro', host_path: data, readonly: true, recursive_read_only: true},
        {container_path: '/follow', host_path: data, propagation: 'PROPAGATION_HOST_TO_CONTAINER'},
    ]});
    const writes = async (file) => (await node.exec(container, `echo x >${file}`)).exit_code === 0;
    assert.strictEqual(await node.output(container, 'cat /whole/file; echo sub >/sub/y; cat /whole/below/y; ls -d /new'), 'xsub\n/new');
    assert.ok(fs.statSync(path.join(node.dir, 'not/yet/there')).isDirectory());
    assert.deepStrictEqual([await writes('/flat/z'), await writes('/flat/below/z')], [false, true]);
    assert.deepStrictEqual([await writes('/rro/z'), await writes('/rro/below/z')], [false, false]);
    // Mounts something on the node while the container runs.
    must('mount', '-t', 'tmpfs', 'tmpfs', late);
    fs.writeFileSync(path.join(late, 'word'), 'late');
    await eventually('the mount appears', async () => (await node.exec(container, 'cat /follow/late/word')).stdout === 'late');
    assert.notStrictEqual((await node.exec(container, 'cat /whole/late/word')).exit_code, 0);
    await refused(node.create(pod, {mounts: [{container_path: '/x', host_path: data, propagation: 'PROPAGATION_BIDIRECTIONAL'}]}),
                  'INVALID_ARGUMENT', 'bidirectional', '/x');
    await node.removePod(pod);
});

test('options of a mount restrict it, and those that are unknown are refused', async () => {
    const pod = await node.runPod();
    const data = directory('options');
    fs.writeFileSync(path.join(data, 'program'), '#!/bin/sh\necho ran\n', {mode: 0o755});
    const mounts = [
        {container_path: '/plain', host_path: data},
        {container_path: '/fixed', host_path: data, mount_options: ['noexec', 'nosuid', 'nodev', 'noatime']},
        {container_path: '/image', image: {image: BUSYBOX}, readonly: true, mount_options: ['noexec']},
    ];
    const container = await node.runContainer(pod, {mounts});
    assert.strictEqual(await node.output(container, '/plain/program'), 'ran');
    assert.strictEqual((await node.exec(container, '/fixed/program')).exit_code, 126);
    assert.strictEqual((await node.exec(container, '/image/bin/busybox true')).exit_code, 126);
    const options = (await node.output(container, `sed -n 's, /fixed \\S* \\(\\S*\\) .*,\\1,p' /proc/mounts`));
    for (const option of ['noexec', 'nosuid', 'nodev', 'noatime'])
        assert.ok(options.includes(option), options);
    for (const option of ['suid', 'bind', 'lowerdir=/', ''])
        await refused(node.create(pod, {mounts: [{container_path: '/x', host_path: data, mount_options: [option]}]}),
                      'INVALID_ARGUMENT', `"${option}"`, 'mount_options of /x');
    const {features} = await node.cri.call('Status');
    assert.deepStrictEqual(features, {supplemental_groups_policy: true, user_namespaces_host_network: false, mount_options: true});
    await node.removePod(pod);
});

test('a mount that the guest cannot make is reported with the host_path that the client gave', async () => {
    const pod = await node.runPod();
    const file = path.join(directory('misfit'), 'file');
    fs.writeFileSync(file, 'x');
    const mounts = [{container_path: '/first', host_path: path.dirname(file)}, {container_path: '/etc', host_path: file}];
    const error = await failure(node.create(pod, {mounts}));
    assert.ok(error.details.includes(file) && error.details.includes('etc'), error.details);
    assert.ok(!error.details.includes('/run/crivirt'), error.details);
    await node.removePod(pod);
});

test('containers see what the kubelet changes in volumes, and the kubelet sees the termination message', async () => {
    const pod = await node.runPod();
    const config = directory('configmap');
    const version = (name, text) => {
        fs.mkdirSync(path.join(config, name));
        fs.writeFileSync(path.join(config, name, 'key'), text);
        fs.symlinkSync(name, path.join(config, '..data_tmp'));
        fs.renameSync(path.join(config, '..data_tmp'), path.join(config, '..data'));
    };
    version('..v1', 'one');
    fs.symlinkSync('..data/key', path.join(config, 'key'));
    const grouped = directory('fsgroup');
    fs.chownSync(grouped, 0, 2000);
    fs.chmodSync(grouped, 0o2775);
    const hosts = path.join(node.dir, 'etc-hosts'), message = path.join(node.dir, 'termination-log');
    fs.writeFileSync(hosts, '127.0.0.1 first\n');
    fs.writeFileSync(message, '');
    fs.chmodSync(message, 0o666);
    const container = await node.runContainer(pod, {
        mounts: [
            {container_path: '/config', host_path: config, readonly: true}, {container_path: '/data', host_path: grouped},
            {container_path: '/etc/hosts', host_path: hosts}, {container_path: '/dev/termination-log', host_path: message},
        ],
        linux: {security_context: {run_as_user: {value: 1000}, run_as_group: {value: 1000}, supplemental_groups: [2000]}},
    });
    assert.strictEqual(await node.output(container, 'cat /config/key'), 'one');
    version('..v2', 'two');
    await eventually('the new version is seen', async () => await node.output(container, 'cat /config/key') === 'two');
    fs.writeFileSync(hosts, '127.0.0.1 second\n');
    await eventually('the new hosts are seen', async () => /second/.test(await node.output(container, 'cat /etc/hosts')));
    assert.strictEqual(await node.output(container, 'touch /data/mine; stat -c "%u %g" /data/mine'), '1000 2000');
    assert.strictEqual(fs.statSync(path.join(grouped, 'mine')).uid, 1000);
    await node.output(container, 'echo the end >/dev/termination-log');
    assert.strictEqual(fs.readFileSync(message, 'utf8'), 'the end\n');
    await node.removePod(pod);
});

// What the file server of a pod's volumes was started with: ["cache=auto", "posix_lock,flock"].
const serverOptions = (pod) => fs.readFileSync(`/proc/${serverPid(pod)}/cmdline`, 'utf8').split('\0')
    .filter((word) => /^cache=|lock/.test(word));
const fileWith = (name, text) => {
    const data = directory(name);
    fs.writeFileSync(path.join(data, 'file'), text);
    return {file: path.join(data, 'file'), data, mounts: [{container_path: '/volume', host_path: data}, node.toolMount()]};
};

test('volume_cache = "never": the guest keeps nothing, sees every change of the node at once, and has no shared mappings', async () => {
    const {file, data, mounts} = fileWith('never', 'first\n');
    const {atime, mtime} = fs.statSync(file);
    const pod = await node.runPod({}, 'never');
    const container = await node.runContainer(pod, {mounts});
    assert.deepStrictEqual(serverOptions(pod)[0], 'cache=none');
    assert.strictEqual(await node.output(container, 'cat /volume/file; stat -c %s /volume/file; ls /volume'), 'first\n6\nfile');
    // By nothing but its content, then by its size; and a name.
    fs.writeFileSync(file, 'other\n');
    fs.utimesSync(file, atime, mtime);
    assert.strictEqual(await node.output(container, 'cat /volume/file'), 'other');
    fs.writeFileSync(file, 'another one\n');
    assert.strictEqual(await node.output(container, 'stat -c %s /volume/file; cat /volume/file'), '12\nanother one');
    fs.renameSync(file, path.join(data, 'renamed'));
    assert.strictEqual(await node.output(container, 'ls /volume; cat /volume/file 2>/dev/null || echo none'), 'renamed\nnone');
    // What the guest writes is on the node when the call returns.
    await node.output(container, 'echo mine >/volume/mine');
    assert.strictEqual(fs.readFileSync(path.join(data, 'mine'), 'utf8'), 'mine\n');
    const mapped = await node.exec(container, '/tool map /volume/mine');
    assert.deepStrictEqual([mapped.exit_code, mapped.stderr], [1, '/volume/mine: No such device\n']);
    // A program is mapped privately, which works.
    await node.output(container, 'cp /tool /volume/program');
    assert.strictEqual(await node.output(container, '/volume/program try-posix /volume/mine'), 'got');
    await node.removePod(pod);
});

test('volume_cache = "always": the guest keeps what it has seen, also where the node has changed it; "auto" opens what is there', async () => {
    const {file, data, mounts} = fileWith('always', 'first\n');
    const pod = await node.runPod({}, 'always'), usual = await node.runPod();
    const container = await node.runContainer(pod, {mounts}), beside = await node.runContainer(usual, {mounts});
    assert.deepStrictEqual([pod, usual].map((one) => serverOptions(one)[0]), ['cache=always', 'cache=auto']);
    for (const one of [container, beside])
        assert.strictEqual(await node.output(one, 'cat /volume/file; stat -c %s /volume/file; /tool map /volume/file'), 'first\n6\nfirst');
    fs.writeFileSync(file, 'other');
    fs.writeFileSync(path.join(data, 'new'), 'new\n');
    assert.strictEqual(await node.output(container, 'cat /volume/file; stat -c %s /volume/file'), 'first\n6');
    assert.strictEqual(await node.output(beside, 'cat /volume/file'), 'other');
    // It asks for a name that it has not seen, and its own changes are on the node at once.
    assert.strictEqual(await node.output(container, 'cat /volume/new; echo mine >/volume/file; cat /volume/file'), 'new\nmine');
    assert.strictEqual(fs.readFileSync(file, 'utf8'), 'mine\n');
    // So it does not see the kubelet's new version of a ConfigMap.
    fs.mkdirSync(path.join(data, '..v1'));
    fs.mkdirSync(path.join(data, '..v2'));
    fs.writeFileSync(path.join(data, '..v1/key'), 'one\n');
    fs.writeFileSync(path.join(data, '..v2/key'), 'two\n');
    fs.symlinkSync('..v1', path.join(data, '..data'));
    assert.strictEqual(await node.output(container, 'cat /volume/..data/key'), 'one');
    fs.symlinkSync('..v2', path.join(data, '..tmp'));
    fs.renameSync(path.join(data, '..tmp'), path.join(data, '..data'));
    assert.strictEqual(await node.output(container, 'cat /volume/..data/key'), 'one');
    await node.removePod(pod);
    await node.removePod(usual);
});

test('a pod keeps its volume_cache and volume_locks when the options change and its file server is replaced', async (context) => {
    const pods = [];
    for (const handler of ['always', 'never', 'unlocked']) {
        const pod = await node.runPod({}, handler);
        const {file, mounts} = fileWith(`keeps-${handler}`, 'first\n');
        const container = await node.runContainer(pod, {
            command: ['/bin/sh', '-c', 'exec 3>>/volume/log; while sleep 0.1; do echo line >&3 || echo failed; done'], mounts,
        });
        pods.push({pod, file, container, handler, options: serverOptions(pod), log: path.join(path.dirname(file), 'log')});
    }
    const locks = 'posix_lock,flock', none = 'no_posix_lock,no_flock';
    assert.deepStrictEqual(pods.map(({options}) => options), [['cache=always', locks], ['cache=none', locks], ['cache=auto', none]]);
    context.after(() => fs.writeFileSync(node.configFile, config));
    fs.writeFileSync(node.configFile, `[guest]\nvolume_cache = "never"\n[handlers.always]\n[handlers.never]\nvolume_cache = "always"\n[handlers.unlocked]\n`);
    await node.restartDaemon();
    for (const {pod, file, container, handler, options, log} of pods) {
        const server = serverPid(pod);
        process.kill(server, 'SIGKILL');
        await eventually('there is another file server', () => serverPid(pod) !== server);
        assert.deepStrictEqual(serverOptions(pod), options, handler);
        await grows(log);
        assert.strictEqual(await node.output(container, 'cat /volume/file'), 'first', handler);
        assert.deepStrictEqual(node.logTexts(container), [], handler);
        const {info} = await node.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true});
        assert.strictEqual(JSON.parse(info.volumeCache), options[0].slice(6).replace('none', 'never'));
        fs.writeFileSync(file, 'other\n');
        assert.strictEqual(await node.output(container, 'cat /volume/file'), handler === 'always' ? 'first' : 'other', handler);
    }
    const pod = await node.runPod({}, 'unlocked');
    const {mounts} = fileWith('as-configured', '');
    await node.runContainer(pod, {mounts});
    assert.deepStrictEqual(serverOptions(pod), ['cache=none', locks]);
    await node.stopDaemon();
    fs.writeFileSync(node.configFile, config);
    await node.startDaemon();
    for (const one of [...pods.map((entry) => entry.pod), pod])
        await node.removePod(one);
    await node.noLeaks();
});

test('inotify, sockets and FIFOs do not work between node and guest', async () => {
    const pod = await node.runPod();
    const data = directory('limits');
    must('mkfifo', path.join(data, 'fifo'));
    const server = require('net').createServer().listen(path.join(data, 'socket'));
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', '/tool watch /data >/tmp/events & sleep 100000'],
        mounts: [{container_path: '/data', host_path: data}, node.toolMount()],
    });
    const events = async () => (await node.exec(container, 'cat /tmp/events')).stdout;
    await eventually('the watch is set', async () => /watching/.test(await events()));
    fs.writeFileSync(path.join(data, 'by-node'), '');
    await eventually('the file is seen', async () => (await node.exec(container, 'ls /data/by-node')).exit_code === 0);
    await node.output(container, 'touch /data/by-guest');
    await eventually('the event of the guest comes', async () => /by-guest/.test(await events()));
    assert.doesNotMatch(await events(), /by-node/);
    assert.strictEqual(await node.output(container, 'stat -c %F /data/socket /data/fifo'), 'socket\nfifo');
    assert.match((await node.exec(container, '/tool connect /data/socket')).stderr, /refused/);
    // The FIFO of the guest is another one than the node's, and has no writer.
    const fifo = fs.openSync(path.join(data, 'fifo'), fs.constants.O_RDWR | fs.constants.O_NONBLOCK);
    fs.writeSync(fifo, 'for nobody');
    assert.notStrictEqual((await node.exec(container, 'timeout 3 cat /data/fifo')).exit_code, 0);
    fs.closeSync(fifo);
    server.close();
    await node.removePod(pod);
});

test('sockets, FIFOs, inotify and writes work between the containers of a pod in an emptyDir', async () => {
    const pod = await node.runPod();
    const dir = directory(`kubelet/pods/${pod.config.metadata.uid}/volumes/kubernetes.io~empty-dir/joint`);
    const mounts = [{container_path: '/joint', host_path: dir}, node.toolMount()];
    const one = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', '/tool watch /joint >/tmp/events & /tool listen /joint/socket & sleep 100000'], mounts,
    });
    const two = await node.runContainer(pod, {mounts: [{...mounts[0], readonly: true}, node.toolMount()]});
    const three = await node.runContainer(pod, {mounts});
    await eventually('the socket is there', async () => (await node.exec(three, 'test -S /joint/socket')).exit_code === 0);
    assert.strictEqual(await node.output(three, '/tool connect /joint/socket'), 'hello');
    await node.output(three, 'touch /joint/probe');
    assert.strictEqual(await node.output(two, '/tool connect /joint/socket'), 'hello');
    await eventually('the event comes', async () => /probe/.test((await node.exec(one, 'cat /tmp/events')).stdout));
    await node.output(one, 'mkfifo /joint/fifo; (cat /joint/fifo >/tmp/got) >/dev/null 2>&1 &');
    await eventually('the FIFO is there', async () => (await node.exec(three, 'test -p /joint/fifo')).exit_code === 0);
    await node.output(three, 'echo hello >/joint/fifo; echo now >/joint/file');
    await eventually('the word has come', async () => (await node.exec(one, 'cat /tmp/got')).stdout === 'hello\n');
    assert.strictEqual(await node.output(two, 'cat /joint/file'), 'now');
    assert.match((await node.exec(two, 'touch /joint/x')).stderr, /Read-only/);
    await node.remove(one);
    await node.restartDaemon('SIGKILL');
    assert.strictEqual(await node.output(three, 'cat /joint/file'), 'now');
    const four = await node.runContainer(pod, {mounts});
    assert.strictEqual(await node.output(four, 'stat -c %i /joint; cat /joint/file'), await node.output(three, 'stat -c %i /joint; cat /joint/file'));
    await node.removePod(pod);
    await node.noLeaks();
});

// A program of a container that takes a lock and has it until the container ends or gets a signal; its log says "got".
const lockHolder = (pod, action, mounts) => node.runContainer(pod, {command: ['/bin/sh', '-c', `sleep 100000 | /tool ${action}`], mounts});

// What an attempt on the node gets.
const nodeTries = (kind, file) => must(programs.guestTool, `try-${kind}`, file).trim();

for (const kind of ['flock', 'posix', 'ofd']) {
    test(`a ${kind} lock on a file of a volume holds in the container, the pod, other pods and the node, and who waits gets it`, async () => {
        const data = directory(`locks-${kind}`);
        const file = path.join(data, 'file');
        fs.writeFileSync(file, '');
        const mounts = [{container_path: '/data', host_path: data}, node.toolMount()];
        const [pod, other] = [await node.runPod(), await node.runPod()];
        const same = await node.runContainer(pod, {mounts});
        const far = await node.runContainer(other, {mounts});
        const tries = async () => [
            await node.output(same, `/tool try-${kind} /data/file`), await node.output(far, `/tool try-${kind} /data/file`), nodeTries(kind, file),
        ];
        assert.deepStrictEqual(await tries(), ['got', 'got', 'got']);
        const holder = await lockHolder(pod, `hold-${kind} /data/file`, mounts);
        await eventually('the lock is held', () => node.logTexts(holder).includes('got'));
        assert.deepStrictEqual(await tries(), ['busy', 'busy', 'busy']);
        // One waits and is removed, one waits and gets the lock; meanwhile the volume goes on.
        const [waiter, next] = [await lockHolder(other, `hold-${kind} /data/file`, mounts), await lockHolder(other, `hold-${kind} /data/file`, mounts)];
        assert.strictEqual(await node.output(far, 'echo on >/data/on; cat /data/on'), 'on');
        await node.remove(waiter);
        assert.deepStrictEqual(node.logTexts(next), []);
        await node.remove(holder);
        await eventually('who waits has the lock', () => node.logTexts(next).includes('got'));
        assert.deepStrictEqual(await tries(), ['busy', 'busy', 'busy']);
        // A pod with a program that waits can be removed, and takes its locks with it.
        await lockHolder(pod, `hold-${kind} /data/file`, mounts);
        await node.removePod(pod);
        await node.removePod(other);
        assert.strictEqual(nodeTries(kind, file), 'got');
        await node.noLeaks();
    });
}

test('locks on files of a volume end with their file, are granted in a read-only volume, and can be kept in the pod', async () => {
    const data = directory('lock-ends');
    const file = path.join(data, 'file');
    fs.writeFileSync(file, '');
    const mounts = [{container_path: '/data', host_path: data}, node.toolMount()];
    const pod = await node.runPod();
    for (const kind of ['flock', 'posix', 'ofd']) {
        const closes = await node.runContainer(pod, {command: ['/bin/sh', '-c', `/tool close-${kind} /data/file </dev/null`], mounts});
        await eventually('the file is closed', () => node.logTexts(closes).includes('closed'));
        assert.strictEqual(nodeTries(kind, file), 'got', kind);
    }
    const reader = await node.runContainer(pod, {mounts: [{...mounts[0], readonly: true}, mounts[1]]});
    assert.strictEqual(await node.output(reader, '/tool try-read /data/file'), 'got');
    const unlocked = await node.runPod({}, 'unlocked');
    const local = await lockHolder(unlocked, 'hold-flock /data/file', mounts);
    await eventually('the lock is held', () => node.logTexts(local).includes('got'));
    const beside = await node.runContainer(unlocked, {mounts});
    assert.strictEqual(await node.output(beside, '/tool try-posix /data/file'), 'got');
    assert.strictEqual(nodeTries('flock', file), 'got');
    await node.removePod(unlocked);
    await node.removePod(pod);
    await node.noLeaks();
});

test('an image can be mounted as a read-only volume, also a sub-path of it, and the status has its id', async () => {
    const pod = await node.runPod();
    const image = {image: BUSYBOX};
    const container = await node.runContainer(pod, {mounts: [
        {container_path: '/image', image, readonly: true}, {container_path: '/part', image, image_sub_path: 'etc', readonly: true},
    ]});
    assert.match(await node.output(container, 'ls /image/bin/sh; cat /part/passwd'), /\/image\/bin\/sh\nroot:/);
    assert.match((await node.exec(container, 'touch /image/x')).stderr, /Read-only/);
    const {image: {id}} = await node.cri.call('ImageStatus', {image});
    assert.deepStrictEqual((await node.containerStatus(container)).mounts.map((mount) => mount.image.image_ref), [id, id]);
    await refused(node.create(pod, {mounts: [{container_path: '/x', image, image_sub_path: 'no/such', readonly: true}]}), 'NOT_FOUND', 'no/such');
    await refused(node.create(pod, {mounts: [{container_path: '/x', image}]}), 'INVALID_ARGUMENT', 'readonly');
    await node.removePod(pod);
});

test('/dev/shm of a pod has 64 MiB unless a volume of another size is mounted there', async (context) => {
    const pod = await node.runPod();
    const dir = memoryVolume(context, 'shm', 'size=8m,mode=1777');
    const usual = await node.runContainer(pod);
    const sized = await node.runContainer(pod, {mounts: [{container_path: '/dev/shm', host_path: dir}]});
    assert.match(await node.output(usual, 'grep " /dev/shm " /proc/mounts'), /size=65536k/);
    assert.match(await node.output(sized, 'grep " /dev/shm " /proc/mounts'), /size=8192k/);
    await node.removePod(pod);
});
