'use strict';
// What the kubelet and crictl rely on beyond the single verbs: names and retries, ids that are cut short, init containers and
// restarts, shared process namespaces, which signal stops, what an image says of its user, whose events there are.
// docs/client-contract.md says which test stands for which expectation.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Machine} = require('./support/machine');
const {startRegistry, push} = require('./support/registry');
const {refused, eventually, must} = require('./support/kit');

let machine, pod, registry;
before(async () => {
    machine = await Machine.start();
    pod = await machine.runPod();
    registry = await startRegistry(machine);
});
after(() => machine.end());

const podIds = async () => (await machine.cri.call('ListPodSandbox')).items.map(({id}) => id);
const containerIds = async (filter) => (await machine.cri.call('ListContainers', {filter})).containers.map(({id}) => id);

// Pushes busybox with another configuration (umoci's words) and pulls it.
async function imageWith(tag, ...words) {
    const layout = path.join(machine.dir, `layout-${tag}`), name = `${registry.host}/tests/busybox:${tag}`;
    must('skopeo', 'copy', '-q', '--insecure-policy', `oci-archive:${machine.busyboxArchive()}`, `oci:${layout}:it`);
    must('umoci', 'config', '--image', `${layout}:it`, ...words);
    push(machine, `oci:${layout}:it`, name);
    await machine.cri.call('PullImage', {image: {image: name}});
    return name;
}

test('the same pod asked for twice at once is one pod', async () => {
    const config = machine.podConfig();
    const answers = await Promise.all([1, 2].map(() => machine.cri.call('RunPodSandbox', {config})));
    assert.strictEqual(answers[0].pod_sandbox_id, answers[1].pod_sandbox_id);
    await machine.removePod({id: answers[0].pod_sandbox_id});
});

test('the next attempt, another uid or another namespace is another pod', async () => {
    const {metadata} = pod.config;
    const config = machine.podConfig({metadata: {...metadata, attempt: 1}});
    const {pod_sandbox_id: id} = await machine.cri.call('RunPodSandbox', {config});
    assert.notStrictEqual(id, pod.id);
    assert.deepStrictEqual((await machine.podStatus({id})).metadata, config.metadata);
    await machine.removePod({id});
});

test('a client that gave a pod up gets it when it asks again', async () => {
    const config = machine.podConfig();
    await refused(machine.cri.call('RunPodSandbox', {config}, 400), 'DEADLINE_EXCEEDED');
    const {pod_sandbox_id: id} = await machine.cri.call('RunPodSandbox', {config});
    assert.strictEqual((await machine.podStatus({id})).state, 'SANDBOX_READY');
    assert.deepStrictEqual((await podIds()).sort(), [id, pod.id].sort());
    await machine.removePod({id});
    assert.deepStrictEqual(await podIds(), [pod.id]);
});

test('a client that gave a container up gets it when it asks again', async () => {
    const config = machine.containerConfig();
    const request = {pod_sandbox_id: pod.id, config, sandbox_config: pod.config};
    await machine.cri.call('CreateContainer', request, 30).catch(() => {});
    const {container_id: id} = await machine.cri.call('CreateContainer', request);
    await machine.cri.call('StartContainer', {container_id: id});
    assert.deepStrictEqual(await containerIds({pod_sandbox_id: pod.id}), [id]);
    await machine.remove({id});
});

test('an id may be cut short as long as it is one container\'s', async () => {
    const container = await machine.create(pod);
    const short = container.id.slice(0, 12);
    assert.strictEqual((await machine.containerStatus({id: short})).id, container.id);
    assert.deepStrictEqual(await containerIds({id: short}), [container.id]);
    assert.deepStrictEqual(await containerIds({id: short, pod_sandbox_id: pod.id.slice(0, 12)}), [container.id]);
    assert.strictEqual((await machine.podStatus({id: pod.id.slice(0, 12)})).id, pod.id);
    // Of 17 ids, two begin with the same hexadecimal digit.
    const all = [container], twice = () => all.map(({id}) => id[0]).find((digit, i, digits) => digits.indexOf(digit) < i);
    while (!twice())
        all.push(await machine.create(pod));
    await refused(machine.containerStatus({id: twice()}), 'INVALID_ARGUMENT', twice());
    for (const {id} of all)
        await machine.cri.call('RemoveContainer', {container_id: id});
});

