// SPDX-License-Identifier: Apache-2.0
'use strict';
// Pods that are restored from a template. They are guests like others, and clones share nothing that must differ. Where a
// template is damaged, missing or not wanted, pods boot.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {qemu} = require('./support/environment');
const {sleep, eventually} = require('./support/kit');

const CLONES = Number(process.env.CRIVIRT_TEST_CLONES || 20);
let node;

const start = (flags = []) => Node.start({templates: true, flags: ['--metrics-address=127.0.0.1:9111', ...flags]});
const directory = (one) => path.join(one.stateDir, 'templates');
const templates = (one) => fs.existsSync(directory(one)) ? fs.readdirSync(directory(one)) : [];
const ready = (one) => templates(one).filter((name) => !name.includes('.'));
const report = async (one) => JSON.parse((await one.cri.call('Status', {verbose: true})).info.templates);
const aTemplate = (one, count = 1) => eventually('there is a template', async () => (await report(one)).ready >= count);
const waiting = (one) => fs.readdirSync(path.join(one.stateDir, 'guests')).length;
const startedHow = async (pod, one = node) =>
    JSON.parse((await one.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true})).info.start);
const phases = async (pod, one = node) => {
    const {info} = await one.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true});
    return JSON.parse(info.trace).traceEvents.map(({name}) => name);
};
// The blocks that the files of a guest's memory take.
const guestMemoryBlocks = (pid) => fs.readdirSync(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`)
    .filter((fd) => fs.readlinkSync(fd).startsWith('/memfd:memory-backend')).reduce((sum, fd) => sum + fs.statSync(fd).blocks, 0);
const MEMORY = 256 << 20; // of a guest; what can be plugged in is left out
// How many pages of a file with a guest's memory are not filled with that byte.
const pagesWithout = (path, byte) => {
    const [file, block, page] = [fs.openSync(path, 'r'), Buffer.alloc(1 << 20), Buffer.alloc(4096, byte)];
    let count = 0;
    for (let at = 0; at < MEMORY; at += block.length) {
        fs.readSync(file, block, 0, block.length, at);
        for (let i = 0; i < block.length; i += page.length)
            count += block.compare(page, 0, page.length, i, i + page.length) !== 0;
    }
    fs.closeSync(file);
    return count;
};
const guestPagesInUse = (pid) => {
    const fd = fs.readdirSync(`/proc/${pid}/fd`).map((name) => `/proc/${pid}/fd/${name}`)
        .find((name) => fs.readlinkSync(name).startsWith('/memfd:memory-backend') && fs.statSync(name).size === MEMORY);
    return pagesWithout(fd, 0);
};
const run = async (one, container, script) => {
    const {stdout, stderr, exit_code: code} = await one.cri.call(
        'ExecSync', {container_id: container.id, cmd: ['/bin/sh', '-c', script], timeout: 60});
    assert.strictEqual(code, 0, stderr.toString());
    return stdout.toString();
};

before(async () => {
    node = await start();
    await aTemplate(node);
});
after(() => node.end());
const clean = (t) => t.after(() => node.removeAllPods()); // so that a failure does not fail the next tests, too

test('the manifest of a template lists what it was made of, and only root can read a template', () => {
    const [key] = ready(node);
    const manifest = JSON.parse(fs.readFileSync(path.join(directory(node), key, 'manifest.json')));
    assert.strictEqual(manifest.key, key);
    assert.deepStrictEqual(Object.keys(manifest.inputs).sort(),
                           ['accelerator', 'emulator', 'format', 'initrd', 'kernel', 'machine', 'processor', 'versions']);
    assert.ok(manifest.inputs.initrd.startsWith(`${node.initrd} `));
    assert.match(manifest.inputs.machine, /<memory unit='KiB'>262144<\/memory>/);
    for (const name of ['', 'ram', 'devices', 'disk', 'constant', 'manifest.json']) {
        const {mode, uid} = fs.statSync(path.join(directory(node), key, name));
        assert.strictEqual(mode & 0o077, 0, name);
        assert.strictEqual(uid, 0);
    }
});

test('a VM of the pool takes no memory of the node for pages that the guest has emptied', async () => {
    await eventually('the VM pool is full', async () => (await report(node)).vmPool === 2);
    for (const id of fs.readdirSync(path.join(node.stateDir, 'guests'))) {
        const pid = node.qemuPid({id});
        assert.strictEqual(guestMemoryBlocks(pid) * 512, guestPagesInUse(pid) * 4096);
    }
});

test('a template has no padding of the kernel\'s code (kernel/patches/x86-text-gaps.patch)', () => {
    const INT3 = 0xcc;
    const pages = MEMORY / 4096 - pagesWithout(path.join(directory(node), ready(node)[0], 'ram'), INT3);
    assert.ok(pages < 32, `${pages} pages are padding`); // the kernel also fills memory of its start with it, and frees that
});

// The mappings of a template's memory in a QEMU, as [permissions, KiB that are the guest's own].
const sharedMappings = (pid) => fs.readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    .filter((mapping) => /\/templates\/\w+\/ram$/m.test(mapping))
    .map((mapping) => [/^\S+ (\S+)/.exec(mapping)[1], Number(/^Anonymous:\s+(\d+)/m.exec(mapping)[1])]);
const constantBytes = (one) => fs.readFileSync(path.join(directory(one), ready(one)[0], 'constant'), 'utf8').trim().split('\n')
    .slice(1).reduce((sum, line) => sum + line.split(' ').reduce((begin, end) => end - begin), 0);

test('guests of one template share its constant memory, and copy none of it',
     {skip: !path.isAbsolute(qemu) && 'Debian\'s QEMU cannot share it'}, async (t) => {
    clean(t);
    assert.ok(constantBytes(node) > 12 << 20, `${constantBytes(node)} bytes are constant`); // the kernel's code alone is 6 MiB
    await eventually('the VM pool is full', async () => (await report(node)).vmPool === 2);
    const pods = [await node.runPod(), await node.runPod()];
    for (const pod of pods) {
        assert.strictEqual(await startedHow(pod), 'restored');
        const mappings = sharedMappings(node.qemuPid(pod));
        assert.ok(mappings.length > 1, 'the template is mapped');
        assert.ok(mappings.every(([permissions]) => permissions === 'rw-p'), 'no guest can write to the template');
        const own = mappings.reduce((sum, [, kib]) => sum + kib, 0) * 1024;
        assert.ok(own < constantBytes(node) / 3, `the guest has changed ${own} bytes of it`);
    }
});

test('without share_template_memory each guest has a copy', async (t) => {
    const other = await start(['--guest-share-template-memory=false']);
    t.after(() => other.end());
    await aTemplate(other);
    const pod = await other.runPod();
    assert.strictEqual(await startedHow(pod, other), 'restored');
    assert.deepStrictEqual(sharedMappings(other.qemuPid(pod)), []);
    await other.runContainer(pod, 'true');
});

test('exec, volumes, layers, network, clock, statistics and removal work in a restored pod', async (t) => {
    clean(t);
    const volume = path.join(node.dir, 'volume');
    fs.mkdirSync(volume, {recursive: true});
    fs.writeFileSync(path.join(volume, 'file'), 'from the node');
    await eventually('the VM pool is full', async () => (await report(node)).vmPool === 2);
    assert.doesNotMatch(node.daemonLog(), /cannot (create a VM for the pool|rehearse)/);
    const pod = await node.runPod();
    assert.strictEqual(await startedHow(pod), 'restored');
    assert.ok(!(await phases(pod)).includes('load'), 'the VM was not pre-restored');
    const {network} = await node.podStatus(pod);
    const mounts = [{host_path: volume, container_path: '/volume'}];
    const first = await node.runContainer(pod, {mounts, command: ['/bin/sleep', '100000']});
    const second = await node.runContainer(pod, 'nc -ll -p 8080 -e echo hello');
    assert.strictEqual(await run(node, first, 'cat /volume/file'), 'from the node');
    await run(node, first, 'echo back > /volume/answer; dd if=/dev/zero of=/big bs=1M count=20 2>/dev/null; sync');
    assert.strictEqual(fs.readFileSync(path.join(volume, 'answer'), 'utf8'), 'back\n');
    const address = await run(node, second, 'ip addr show eth0');
    assert.ok(address.includes(network.ip));
    const all = await run(node, second, 'ip addr; ip route; grep shm /proc/mounts');
    assert.doesNotMatch(all, /192\.0\.2\./, 'something is left of the warm-up');
    await eventually('it is reached from the node', async () =>
        (await node.run('bash', '-c', `cat < /dev/tcp/${network.ip}/8080`)).stdout === 'hello\n');
    // The guest's clock runs at the right rate, however busy the node was when the template's guest measured that rate.
    const clocks = async () => {
        const begin = process.hrtime.bigint();
        const guest = Number((await run(node, second, 'cat /proc/uptime')).split(' ')[0]);
        return {begin, guest, end: process.hrtime.bigint()};
    };
    const [one, other] = [await clocks(), (await sleep(2000), await clocks())];
    const guest = other.guest - one.guest;
    assert.ok(guest > 0.98 * Number(other.begin - one.end) / 1e9 && guest < 1.02 * Number(other.end - one.begin) / 1e9 + 0.02,
              `the guest's clock went on by ${guest} s in ${Number(other.end - one.begin) / 1e9}`);
    const {stats} = await node.cri.call('PodSandboxStats', {pod_sandbox_id: pod.id});
    assert.ok(Number(stats.linux.memory.usage_bytes.value) > 0);
    await node.removePod(pod);
    await node.noLeaks();
});

