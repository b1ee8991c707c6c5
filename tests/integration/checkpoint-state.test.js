// SPDX-License-Identifier: Apache-2.0
// A program with state of every kind (tests/tools/stateful.c) is saved while it works, and goes on from there after what can
// come in between.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {programs} = require('./support/environment');
const checkpoints = require('./support/checkpoints');
const {makeImage} = require('./support/images');
const {eventually, must, refused} = require('./support/kit');

const IMAGE = 'docker.io/test/stateful:1';
const MIB = 200;
const LIMITS = {memory_limit_in_bytes: 400 << 20};

let node, full;
before(async () => {
    node = await Node.start({templates: true});
    full = node.directory('full');
    must('mount', '-t', 'tmpfs', '-o', 'size=24m', 'crivirt-test', full);
    node.mounts.push(full);
    const archive = makeImage(node, IMAGE, {}, (layer) => fs.copyFileSync(programs.stateful, path.join(layer, 'stateful')));
    must(programs.crivirt, '--socket', node.socket, 'load', '-i', archive);
});
after(async () => {
    must('umount', full);
    node.mounts.length = 0;
    await node.end();
});
afterEach(() => node.removeAllPods());

// What the program reports of itself, as {counter, file, path, child, jobs, rounds, bad}.
async function ask(container) {
    const line = await node.output(container, 'nc 127.0.0.1 7000');
    return Object.fromEntries(line.split(' ').map((fact) => fact.split('=')).map(([name, value]) => [name, Number(value)]));
}

// Asserts that the program has all of its state, and has gone on from what it reported before.
async function goesOn(container, earlier) {
    const later = await eventually('it has changed all of its memory once more', async () => {
        const facts = await ask(container);
        return facts.rounds > earlier.rounds + 1 && facts;
    });
    assert.strictEqual(later.bad, 0);
    assert.strictEqual(later.file, later.counter);
    assert.strictEqual(later.path, later.counter);
    assert.ok(later.counter > earlier.counter && later.jobs > earlier.jobs && later.child > earlier.child, JSON.stringify({earlier, later}));
    return later;
}

async function run() {
    const pod = await node.runPod({hostname: 'saved', linux: {resources: LIMITS}});
    const container = await node.runContainer(pod, {
        image: {image: IMAGE}, command: ['/stateful', String(MIB), '7000', '/file'], linux: {resources: LIMITS},
    });
    await eventually('it is ready', () => fs.existsSync(container.log) && node.logTexts(container).includes('ready'));
    return {pod, container};
}

const save = ({pod, container}, output_path) =>
    node.cri.call('CheckpointPod', {pod_sandbox_id: pod.id, output_path, container_ids: [container.id]});

// Restores and starts the container in a pod of that host name.
async function restore(checkpoint_path, container, hostname) {
    const {pod, containers: [{id}]} = await checkpoints.restore(node, checkpoint_path, [container], {pod: {hostname, linux: {resources: LIMITS}}});
    await node.cri.call('StartContainer', {container_id: id});
    return {id, pod};
}

test('memory, files, timers, threads, children and sockets go on after a restart of the daemon, and after a reboot', async () => {
    const saved = node.directory('checkpoint');
    const {pod, container} = await run();
    const atSave = await ask(container);
    await save({pod, container}, saved);
    await goesOn(container, atSave); // the saved pod, too
    await node.removePod(pod);

    await node.restartDaemon('SIGKILL');
    const first = await restore(saved, container, 'first');
    await goesOn(first, atSave);
    await node.removePod(first.pod);

    await node.reboot();
    const twins = [await restore(saved, container, 'second'), await restore(saved, container, 'third')];
    const identities = new Set();
    for (const twin of twins) {
        await goesOn(twin, atSave);
        for (const line of (await node.output(twin, 'hostname; cat /sys/class/net/eth0/address /proc/sys/kernel/random/uuid; hostname -i')).split('\n'))
            identities.add(line);
    }
    assert.strictEqual(identities.size, 8, [...identities].join(' '));
});

test('a checkpoint that does not fit its disk fails with the reason, leaves nothing, and the pod runs on', async () => {
    const {pod, container} = await run();
    const before = await ask(container);
    await refused(save({pod, container}, full), 'RESOURCE_EXHAUSTED', 'No space left on device');
    assert.deepStrictEqual(fs.readdirSync(full), []);
    await goesOn(container, before);
});