test('filters of the container list are ANDed', async () => {
    const labels = {app: 'filtered'};
    const created = await machine.create(pod, {labels});
    const running = await machine.runContainer(pod, {labels});
    const state = (name) => ({state: {state: `CONTAINER_${name}`}, label_selector: labels});
    assert.deepStrictEqual(await containerIds(state('CREATED')), [created.id]);
    assert.deepStrictEqual(await containerIds(state('RUNNING')), [running.id]);
    assert.deepStrictEqual(await containerIds({...state('RUNNING'), pod_sandbox_id: 'f'.repeat(64)}), []);
    assert.deepStrictEqual(await containerIds({...state('RUNNING'), label_selector: {...labels, no: 'such'}}), []);
    for (const container of [created, running])
        await machine.remove(container);
});

test('an init container ends before the others start, and a container is restarted as the next attempt', async () => {
    const shared = path.join(machine.dir, 'shared');
    const mounts = [{container_path: '/shared', host_path: shared}];
    const init = await machine.runContainer(pod, {command: ['/bin/sh', '-c', 'echo ready > /shared/state'], mounts});
    assert.deepStrictEqual((await machine.ended(init)).exit_code, 0);
    const name = 'restarted', ids = [];
    for (let attempt = 0; attempt < 3; attempt++) {
        const container = await machine.runContainer(pod, {
            metadata: {name, attempt}, log_path: `${name}/${attempt}.log`, mounts,
            command: ['/bin/sh', '-c', `cat /shared/state; echo ${attempt} >> /shared/state; exit ${attempt + 1}`],
        });
        assert.strictEqual((await machine.ended(container)).exit_code, attempt + 1);
        assert.strictEqual(machine.logLines(container).length, attempt + 1);
        ids.push(container.id);
    }
    // What ended is kept until it is removed, each with its own end.
    const codes = await Promise.all(ids.map(async (id) => (await machine.containerStatus({id})).exit_code));
    assert.deepStrictEqual(codes, [1, 2, 3]);
    for (const container_id of [init.id, ...ids])
        await machine.cri.call('RemoveContainer', {container_id});
});

test('a pod\'s containers share its process namespace, or look into another\'s, when they are asked to', async () => {
    const options = (namespaces) => ({linux: {security_context: {namespace_options: namespaces}}});
    const seesMarker = async (container) => (await machine.output(container, 'cat /proc/[0-9]*/cmdline | tr "\\0" " "')).includes('100999');
    const alone = await machine.runContainer(pod, {command: ['/bin/sleep', '100999'], ...options({pid: 'CONTAINER'})});
    const other = await machine.runContainer(pod, options({pid: 'CONTAINER'}));
    const target = await machine.runContainer(pod, options({pid: 'TARGET', target_id: alone.id}));
    assert.strictEqual(await seesMarker(other), false);
    assert.strictEqual(await seesMarker(target), true);
    for (const container of [target, other, alone])
        await machine.remove(container);
    await refused(machine.create(pod, options({pid: 'TARGET', target_id: 'f'.repeat(64)})), 'INVALID_ARGUMENT', 'target_id');

    const together = await machine.runPod(options({pid: 'POD'}));
    const first = await machine.runContainer(together, {command: ['/bin/sleep', '100999'], ...options({pid: 'POD'})});
    const second = await machine.runContainer(together, options({pid: 'POD'}));
    assert.strictEqual(await seesMarker(second), true);
    await machine.remove(first);
    assert.strictEqual((await machine.containerStatus(second)).state, 'CONTAINER_RUNNING');
    await machine.removePod(together);
});

test('the stop signal is the container\'s, else the image\'s, else TERM, and it is sent once', async () => {
    const image = {image: await imageWith('stopsignal', '--config.stopsignal=SIGUSR1')};
    const script = 'for s in TERM USR1 USR2; do trap "echo $s" $s; done; echo up; n=0; while [ $n -lt 30 ]; do n=$((n+1)); sleep 0.1; done';
    for (const [more, signal] of [[{}, 'TERM'], [{image}, 'USR1'], [{image, stop_signal: 'SIGUSR2'}, 'USR2']]) {
        const container = await machine.runContainer(pod, {...more, command: ['/bin/sh', '-c', script]});
        await eventually('the traps are set', () => fs.existsSync(container.log) && machine.logLines(container).length);
        await machine.cri.call('StopContainer', {container_id: container.id, timeout: 100});
        assert.deepStrictEqual(machine.logLines(container).map(({text}) => text), ['up', signal]);
        await machine.remove(container);
    }
});

