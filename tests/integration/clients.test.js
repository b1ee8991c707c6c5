// SPDX-License-Identifier: Apache-2.0
'use strict';
// What the kubelet and crictl rely on beyond the single verbs: names and retries, shortened ids, init containers and restarts,
// shared process namespaces, stop signals, the user of an image, events of sandboxes. docs/client-contract.md lists which test
// proves which expectation.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {Cri, alphaServices} = require('./support/cri');
const {changedBusybox} = require('./support/images');
const {startRegistry, push} = require('./support/registry');
const {subscribed} = require('./support/events');
const {eventually, failure, refused, must} = require('./support/kit');

let node, pod, registry;
before(async () => {
    node = await Node.start();
    pod = await node.runPod();
    registry = await startRegistry(node);
});
after(() => node.end());

const podIds = () => node.listedPodIds();
const containerIds = async (filter) => (await node.cri.call('ListContainers', {filter})).containers.map(({id}) => id);

// Pushes busybox with another configuration (options of `umoci config`) and pulls it.
async function imageWith(tag, ...words) {
    const name = `${registry.host}/tests/busybox:${tag}`;
    push(node, changedBusybox(node, ['config', ...words]), name);
    await node.cri.call('PullImage', {image: {image: name}});
    return name;
}

test('two simultaneous calls of RunPodSandbox for one pod return the same sandbox', async () => {
    const config = node.podConfig();
    const answers = await Promise.all([1, 2].map(() => node.cri.call('RunPodSandbox', {config})));
    assert.strictEqual(answers[0].pod_sandbox_id, answers[1].pod_sandbox_id);
    await node.removePod({id: answers[0].pod_sandbox_id});
});

// OpenStack's Zun makes these calls, with nothing but these fields.
test('a client of runtime.v1alpha2 runs a pod without a log directory or a linux section', async () => {
    const alpha = new Cri(node.socket, alphaServices);
    try {
        assert.strictEqual((await alpha.call('Version')).runtime_api_version, 'v1alpha2');
        assert.strictEqual((await node.cri.call('Version')).runtime_api_version, 'v1');
        const image = {image: await imageWith('alpha')};
        const {image_ref} = await alpha.call('PullImage', {image});
        const config = {metadata: {name: 'capsule', namespace: 'default', uid: `alpha-${process.pid}`}};
        const {pod_sandbox_id} = await alpha.call('RunPodSandbox', {config});
        const {container_id} = await alpha.call('CreateContainer', {pod_sandbox_id, sandbox_config: config, config: {
            metadata: {name: 'one'}, image: {image: image_ref}, command: ['/bin/sleep', '100000'], envs: [{key: 'A', value: Buffer.from('b')}]}});
        await alpha.call('StartContainer', {container_id});
        const {containers} = await alpha.call('ListContainers', {filter: {id: container_id}});
        assert.deepStrictEqual(containers.map(({id, state}) => [id, state]), [[container_id, 'CONTAINER_RUNNING']]);
        assert.ok((await alpha.call('PodSandboxStatus', {pod_sandbox_id})).status.network.ip);
        await alpha.call('StopPodSandbox', {pod_sandbox_id});
        await alpha.call('RemovePodSandbox', {pod_sandbox_id});
    } finally {
        alpha.close();
    }
});

test('RunPodSandbox of the next attempt makes another sandbox', async () => {
    const {metadata} = pod.config;
    const config = node.podConfig({metadata: {...metadata, attempt: 1}});
    const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config});
    assert.notStrictEqual(id, pod.id);
    assert.deepStrictEqual((await node.podStatus({id})).metadata, config.metadata);
    await node.removePod({id});
});

test('a client that gave up RunPodSandbox gets its sandbox when it asks again', async () => {
    const config = node.podConfig();
    await refused(node.cri.call('RunPodSandbox', {config}, 400), 'DEADLINE_EXCEEDED');
    const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config});
    assert.strictEqual((await node.podStatus({id})).state, 'SANDBOX_READY');
    assert.deepStrictEqual((await podIds()).sort(), [id, pod.id].sort());
    await node.removePod({id});
    assert.deepStrictEqual(await podIds(), [pod.id]);
});

test('a client that gave up CreateContainer gets its container when it asks again', async () => {
    const config = node.containerConfig();
    const request = {pod_sandbox_id: pod.id, config, sandbox_config: pod.config};
    await node.cri.call('CreateContainer', request, 30).catch(() => {});
    const {container_id: id} = await node.cri.call('CreateContainer', request);
    await node.cri.call('StartContainer', {container_id: id});
    assert.deepStrictEqual(await containerIds({pod_sandbox_id: pod.id}), [id]);
    await node.remove({id});
});

