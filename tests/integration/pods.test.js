// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {eventually, refused} = require('./support/kit');

let node, pod;
const labels = {app: 'web', 'example.org/tier': 'front'};
const annotations = {note: 'with "quotes" and ünïcode'};
before(async () => {
    node = await Node.start();
    pod = await node.runPod({labels, annotations, hostname: 'pod-one'});
});
after(() => node.end());

const list = async (filter, where = node) => (await where.cri.call('ListPodSandbox', {filter})).items.map(({id}) => id);

test('a pod becomes READY, and PodSandboxStatus reports its address and what the request contained', async () => {
    const status = await node.podStatus(pod);
    assert.strictEqual(status.id, pod.id);
    assert.deepStrictEqual(status.metadata, pod.config.metadata);
    assert.strictEqual(status.state, 'SANDBOX_READY');
    assert.ok(BigInt(status.created_at) > 0n);
    assert.deepStrictEqual(status.labels, labels);
    assert.deepStrictEqual(status.annotations, annotations);
    assert.match(status.network.ip, /^10\.88\./);
    assert.deepStrictEqual(status.network.additional_ips.map(({ip}) => ip.slice(0, 8)), ['fd00:88:']);
});

test("a guest's clock runs as fast as the node's, however busy the node was when it booted", async () => {
    // An emulated guest that measures the rate of its time stamp counter itself may be 19 times too fast.
    const container = await node.runContainer(pod);
    const accelerated = node.daemonLog().includes('accelerator=KVM');
    assert.strictEqual((await node.output(container, 'cat /proc/cmdline')).includes('tsc_early_khz='), !accelerated && process.arch === 'x64');
    const seconds = () => Number(process.hrtime.bigint()) / 1e9;
    const uptime = async () => Number((await node.output(container, 'cut -d" " -f1 /proc/uptime')));
    const outside = seconds(), first = await uptime(), inside = seconds();
    await node.output(container, 'sleep 2');
    const least = seconds() - inside, passed = await uptime() - first, most = seconds() - outside;
    assert.ok(passed > least * 0.99 - 0.02 && passed < most * 1.01 + 0.02, `${least} s <= ${passed} s <= ${most} s`);
    await node.remove(container);
});

// Whether a guest's clock shows the time at which it was asked.
async function hasNodesTime(container) {
    const before = Date.now() / 1000;
    const shown = Number(await node.output(container, 'date +%s'));
    return shown > before - 3 && shown < Date.now() / 1000 + 3;
}

test("a guest's clock that is not the node's is set to it, by the next daemon as well", async () => {
    const security_context = {capabilities: {add_capabilities: ['SYS_TIME']}};
    const container = await node.runContainer(pod, {linux: {security_context}});
    assert.ok(await hasNodesTime(container));
    for (const [wrong, act] of [[1000000000, () => {}], [4000000000, () => node.restartDaemon('SIGTERM')]]) {
        const shown = Number(await node.output(container, `date -s @${wrong} > /dev/null && date +%s`));
        assert.ok(shown >= wrong && shown < wrong + 100, `the clock was set to ${wrong} and shows ${shown}`);
        await act();
        await eventually('the guest has the time of the node', () => hasNodesTime(container));
    }
    // Setting the clock, forwards or backwards, has no effect on the container's times.
    await node.output(container, 'date -s @1000000000');
    const {started_at} = await node.containerStatus(container);
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 0});
    const {finished_at} = await node.containerStatus(container);
    assert.ok(BigInt(finished_at) >= BigInt(started_at) && BigInt(finished_at) <= BigInt(Date.now()) * 1000000n);
    await node.remove(container);
});

test('ListPodSandbox and PodSandboxStatus report the same pod', async () => {
    const {items: [item]} = await node.cri.call('ListPodSandbox');
    const status = await node.podStatus(pod);
    for (const field of ['id', 'metadata', 'state', 'created_at', 'labels', 'annotations'])
        assert.deepStrictEqual(item[field], status[field]);
});