test('an image\'s user is a number or a name, and the container runs as it', async () => {
    for (const [words, uid, username, id] of [['1234:5678', '1234', '', '1234:5678'], ['root', undefined, 'root', '0:0']]) {
        const name = await imageWith(`user-${words.replace(':', '-')}`, `--config.user=${words}`);
        const {image} = await machine.cri.call('ImageStatus', {image: {image: name}});
        assert.deepStrictEqual([image.uid?.value, image.username], [uid, username]);
        const container = await machine.runContainer(pod, {image: {image: name}, command: ['/bin/sleep', '1000']});
        assert.strictEqual(await machine.output(container, 'echo $(id -u):$(id -g)'), id);
        await machine.remove(container);
    }
});

test('ReopenContainerLog of a container that does not run is an error and makes no file', async () => {
    const container = await machine.create(pod);
    await refused(machine.cri.call('ReopenContainerLog', {container_id: container.id}), 'FAILED_PRECONDITION');
    assert.ok(!fs.existsSync(container.log));
    await machine.cri.call('RemoveContainer', {container_id: container.id});
});

test('what the daemon keeps of a pod\'s configuration only its own user can read', async () => {
    const secret = 'correct-horse-battery-staple';
    const container = await machine.create(pod, {envs: [{key: 'PASSWORD', value: Buffer.from(secret)}]});
    const kept = must('grep', '-rlaF', secret, machine.stateDir).split('\n').filter(Boolean);
    assert.ok(kept.length > 0, 'it is not where this test looks');
    for (const file of kept)
        assert.strictEqual(fs.statSync(file).mode & 0o077, 0, file);
    await machine.remove(container);
});

test('a CNI plugin that fails is the pod\'s error, in its own words, and what it left is removed with a repaired one', async () => {
    machine.writeCni(JSON.stringify({
        cniVersion: '1.0.0', name: 'test',
        plugins: [{type: 'bridge', bridge: 'cvt0', ipam: {type: 'host-local', ranges: [[{subnet: 'nonsense'}]]}}],
    }));
    const refusal = await machine.runPod().then(() => null, (error) => error);
    assert.ok(refusal, 'the pod has a network');
    assert.match(refusal.message, /INTERNAL|UNAVAILABLE/);
    assert.match(refusal.details, /nonsense/);
    // This plugin fails DEL as it failed ADD, so the pod stays listed until that is done.
    const left = (await podIds()).filter((id) => id !== pod.id);
    for (const id of left) {
        assert.strictEqual((await machine.podStatus({id})).state, 'SANDBOX_NOTREADY');
        await assert.rejects(machine.removePod({id}), ({details}) => details.includes('nonsense'));
    }
    machine.writeCni();
    for (const id of left)
        await machine.removePod({id});
    assert.deepStrictEqual(await podIds(), [pod.id]);
});

test('there are events of the sandbox itself', async () => {
    const client = machine.cri.clients.find((one) => typeof one.GetContainerEvents === 'function');
    const call = client.GetContainerEvents({}), seen = [];
    call.on('data', (event) => seen.push(event)).on('error', () => {});
    await eventually('it is subscribed', async () => {
        await machine.remove(await machine.runContainer(pod, 'true'));
        return seen.length > 0;
    });
    const other = await machine.runPod();
    await machine.removePod(other);
    const mine = () => seen.filter(({container_id}) => container_id === other.id);
    await eventually('the last event is there', () => mine().length === 4);
    assert.deepStrictEqual(mine().map((event) => event.container_event_type),
                           ['CREATED', 'STARTED', 'STOPPED', 'DELETED'].map((verb) => `CONTAINER_${verb}_EVENT`));
    assert.deepStrictEqual(mine().slice(1, 3).map((event) => event.pod_sandbox_status.state), ['SANDBOX_READY', 'SANDBOX_NOTREADY']);
    call.cancel();
});