// What clones must not share. The address of the stack shows that programs get random bytes of their own.
const FACTS = `
    echo boot_id $(cat /proc/sys/kernel/random/boot_id)
    for i in 1 2 3; do echo uuid$i $(cat /proc/sys/kernel/random/uuid); done
    echo urandom $(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' ')
    echo stack $(grep stack /proc/self/maps | cut -d- -f1)
    echo auxiliary $(od -An -tx1 /proc/self/stat >/dev/null; grep vdso /proc/self/maps | cut -d- -f1)
    echo temporary $(mktemp -u /tmp/XXXXXXXXXXXX)
    echo mac $(cat /sys/class/net/eth0/address)
    echo hostname $(hostname)
    echo machine_id $(cat /etc/machine-id 2>/dev/null || cat /proc/sys/kernel/random/uuid)
    echo now $(date +%s)
    echo syn $(/tool syn 9)`;

// [sequence number, time stamp] of four connections, without the clock values that stand between them.
const syns = (words) => [0, 2, 4, 6].map((at) => [Number(words[at]), Number(words[at + 1])]);
// Numbers of 32 bits that are taken within a second or so. One pair in a hundred is near by chance, hardly ever all four.
const near = (a, b, tolerance) => Math.min((a - b) >>> 0, (b - a) >>> 0) < tolerance;
const sameSequences = (one, other) => one.every(([sequence], i) => near(sequence, other[i][0], 2 ** 24));
const sameStamps = (one, other) => one.every(([, stamp], i) => near(stamp, other[i][1], 2 ** 16));

