'use strict';
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Machine} = require('./support/machine');
const {eventually} = require('./support/kit');

let machine, pod, container;
before(async () => {
    machine = await Machine.start();
    pod = await machine.runPod();
    container = await machine.runContainer(pod, 'dd if=/dev/zero of=/file bs=1M count=3; while :; do :; done');
});
after(() => machine.end());

const stream = (method, request = {}) => {
    const client = machine.cri.clients.find((one) => typeof one[method] === 'function');
    const call = client[method](request);
    call.seen = [];
    call.on('data', (message) => call.seen.push(message));
    call.on('error', () => {});
    return call;
};
const all = (method, request) => new Promise((resolve, reject) => {
    const call = stream(method, request);
    call.on('error', reject);
    call.on('end', () => resolve(call.seen));
});

test('a container has CPU time, a rate, memory and a writable layer', async () => {
    const stats = await eventually('there is a rate', async () => {
        const {stats} = await machine.cri.call('ContainerStats', {container_id: container.id});
        return stats.cpu && stats.cpu.usage_nano_cores && stats.writable_layer ? stats : null;
    });
    assert.strictEqual(stats.attributes.id, container.id);
    assert.ok(Number(stats.cpu.usage_core_nano_seconds.value) > 0);
    assert.ok(Number(stats.memory.working_set_bytes.value) > 0);
    await eventually('the file is counted', async () => {
        const {stats} = await machine.cri.call('ContainerStats', {container_id: container.id});
        return Number(stats.writable_layer.used_bytes.value) >= 3 << 20;
    });
});

test('a pod costs the node more than its container uses in the guest', async () => {
    const {stats} = await machine.cri.call('ListPodSandboxStats');
    const [{linux}] = stats.filter(({attributes}) => attributes.id === pod.id);
    assert.ok(Number(linux.memory.working_set_bytes.value) > Number(linux.containers[0].memory.usage_bytes.value));
    assert.strictEqual(linux.network.default_interface.name, 'eth0');
    assert.ok(Number(linux.process.process_count.value) >= 1);
});

test('every metric has a descriptor with as many labels', async () => {
    const {descriptors} = await machine.cri.call('ListMetricDescriptors');
    const {pod_metrics} = await machine.cri.call('ListPodSandboxMetrics');
    const known = new Map(descriptors.map(({name, label_keys}) => [name, label_keys.length]));
    const mine = pod_metrics.find(({pod_sandbox_id}) => pod_sandbox_id === pod.id);
    const metrics = [...mine.metrics, ...mine.container_metrics[0].metrics];
    assert.ok(metrics.length > 40);
    for (const {name, label_values} of metrics)
        assert.strictEqual(label_values.length, known.get(name), name);
});

test('the streams have what the lists have', async () => {
    const sandboxes = (await all('StreamPodSandboxes')).flatMap(({pod_sandboxes}) => pod_sandboxes);
    const containers = (await all('StreamContainers')).flatMap((chunk) => chunk.containers);
    const images = (await all('StreamImages')).flatMap((chunk) => chunk.images);
    const stats = (await all('StreamContainerStats')).flatMap(({container_stats}) => container_stats);
    assert.deepStrictEqual(sandboxes, (await machine.cri.call('ListPodSandbox')).items);
    assert.deepStrictEqual(containers, (await machine.cri.call('ListContainers')).containers);
    assert.deepStrictEqual(images, (await machine.cri.call('ListImages')).images);
    assert.deepStrictEqual(stats.map(({attributes}) => attributes.id), [container.id]);
    assert.strictEqual((await all('StreamPodSandboxStats')).flatMap((chunk) => chunk.pod_sandbox_stats).length, 1);
    assert.strictEqual((await all('StreamPodSandboxMetrics')).flatMap((chunk) => chunk.pod_sandbox_metrics).length, 1);
});

test('each subscriber sees what happens; one that vanishes disturbs nobody', async () => {
    const [first, second, vanishing] = [1, 2, 3].map(() => stream('GetContainerEvents'));
    // A stream has no way of saying that it is open: something happens until both have seen it.
    await eventually('both are subscribed', async () => {
        await machine.remove(await machine.runContainer(pod, 'true'));
        return first.seen.length > 0 && second.seen.length > 0;
    });
    vanishing.cancel();
    const short = await machine.runContainer(pod, 'exit 3');
    await machine.ended(short);
    await machine.remove(short);
    for (const {seen} of [first, second]) {
        const mine = () => seen.filter(({container_id}) => container_id === short.id);
        await eventually('the last event is there', () => mine().length === 4);
        assert.deepStrictEqual(mine().map(({container_event_type}) => container_event_type),
                               ['CREATED', 'STARTED', 'STOPPED', 'DELETED'].map((verb) => `CONTAINER_${verb}_EVENT`));
        const stopped = mine()[2];
        assert.strictEqual(stopped.pod_sandbox_status.id, pod.id);
        const status = stopped.containers_statuses.find(({id}) => id === short.id);
        assert.deepStrictEqual([status.state, status.exit_code], ['CONTAINER_EXITED', 3]);
    }
    first.cancel();
    second.cancel();
});