test('filters of ListPodSandbox are ANDed', async () => {
    const ready = {state: 'SANDBOX_READY'}, notReady = {state: 'SANDBOX_NOTREADY'};
    assert.deepStrictEqual(await list({id: pod.id}), [pod.id]);
    assert.deepStrictEqual(await list({id: pod.id.slice(0, 12)}), [pod.id]);
    assert.deepStrictEqual(await list({state: ready, label_selector: {app: 'web'}}), [pod.id]);
    assert.deepStrictEqual(await list({state: notReady, label_selector: {app: 'web'}}), []);
    assert.deepStrictEqual(await list({label_selector: {app: 'web', 'example.org/tier': 'back'}}), []);
    assert.deepStrictEqual(await list({id: 'f'.repeat(64)}), []);
});

test('RunPodSandbox is idempotent', async () => {
    const again = await node.cri.call('RunPodSandbox', {config: pod.config});
    assert.strictEqual(again.pod_sandbox_id, pod.id);
});

test('verbose PodSandboxStatus has JSON values', async () => {
    const {info} = await node.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true});
    for (const value of Object.values(info))
        JSON.parse(value);
});

test('PodSandboxStatus of an unknown pod fails with NOT_FOUND, while StopPodSandbox and RemovePodSandbox succeed', async () => {
    const pod_sandbox_id = 'f'.repeat(64);
    await refused(node.cri.call('PodSandboxStatus', {pod_sandbox_id}), 'NOT_FOUND');
    await node.cri.call('StopPodSandbox', {pod_sandbox_id});
    await node.cri.call('RemovePodSandbox', {pod_sandbox_id});
});

test('RunPodSandbox refuses an invalid field with INVALID_ARGUMENT and its name', async () => {
    const run = (more, runtime_handler = '') =>
        node.cri.call('RunPodSandbox', {config: node.podConfig(more), runtime_handler});
    await refused(node.cri.call('RunPodSandbox', {}), 'INVALID_ARGUMENT', 'config');
    await refused(run({metadata: null}), 'INVALID_ARGUMENT', 'metadata');
    await refused(run({metadata: {name: ''}}), 'INVALID_ARGUMENT', 'metadata.name');
    await refused(run({log_directory: 'logs'}), 'INVALID_ARGUMENT', 'log_directory');
    await refused(run({port_mappings: [{host_port: 70000, container_port: 1}]}), 'INVALID_ARGUMENT', 'port_mappings');
    await refused(run({}, 'runc'), 'INVALID_ARGUMENT', 'runc');
    await refused(run({linux: {security_context: {namespace_options: {network: 'NODE'}}}}), 'INVALID_ARGUMENT',
                  'network');
    assert.deepStrictEqual(await list(), [pod.id]);
});

test('a stopped pod is NOTREADY and refuses containers, and StopPodSandbox and RemovePodSandbox are idempotent', () =>
    Node.use({}, async (own) => {
        const ending = await own.runPod();
        const pod_sandbox_id = ending.id;
        const container = await own.runContainer(ending);
        await own.cri.call('StopPodSandbox', {pod_sandbox_id});
        assert.strictEqual((await own.podStatus(ending)).state, 'SANDBOX_NOTREADY');
        const ended = await own.containerStatus(container);
        assert.strictEqual(ended.state, 'CONTAINER_EXITED');
        assert.notStrictEqual(ended.exit_code, 0);
        assert.deepStrictEqual(await list({state: {state: 'SANDBOX_NOTREADY'}}, own), [ending.id]);
        await refused(own.create(ending), 'FAILED_PRECONDITION', ending.id);
        await own.cri.call('StopPodSandbox', {pod_sandbox_id});
        await own.cri.call('RemovePodSandbox', {pod_sandbox_id});
        await own.cri.call('RemovePodSandbox', {pod_sandbox_id});
        await refused(own.podStatus(ending), 'NOT_FOUND');
        await refused(own.containerStatus(container), 'NOT_FOUND');
        await own.noLeaks();
    }));

test('the name of a removed pod is free, and RemovePodSandbox removes a running pod', () => Node.use({}, async (own) => {
    const former = await own.runPod();
    await own.removePod(former);
    const {pod_sandbox_id: id} = await own.cri.call('RunPodSandbox', {config: former.config});
    own.podIds.push(id);
    assert.notStrictEqual(id, former.id);
    await own.cri.call('RemovePodSandbox', {pod_sandbox_id: id});
    assert.deepStrictEqual(await list(undefined, own), []);
    await own.noLeaks();
}));