test(`${CLONES} clones share nothing that must differ, from their first instant on`, async (t) => {
    clean(t);
    const seen = new Map();
    const connections = [];
    let again;
    for (let i = 0; i < CLONES; i++) {
        const pod = await node.runPod({hostname: `clone-${i}`});
        assert.strictEqual(await startedHow(pod), 'restored');
        // The container's first process prints the facts, not an exec that comes later.
        const container = await node.runContainer(pod, {
            command: ['/bin/sh', '-c', `${FACTS}; sleep 100000`], mounts: [node.toolMount()],
        });
        const facts = await eventually('the facts are logged', () => {
            const lines = node.logLines(container).map(({text}) => text.trim().split(' '));
            return lines.length === 13 && lines;
        });
        for (const [name, value, ...more] of facts) {
            assert.ok(value, `${name} of clone ${i}`);
            if (name === 'syn') {
                connections.push(syns([value, ...more]));
                again = syns((await run(node, container, '/tool syn 9')).split(/\s+/));
                continue;
            }
            if (name === 'now') {
                assert.ok(Math.abs(Number(value) - Date.now() / 1000) < 60, 'the clock is right');
                continue;
            }
            // All random values are in one set: no value may occur twice, whichever clone read it and when.
            const key = /^uuid|boot_id|machine_id/.test(name) ? value : `${name} ${value}`;
            assert.ok(!seen.has(key), `clone ${i} has the ${name} of ${seen.get(key)}: ${value}`);
            seen.set(key, `clone ${i} (${name})`);
        }
        await node.removePod(pod);
    }
    // Addresses and ports are the same in all clones, so that only the secret of the kernel differs, which a guest keeps.
    const last = connections[CLONES - 1];
    assert.ok(sameSequences(last, again) && sameStamps(last, again), `${last} is not ${again}`);
    for (let i = 0; i < CLONES; i++)
        for (let k = 0; k < i; k++) {
            assert.ok(!sameSequences(connections[i], connections[k]), `clones ${i} and ${k} number TCP alike`);
            assert.ok(!sameStamps(connections[i], connections[k]), `clones ${i} and ${k} stamp TCP alike`);
        }
});

