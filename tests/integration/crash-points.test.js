'use strict';
// kill -9 of the daemon after every single side effect of every verb that has any (tests/tools/crash_shim.c). The next
// daemon says of everything that exists what is true, lets it be used, and finishes what is asked for again.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {startMachine, points} = require('./support/crash');
const {startRegistry, push} = require('./support/registry');
const {eventually} = require('./support/kit');

let crashing, machine, registry, pod, volume;
before(async () => {
    crashing = await startMachine();
    ({machine} = crashing);
    volume = path.join(machine.dir, 'volume');
    fs.mkdirSync(volume);
    registry = await startRegistry(machine);
});
after(() => crashing.end());

const call = (method, request) => machine.cri.call(method, request);
const podIds = async () => (await call('ListPodSandbox')).items.map(({id}) => id);

// What of pods is on the node belongs to a sandbox that is listed, and every listed thing has a status.
async function truthful() {
    const ids = await podIds();
    for (const id of ids)
        await call('PodSandboxStatus', {pod_sandbox_id: id, verbose: true});
    for (const {id, pod_sandbox_id: podId} of (await call('ListContainers')).containers) {
        await call('ContainerStatus', {container_id: id, verbose: true});
        assert.ok(ids.includes(podId), `container ${id} is of no sandbox`);
    }
    const strays = await eventually('nothing is there that no sandbox speaks of', () => {
        const left = machine.strays(ids);
        return left.length === 0 && [left];
    }, 20000).catch(() => [machine.strays(ids)]);
    assert.deepStrictEqual(strays[0], []);
}

// A container with a volume that counts how often it was started.
const counting = (name) => ({
    metadata: {name, attempt: 0}, log_path: `${name}.log`,
    command: ['/bin/sh', '-c', `echo start >> /volume/${name}; echo started; exec sleep 100000`],
    mounts: [{container_path: '/volume', host_path: volume}],
});
const starts = (name) => {
    const file = path.join(volume, name);
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n').length - 1 : 0;
};

let serial = 0;
// The pod that the next tests' containers are in: it lives through all the crashes of the verbs on containers.
async function livingPod() {
    if (!pod || !(await podIds()).includes(pod.id))
        pod = await machine.runPod();
    assert.strictEqual((await machine.podStatus(pod)).state, 'SANDBOX_READY');
    return pod;
}
const make = async (name) => machine.create(await livingPod(), counting(name));
const start = async (name) => {
    const container = await make(name);
    await call('StartContainer', {container_id: container.id});
    return container;
};
const named = async (name) => (await call('ListContainers')).containers.filter(({metadata}) => metadata.name === name);

// It runs, was started once, and can be used.
async function runs(container, name) {
    assert.strictEqual((await machine.containerStatus(container)).state, 'CONTAINER_RUNNING');
    assert.strictEqual(await machine.output(container, 'echo inside'), 'inside');
    await eventually('it has begun', () => starts(name) > 0);
    assert.strictEqual(starts(name), 1);
}
async function goes(container) {
    await machine.remove(container);
    await assert.rejects(machine.containerStatus(container));
}