test('a shortened id is accepted as long as it belongs to one container only', async () => {
    const container = await node.create(pod);
    const short = container.id.slice(0, 12);
    assert.strictEqual((await node.containerStatus({id: short})).id, container.id);
    assert.deepStrictEqual(await containerIds({id: short}), [container.id]);
    assert.deepStrictEqual(await containerIds({id: short, pod_sandbox_id: pod.id.slice(0, 12)}), [container.id]);
    assert.strictEqual((await node.podStatus({id: pod.id.slice(0, 12)})).id, pod.id);
    // Of 17 ids, two begin with the same hexadecimal digit.
    const all = [container], twice = () => all.map(({id}) => id[0]).find((digit, i, digits) => digits.indexOf(digit) < i);
    while (!twice())
        all.push(await node.create(pod));
    await refused(node.containerStatus({id: twice()}), 'INVALID_ARGUMENT', twice());
    for (const {id} of all)
        await node.cri.call('RemoveContainer', {container_id: id});
});

test('filters of the container list are ANDed', async () => {
    const labels = {app: 'filtered'};
    const created = await node.create(pod, {labels});
    const running = await node.runContainer(pod, {labels});
    const state = (name) => ({state: {state: `CONTAINER_${name}`}, label_selector: labels});
    assert.deepStrictEqual(await containerIds(state('CREATED')), [created.id]);
    assert.deepStrictEqual(await containerIds(state('RUNNING')), [running.id]);
    assert.deepStrictEqual(await containerIds({...state('RUNNING'), pod_sandbox_id: 'f'.repeat(64)}), []);
    assert.deepStrictEqual(await containerIds({...state('RUNNING'), label_selector: {...labels, no: 'such'}}), []);
    for (const container of [created, running])
        await node.remove(container);
});

test('an init container ends before the others start, and a container is restarted as the next attempt', async () => {
    const shared = path.join(node.dir, 'shared');
    const mounts = [{container_path: '/shared', host_path: shared}];
    const init = await node.runContainer(pod, {command: ['/bin/sh', '-c', 'echo ready > /shared/state'], mounts});
    assert.deepStrictEqual((await node.ended(init)).exit_code, 0);
    const name = 'restarted', ids = [];
    for (let attempt = 0; attempt < 3; attempt++) {
        const container = await node.runContainer(pod, {
            metadata: {name, attempt}, log_path: `${name}/${attempt}.log`, mounts,
            command: ['/bin/sh', '-c', `cat /shared/state; echo ${attempt} >> /shared/state; exit ${attempt + 1}`],
        });
        assert.strictEqual((await node.ended(container)).exit_code, attempt + 1);
        assert.strictEqual(node.logLines(container).length, attempt + 1);
        ids.push(container.id);
    }
    // What ended is kept until it is removed, each with its own end.
    const codes = await Promise.all(ids.map(async (id) => (await node.containerStatus({id})).exit_code));
    assert.deepStrictEqual(codes, [1, 2, 3]);
    for (const container_id of [init.id, ...ids])
        await node.cri.call('RemoveContainer', {container_id});
});

test('containers share the process namespace of their pod, or that of another container, when the request says so', async () => {
    const options = (namespaces) => ({linux: {security_context: {namespace_options: namespaces}}});
    const seesMarker = async (container) => (await node.output(container, 'cat /proc/[0-9]*/cmdline | tr "\\0" " "')).includes('100999');
    const alone = await node.runContainer(pod, {command: ['/bin/sleep', '100999'], ...options({pid: 'CONTAINER'})});
    const other = await node.runContainer(pod, options({pid: 'CONTAINER'}));
    const target = await node.runContainer(pod, options({pid: 'TARGET', target_id: alone.id}));
    assert.strictEqual(await seesMarker(other), false);
    assert.strictEqual(await seesMarker(target), true);
    for (const container of [target, other, alone])
        await node.remove(container);
    await refused(node.create(pod, options({pid: 'TARGET', target_id: 'f'.repeat(64)})), 'INVALID_ARGUMENT', 'target_id');

    const together = await node.runPod(options({pid: 'POD'}));
    const first = await node.runContainer(together, {command: ['/bin/sleep', '100999'], ...options({pid: 'POD'})});
    const second = await node.runContainer(together, options({pid: 'POD'}));
    assert.strictEqual(await seesMarker(second), true);
    await node.remove(first);
    assert.strictEqual((await node.containerStatus(second)).state, 'CONTAINER_RUNNING');
    await node.removePod(together);
});