test('after kill -9 of the daemon restored pods run on, and the VMs of its pool are removed', async (t) => {
    clean(t);
    const pod = await node.runPod();
    const container = await node.runContainer(pod, 'sleep 100000');
    await eventually('the VM pool is full', async () => (await report(node)).vmPool === 2);
    const before = fs.readdirSync(path.join(node.stateDir, 'guests'));
    await node.restartDaemon('SIGKILL');
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_READY');
    assert.strictEqual(await run(node, container, 'echo alive'), 'alive\n');
    const mounts = [{host_path: node.dir, container_path: '/volume', readonly: true}];
    await node.runContainer(pod, {mounts, command: ['/bin/sleep', '100000']});
    await eventually('those that waited are gone', () =>
        !fs.readdirSync(path.join(node.stateDir, 'guests')).some((id) => before.includes(id)));
    assert.deepStrictEqual(node.orphans([pod.id]), []);
    await node.removePod(pod);
    await node.noLeaks();
});

test('a daemon that is told to stop removes the VMs of its pool', async () => {
    await eventually('the VM pool is full', async () => (await report(node)).vmPool === 2);
    await node.stopDaemon();
    assert.strictEqual(waiting(node), 0);
    assert.deepStrictEqual(node.orphans([]), []);
    await node.startDaemon();
});

test('a pod starts although a VM of the pool was killed', async (t) => {
    clean(t);
    await eventually('the VM pool is full', async () => (await report(node)).vmPool === 2);
    for (const id of fs.readdirSync(path.join(node.stateDir, 'guests')))
        process.kill(node.qemuPid({id}), 'SIGKILL');
    const pod = await node.runPod();
    assert.strictEqual(await startedHow(pod), 'restored');
    await node.removePod(pod);
    await node.noLeaks();
});

test('a VM of the pool that is killed while no pod has it is removed and replaced', async (t) => {
    clean(t);
    await eventually('the VM pool is full', async () => (await report(node)).vmPool === 2);
    const killed = fs.readdirSync(path.join(node.stateDir, 'guests'));
    assert.strictEqual(killed.length, 2);
    for (const id of killed)
        process.kill(node.qemuPid({id}), 'SIGKILL');
    const listed = () => fs.readdirSync(path.join(node.stateDir, 'guests'));
    await eventually('the killed VMs have been removed', () => !listed().some((id) => killed.includes(id)));
    await eventually('the VM pool is full again', async () => (await report(node)).vmPool === 2);
    const pod = await node.runPod();
    assert.ok(!killed.includes(pod.id));
    assert.ok(!(await phases(pod)).includes('load'), 'the pod did not get a VM of the pool');
    await node.removePod(pod);
    await node.noLeaks();
});

test('a pod with limits is restored, and its VM has as much memory as it may use', async (t) => {
    clean(t);
    const pod = await node.runPod({linux: {resources: {memory_limit_in_bytes: 512 << 20}}});
    assert.strictEqual(await startedHow(pod), 'restored');
    const container = await node.runContainer(pod, 'sleep 100000');
    assert.ok(Number(await run(node, container, 'grep MemTotal /proc/meminfo | tr -dc 0-9')) > 450 << 10);
    await node.removePod(pod);
});

test('the first pod of a handler boots, the next one is restored from a template, and a handler may have none', async (t) => {
    const config = '[handlers.big]\nmemory = "320MiB"\n[handlers.boots]\ntemplate = false\n';
    const flags = ['--guest-vm-pool-size=1', '--guest-vm-pool-prerestored=false'];
    const one = await Node.start({templates: true, config, flags});
    t.after(() => one.end());
    const runBy = async (handler) => {
        const podConfig = one.podConfig();
        const {pod_sandbox_id: id} = await one.cri.call('RunPodSandbox', {config: podConfig, runtime_handler: handler});
        one.podIds.push(id);
        return {id, config: podConfig};
    };
    await aTemplate(one);
    const booted = await runBy('big');
    assert.strictEqual(await startedHow(booted, one), 'booted');
    await aTemplate(one, 2);
    const restored = await runBy('big');
    assert.strictEqual(await startedHow(restored, one), 'restored');
    const without = await runBy('boots');
    assert.strictEqual(await startedHow(without, one), 'booted');
    const container = await one.runContainer(restored, 'sleep 100000');
    assert.ok(Number(await run(one, container, 'grep MemTotal /proc/meminfo | tr -dc 0-9')) > 270 << 10);
    // A VM of the pool that is not pre-restored gets its guest when a pod takes it.
    await eventually('a VM is in the pool', async () => (await report(one)).vmPool === 1);
    const [id] = fs.readdirSync(path.join(one.stateDir, 'guests'));
    assert.strictEqual(guestMemoryBlocks(one.qemuPid({id})), 0);
    const filledLate = await runBy('');
    assert.strictEqual(filledLate.id, id);
    assert.ok((await phases(filledLate, one)).includes('load'));
    for (const pod of [booted, restored, without, filledLate])
        await one.removePod(pod);
});

