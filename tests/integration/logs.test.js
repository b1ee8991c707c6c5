// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {eventually, refused} = require('./support/kit');

let node, pod;
before(async () => {
    node = await Node.start();
    pod = await node.runPod();
});
after(() => node.end());

const texts = (container, file) => node.logTexts(container, file);
const upTo = (last) => [...Array(last).keys()].map((i) => String(i + 1));

test('log lines have their time, their stream and F, and a last line without an end has P', async () => {
    const container = await node.runContainer(pod, 'echo one; sleep 0.3; echo two >&2; sleep 0.3; printf three');
    await node.ended(container);
    const lines = node.logLines(container);
    assert.deepStrictEqual(lines.map(({stream, tag, text}) => [stream, tag, text]),
                           [['stdout', 'F', 'one'], ['stderr', 'F', 'two'], ['stdout', 'P', 'three']]);
    for (const {time} of lines)
        assert.match(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)$/);
    await node.remove(container);
});

test('a long line is logged in parts that make up the line', async () => {
    const container = await node.runContainer(pod, 'head -c 100000 /dev/zero | tr "\\0" x; echo; echo next');
    await node.ended(container);
    const lines = node.logLines(container);
    const end = lines.findIndex(({tag}) => tag === 'F');
    assert.ok(end > 0, 'there is only one part');
    assert.strictEqual(lines.slice(0, end + 1).map(({text}) => text).join(''), 'x'.repeat(100000));
    assert.deepStrictEqual(lines.slice(end + 1).map(({text}) => text), ['next']);
    await node.remove(container);
});

test('the whole output is in the log before the container is reported as exited', async () => {
    for (let i = 0; i < 3; i++) {
        const container = await node.runContainer(pod, 'seq 1 20000');
        await node.ended(container);
        assert.deepStrictEqual(texts(container), upTo(20000));
        await node.remove(container);
    }
});

test('ReopenContainerLog creates a new file, keeps the old one, and loses no line', async () => {
    const container = await node.runContainer(pod, 'i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo $i; sleep 0.02; done');
    const old = `${container.log}.old`;
    await eventually('there are lines', () => fs.existsSync(container.log) && texts(container).length > 20);
    fs.renameSync(container.log, old);
    await node.cri.call('ReopenContainerLog', {container_id: container.id});
    assert.ok(fs.existsSync(container.log));
    await node.ended(container);
    assert.deepStrictEqual([...texts(container, old), ...texts(container)], upTo(200));
    fs.rmSync(container.log);
    await assert.rejects(node.cri.call('ReopenContainerLog', {container_id: container.id}));
    assert.ok(!fs.existsSync(container.log));
    await refused(node.cri.call('ReopenContainerLog', {container_id: 'f'.repeat(64)}), 'NOT_FOUND');
    await node.remove(container);
});

test('a daemon killed while a container writes loses no line and writes none twice', async () => {
    const volume = path.join(node.dir, 'progress');
    fs.mkdirSync(volume);
    const progress = () => Number(fs.readFileSync(path.join(volume, 'lines'), 'utf8'));
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'i=0; while [ $i -lt 1500 ]; do i=$((i+1)); echo $i; echo $i >/progress/lines; usleep 4000; done'],
        mounts: [{container_path: '/progress', host_path: volume}],
    });
    for (let i = 0; i < 2; i++) {
        const known = i ? texts(container).length : 0;
        await eventually('there are lines', () => fs.existsSync(container.log) && texts(container).length > known + 100);
        await node.stopDaemon('SIGKILL');
        const before = progress();
        await eventually('the container writes while no daemon reads', () => progress() > before + 20);
        await node.startDaemon();
    }
    const {exit_code: code} = await node.ended(container);
    assert.strictEqual(code, 0);
    assert.deepStrictEqual(texts(container), upTo(1500));
    await node.remove(container);
});