test('StopContainer sends once the stop signal of the container, else of the image, else TERM', async () => {
    const image = {image: await imageWith('stopsignal', '--config.stopsignal=SIGUSR1')};
    const script = 'for s in TERM USR1 USR2; do trap "echo $s" $s; done; echo up; n=0; while [ $n -lt 30 ]; do n=$((n+1)); sleep 0.1; done';
    for (const [more, signal] of [[{}, 'TERM'], [{image}, 'USR1'], [{image, stop_signal: 'SIGNAL_SIGUSR2'}, 'USR2']]) {
        const container = await node.runContainer(pod, {...more, command: ['/bin/sh', '-c', script]});
        await node.firstLine(container);
        await node.cri.call('StopContainer', {container_id: container.id, timeout: 100});
        assert.deepStrictEqual(node.logTexts(container), ['up', signal]);
        await node.remove(container);
    }
});

test('ImageStatus reports the user of an image as number or name, and its containers run as that user', async () => {
    for (const [words, uid, username, id] of [['1234:5678', '1234', '', '1234:5678'], ['root', undefined, 'root', '0:0']]) {
        const name = await imageWith(`user-${words.replace(':', '-')}`, `--config.user=${words}`);
        const {image} = await node.cri.call('ImageStatus', {image: {image: name}});
        assert.deepStrictEqual([image.uid?.value, image.username], [uid, username]);
        const container = await node.runContainer(pod, {image: {image: name}, command: ['/bin/sleep', '1000']});
        assert.strictEqual(await node.output(container, 'echo $(id -u):$(id -g)'), id);
        await node.remove(container);
    }
});

test('ReopenContainerLog of a container that does not run fails and creates no file', async () => {
    const container = await node.create(pod);
    await refused(node.cri.call('ReopenContainerLog', {container_id: container.id}), 'FAILED_PRECONDITION');
    assert.ok(!fs.existsSync(container.log));
    await node.cri.call('RemoveContainer', {container_id: container.id});
});

test('only the daemon\'s own user can read what it stores of a pod\'s configuration', async () => {
    const secret = 'correct-horse-battery-staple';
    const container = await node.create(pod, {envs: [{key: 'PASSWORD', value: Buffer.from(secret)}]});
    const kept = must('grep', '-rlaF', secret, node.stateDir).split('\n').filter(Boolean);
    assert.ok(kept.length > 0, 'it is not where this test looks');
    for (const file of kept)
        assert.strictEqual(fs.statSync(file).mode & 0o077, 0, file);
    await node.remove(container);
});

test('RunPodSandbox fails with the message of a CNI plugin that fails, and a repaired plugin removes what it left', async () => {
    node.writeCni(JSON.stringify({
        cniVersion: '1.0.0', name: 'test',
        plugins: [{type: 'bridge', bridge: 'cvt0', ipam: {type: 'host-local', ranges: [[{subnet: 'nonsense'}]]}}],
    }));
    const refusal = await failure(node.runPod());
    assert.match(refusal.message, /INTERNAL|UNAVAILABLE/);
    assert.match(refusal.details, /nonsense/);
    // This plugin fails DEL as it failed ADD, so the pod stays listed until that is done.
    const left = (await podIds()).filter((id) => id !== pod.id);
    for (const id of left) {
        assert.strictEqual((await node.podStatus({id})).state, 'SANDBOX_NOTREADY');
        await assert.rejects(node.removePod({id}), ({details}) => details.includes('nonsense'));
    }
    node.writeCni();
    for (const id of left)
        await node.removePod({id});
    assert.deepStrictEqual(await podIds(), [pod.id]);
});

test('GetContainerEvents reports events of the sandbox itself', async () => {
    const call = await subscribed(node, pod), {seen} = call;
    const other = await node.runPod();
    await node.removePod(other);
    const mine = () => seen.filter(({container_id}) => container_id === other.id);
    await eventually('the last event is there', () => mine().length === 4);
    assert.deepStrictEqual(mine().map((event) => event.container_event_type),
                           ['CREATED', 'STARTED', 'STOPPED', 'DELETED'].map((verb) => `CONTAINER_${verb}_EVENT`));
    assert.deepStrictEqual(mine().slice(1, 3).map((event) => event.pod_sandbox_status.state), ['SANDBOX_READY', 'SANDBOX_NOTREADY']);
    call.cancel();
});