// prepare(name) → what work and check are given; work is what is killed; again: after which the verb has been done.
const verbs = [
    {
        verb: 'RunPodSandbox',
        prepare: () => machine.podConfig(),
        work: (config) => call('RunPodSandbox', {config}),
        async again(config) {
            const {pod_sandbox_id: id} = await call('RunPodSandbox', {config});
            assert.deepStrictEqual(await podIds(), [id]);
            const container = await machine.runContainer({id, config}, 'exit 3');
            assert.strictEqual((await machine.ended(container)).exit_code, 3);
            await call('RemovePodSandbox', {pod_sandbox_id: id});
        },
    },
    {
        verb: 'StopPodSandbox',
        async prepare(name) {
            pod = undefined;
            await start(name);
            return pod;
        },
        work: ({id}) => call('StopPodSandbox', {pod_sandbox_id: id}),
        async again({id}) {
            await call('StopPodSandbox', {pod_sandbox_id: id});
            assert.strictEqual((await machine.podStatus({id})).state, 'SANDBOX_NOTREADY');
            for (const {state} of (await call('ListContainers')).containers)
                assert.strictEqual(state, 'CONTAINER_EXITED');
            await call('RemovePodSandbox', {pod_sandbox_id: id});
        },
    },
    {
        verb: 'RemovePodSandbox',
        async prepare(name) {
            pod = undefined;
            await start(name);
            await call('StopPodSandbox', {pod_sandbox_id: pod.id});
            return pod;
        },
        work: ({id}) => call('RemovePodSandbox', {pod_sandbox_id: id}),
        async again({id}) {
            await call('RemovePodSandbox', {pod_sandbox_id: id});
            assert.deepStrictEqual((await call('ListContainers')).containers, []);
        },
    },
    {
        verb: 'CreateContainer, the first of a pod',
        async prepare(name) {
            pod = undefined;
            await livingPod();
            return name;
        },
        work: (name) => make(name),
        async again(name) {
            const container = await make(name);
            assert.deepStrictEqual((await named(name)).map(({id}) => id), [container.id]);
            await call('StartContainer', {container_id: container.id});
            await runs(container, name);
            await goes(container);
            await machine.removePod(pod);
        },
    },
    {
        verb: 'CreateContainer',
        prepare: async (name) => { await livingPod(); return name; },
        work: (name) => make(name),
        async again(name) {
            const container = await make(name);
            assert.deepStrictEqual((await named(name)).map(({id}) => id), [container.id]);
            await call('StartContainer', {container_id: container.id});
            await runs(container, name);
            await goes(container);
        },
    },
    {
        verb: 'StartContainer',
        prepare: make,
        work: ({id}) => call('StartContainer', {container_id: id}),
        async again({id, log}, name) {
            const {state} = await machine.containerStatus({id});
            if (state === 'CONTAINER_CREATED')
                await call('StartContainer', {container_id: id});
            await runs({id}, name);
            await eventually('its line is in the log', () => fs.readFileSync(log, 'utf8') !== '');
            assert.deepStrictEqual(machine.logLines({log}).map(({text}) => text), ['started']);
            await goes({id});
        },
    },
    {
        verb: 'UpdateContainerResources',
        prepare: start,
        work: ({id}) => call('UpdateContainerResources', {container_id: id, linux: {memory_limit_in_bytes: 96 << 20}}),
        async again(container, name) {
            await call('UpdateContainerResources', {container_id: container.id, linux: {memory_limit_in_bytes: 96 << 20}});
            const {resources} = await machine.containerStatus(container);
            assert.strictEqual(Number(resources.linux.memory_limit_in_bytes), 96 << 20);
            assert.strictEqual(await machine.output(container, 'cat /sys/fs/cgroup/memory.max'), String(96 << 20));
            await runs(container, name);
            await goes(container);
        },
    },
    {
        verb: 'StopContainer',
        prepare: start,
        work: ({id}) => call('StopContainer', {container_id: id, timeout: 0}),
        async again({id}) {
            await call('StopContainer', {container_id: id, timeout: 0});
            const status = await machine.containerStatus({id});
            assert.deepStrictEqual([status.state, status.exit_code], ['CONTAINER_EXITED', 137]);
            await goes({id});
        },
    },
    {
        verb: 'RemoveContainer',
        prepare: start,
        work: ({id}) => call('RemoveContainer', {container_id: id}),
        async again({id}, name) {
            await call('RemoveContainer', {container_id: id});
            assert.deepStrictEqual(await named(name), []);
            const successor = await start(name); // the name is free
            await goes(successor);
        },
    },
];

for (const {verb, prepare, work, again} of verbs)
    test(`${verb} is killed after each of its side effects`, async (t) => {
        const name = `${verb.replace(/\W.*/, '').toLowerCase()}${++serial}`;
        for (const id of await podIds()) // of a verb that failed
            await machine.removePod({id});
        const first = await prepare(name);
        const names = await crashing.record(() => work(first));
        await again(first, name);
        for (const {name: effect, point} of points(names))
            await t.test(`${point}/${names.length}: ${effect}`, async () => {
                const mine = `${name}-${point}`;
                const subject = await prepare(mine);
                await crashing.crash(point, () => work(subject));
                await truthful();
                await again(subject, mine);
                await truthful();
            });
        for (const id of await podIds())
            await machine.removePod({id});
        await machine.noLeaks();
    });

test('PullImage is killed after each of its side effects', async (t) => {
    const image = `${registry.host}/tests/busybox:one`;
    push(machine, `oci-archive:${machine.busyboxArchive()}`, image);
    const pull = async () => (await call('PullImage', {image: {image}})).image_ref;
    const find = async () => (await call('ImageStatus', {image: {image}})).image;
    await call('RemoveImage', {image: {image: (await call('ListImages')).images[0].id}});
    const names = await crashing.record(pull);
    await call('RemoveImage', {image: {image}});
    for (const {name: effect, point} of points(names))
        await t.test(`${point}/${names.length}: ${effect}`, async () => {
            await crashing.crash(point, pull);
            const found = await find();
            assert.ok(found === null || BigInt(found.size) > 0n);
            const id = await pull();
            assert.strictEqual((await find()).id, id);
            const one = await machine.runPod();
            const container = await machine.runContainer(one, {image: {image}, command: ['/bin/true']});
            assert.strictEqual((await machine.ended(container)).exit_code, 0);
            await machine.removePod(one);
            await call('RemoveImage', {image: {image}});
            assert.deepStrictEqual((await call('ListImages')).images, []);
        });
});
