// SPDX-License-Identifier: Apache-2.0
'use strict';
// A CNI plugin fails, is killed, or hangs. Nothing waits for it without a bound, and its clean-up is made up for later.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {eventually, failure, refused, must} = require('./support/kit');

let node, plugins;
before(async () => {
    node = new Node({flags: ['--cni-timeout=8s']});
    plugins = path.join(node.dir, 'plugins');
    fs.mkdirSync(plugins);
    // Fails, hangs or dies as the file "mood" says ("hang ADD"), and passes on the result of the plugin before it.
    fs.writeFileSync(path.join(plugins, 'moody'), `#!/bin/bash
config=$(cat)
case "$(cat ${plugins}/mood 2>/dev/null)" in
"hang $CNI_COMMAND") touch ${plugins}/hangs; sleep 86399 ;;
"slow $CNI_COMMAND") touch ${plugins}/hangs; sleep 2; touch ${plugins}/finished ;;
"fail $CNI_COMMAND") echo '{"cniVersion": "1.0.0", "code": 100, "msg": "not in the mood"}'; exit 1 ;;
"die $CNI_COMMAND") kill -9 $$ ;;
esac
[ "$CNI_COMMAND" != ADD ] || jq .prevResult <<<"$config"
`, {mode: 0o755});
    node.flags.push(`--cni-plugin-dirs=${plugins},/opt/cni/bin,/usr/lib/cni`);
    node.makeNetwork({plugins: ['moody']});
    await node.startDaemon();
    await node.loadBusybox();
});
after(() => node.end());
afterEach(() => mood(''));

const mood = (text) => {
    for (const name of ['hangs', 'finished'])
        fs.rmSync(path.join(plugins, name), {force: true});
    fs.writeFileSync(path.join(plugins, 'mood'), text);
};
const hangs = () => eventually('the plugin hangs', () => fs.existsSync(path.join(plugins, 'hangs')));
const sleepers = () => must('sh', '-c', 'pgrep -fx "sleep 86399" || true').trim();
const podIds = () => node.listedPodIds();
const nothingIsLeft = async () => {
    await eventually('nothing is listed', async () => (await podIds()).length === 0);
    await eventually('no plugin is left', () => sleepers() === '');
    await eventually('no orphan is left', () => node.orphans([]).length === 0).catch(() => {});
    assert.deepStrictEqual(node.orphans([]), []);
    await node.noLeaks();
};

for (const [name, words] of [['fail ADD', ['moody', 'not in the mood']], ['die ADD', ['moody', 'killed by signal 9']]])
    test(`a plugin told to "${name}" fails the sandbox, whose error names it, and leaves nothing`, async () => {
        mood(name);
        const error = await failure(node.runPod());
        for (const word of words)
            assert.ok(error.details.includes(word), error.details);
        await nothingIsLeft();
    });

test('a plugin that hangs in ADD is killed with its children after network.cni_timeout, and the error names it', async () => {
    mood('hang ADD');
    await refused(node.runPod(), 'DEADLINE_EXCEEDED', 'moody', 'ADD');
    await nothingIsLeft();
});

test('a plugin that hangs in ADD is killed when the client gives up, and the client gets its sandbox later', async () => {
    mood('hang ADD');
    const config = node.podConfig();
    await refused(node.cri.call('RunPodSandbox', {config}, 3000), 'DEADLINE_EXCEEDED');
    await eventually('no plugin is left', () => sleepers() === '');
    mood('');
    const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config});
    assert.deepStrictEqual(await podIds(), [id]);
    await node.removePod({id});
    await nothingIsLeft();
});

test('after kill -9 of the daemon while a plugin hangs in ADD, neither plugin nor network is left', async () => {
    mood('hang ADD');
    const config = node.podConfig();
    const running = node.cri.call('RunPodSandbox', {config}).catch(() => {});
    await hangs();
    await node.stopDaemon('SIGKILL');
    await running;
    mood('');
    await node.startDaemon();
    await nothingIsLeft();
});

// One that is killed between two of its changes may leave what no later DEL removes.
test('after kill -9 of the daemon while a plugin works on DEL, the plugin comes to its end', async () => {
    const pod = await node.runPod();
    mood('slow DEL');
    const stopping = node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id}).catch(() => {});
    await hangs();
    await node.stopDaemon('SIGKILL');
    await stopping;
    mood('');
    await node.startDaemon();
    await eventually('the plugin has finished', () => fs.existsSync(path.join(plugins, 'finished')));
    await node.removePod(pod);
    await nothingIsLeft();
});

test('a client that gives up while a plugin works on DEL does not cut the plugin off', async () => {
    const pod = await node.runPod();
    mood('slow DEL');
    await refused(node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id}, 1000), 'DEADLINE_EXCEEDED');
    await eventually('the plugin has finished', () => fs.existsSync(path.join(plugins, 'finished')));
    mood('');
    await node.removePod(pod);
    await nothingIsLeft();
});

for (const name of ['fail DEL', 'die DEL', 'hang DEL'])
    test(`a plugin told to "${name}" leaves the sandbox listed as NOTREADY until a later RemovePodSandbox succeeds`, async () => {
        const pod = await node.runPod();
        const container = await node.runContainer(pod);
        mood(name);
        await assert.rejects(node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id}),
                             ({details}) => details.includes('moody') && details.includes('DEL'));
        assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_NOTREADY');
        assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_EXITED');
        await assert.rejects(node.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id}));
        await node.restartDaemon('SIGKILL'); // it serves whatever the plugin does
        assert.deepStrictEqual(await podIds(), [pod.id]);
        assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_NOTREADY');
        mood('');
        await node.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
        await nothingIsLeft();
    });

test('a daemon that is told to stop does not wait for a plugin that hangs', async () => {
    const pod = await node.runPod();
    mood('hang DEL');
    await assert.rejects(node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id}));
    mood('hang DEL');
    await node.restartDaemon('SIGKILL'); // it calls DEL again by itself
    await hangs();
    assert.strictEqual((await node.stopDaemon()).code, 0);
    mood('');
    await node.startDaemon();
    await node.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
    await nothingIsLeft();
});

test('at its start the daemon tells plugins of CNI 1.1 which attachments are valid, so that they free the rest', async () => {
    const pod = await node.runPod();
    const file = path.join(node.cniDir, '10-test.conflist');
    const before = fs.readFileSync(file, 'utf8');
    const told = path.join(plugins, 'told');
    fs.writeFileSync(path.join(plugins, 'keeper'), `#!/bin/bash
config=$(cat)
[ "$CNI_COMMAND" != GC ] || echo "$config" >${told}
`, {mode: 0o755});
    await node.stopDaemon();
    node.writeCni(JSON.stringify({cniVersion: '1.1.0', name: 'kept', plugins: [{type: 'keeper'}]}));
    await node.startDaemon();
    assert.deepStrictEqual(JSON.parse(fs.readFileSync(told, 'utf8'))['cni.dev/valid-attachments'],
                           [{containerID: pod.id, ifname: 'eth0'}]);
    node.writeCni(before);
    await node.removePod(pod);
    await nothingIsLeft();
});