test('a damaged template is quarantined with its reason, the pod boots, and a new template is made', async (t) => {
    const one = await start(['--guest-vm-pool-size=0']);
    t.after(() => one.end());
    await aTemplate(one);
    const [key] = ready(one);
    // The file is changed in place, because the daemon has it open.
    const file = fs.openSync(path.join(directory(one), key, 'devices'), 'r+');
    fs.writeSync(file, Buffer.alloc(4096, 0xaa), 0, 4096, 0);
    fs.closeSync(file);
    const pod = await one.runPod();
    assert.strictEqual(await startedHow(pod, one), 'booted');
    const container = await one.runContainer(pod, 'sleep 100000');
    assert.strictEqual(await run(one, container, 'echo works'), 'works\n');
    assert.match(fs.readFileSync(path.join(directory(one), `${key}.bad`, 'reason'), 'utf8'), /\w/);
    assert.match(one.daemonLog(), /a template is quarantined/);
    assert.match((await report(one)).quarantined[0], new RegExp(`^${key}: `));
    const next = await one.runPod();
    await aTemplate(one);
    const third = await one.runPod();
    assert.strictEqual(await startedHow(third, one), 'restored');
    for (const each of [pod, next, third])
        await one.removePod(each);
});

test('a daemon quarantines damaged templates at its start, and deletes those that were made of other files', async (t) => {
    const initrd = path.join(fs.mkdtempSync('/tmp/crivirt-test-initrd-'), 'initrd.img');
    fs.chmodSync(path.dirname(initrd), 0o755);
    t.after(() => fs.rmSync(path.dirname(initrd), {recursive: true}));
    fs.copyFileSync(node.initrd, initrd);
    const one = await Node.start({templates: true, initrd, image: false, flags: ['--guest-vm-pool-size=0']});
    t.after(() => one.end());
    await aTemplate(one);
    const [key] = ready(one);
    await one.stopDaemon();
    const file = fs.openSync(path.join(directory(one), key, 'ram'), 'r+');
    fs.writeSync(file, Buffer.from('damage'), 0, 6, 1 << 20);
    fs.closeSync(file);
    await one.startDaemon();
    await eventually('the template is quarantined', () => templates(one).includes(`${key}.bad`));
    await eventually('there is a new one', () => ready(one).length === 1);
    await one.stopDaemon();
    fs.utimesSync(initrd, 1, 1);
    await one.startDaemon();
    await eventually('there is a template of the changed file', () => ready(one).some((name) => name !== key));
    assert.ok(!ready(one).includes(key));
});

test('after kill -9 of a daemon that makes a template nothing is left of that, and the next daemon makes it', async (t) => {
    const one = await Node.start({templates: true, image: false, flags: ['--guest-vm-pool-size=1']});
    t.after(() => one.end());
    for (const pause of [300, 1500]) {
        await one.stopDaemon();
        for (const name of templates(one))
            fs.rmSync(path.join(directory(one), name), {recursive: true});
        await one.startDaemon();
        await eventually('a guest for the template exists', () => waiting(one) > 0);
        await sleep(pause); // the moment is what differs between the rounds
        await one.restartDaemon('SIGKILL');
        await aTemplate(one);
        await eventually('a VM is in the pool', () => waiting(one) === 1);
        assert.deepStrictEqual(templates(one).filter((name) => name.includes('.')), []);
        assert.deepStrictEqual(one.orphans([]), []);
    }
});

test('without templates pods boot, and the VM pool is empty', async (t) => {
    const one = await Node.start({templates: false});
    t.after(() => one.end());
    const pod = await one.runPod();
    assert.strictEqual(await startedHow(pod, one), 'booted');
    assert.deepStrictEqual(templates(one), []);
    assert.deepStrictEqual(one.orphans([pod.id]), []);
    await one.removePod(pod);
});
