// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const fs = require('fs');
const {execFileSync} = require('child_process');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {wholeStream, subscribe, areSubscribed} = require('./support/events');
const {eventually} = require('./support/kit');

let node, pod, container;
before(async () => {
    node = await Node.start({flags: ['--max-parallel-boots=1']});
    pod = await node.runPod();
    container = await node.runContainer(pod, 'dd if=/dev/zero of=/file bs=1M count=3; while :; do :; done');
});
after(() => node.end());

const all = (method, request) => wholeStream(node, method, request);

test('ContainerStats reports CPU time, a rate, memory and the writable layer', async () => {
    const stats = await eventually('there is a rate', async () => {
        const {stats} = await node.cri.call('ContainerStats', {container_id: container.id});
        return stats.cpu && stats.cpu.usage_nano_cores && stats.writable_layer ? stats : null;
    });
    assert.strictEqual(stats.attributes.id, container.id);
    assert.ok(Number(stats.cpu.usage_core_nano_seconds.value) > 0);
    assert.ok(Number(stats.memory.working_set_bytes.value) > 0);
    await eventually('the file is counted', async () => {
        const {stats} = await node.cri.call('ContainerStats', {container_id: container.id});
        return Number(stats.writable_layer.used_bytes.value) >= 3 << 20;
    });
});

test('statistics of containers and of the pod contain pressure', async () => {
    const {stats} = await node.cri.call('ContainerStats', {container_id: container.id});
    const {stats: {linux}} = await node.cri.call('PodSandboxStats', {pod_sandbox_id: pod.id});
    for (const {cpu, memory, io} of [stats, linux])
        for (const {psi} of [cpu, memory, io])
            assert.ok(psi.Some.Avg10 >= 0 && Number(psi.Full.Total) >= 0);
});

test('the memory of the file server of volumes is part of the pod\'s memory', async () => {
    const other = await node.runPod();
    await node.runContainer(other, {mounts: [{container_path: '/v', host_path: node.logDir}]});
    const server = execFileSync('pgrep', ['-f', `virtiofsd.*${other.id.slice(0, 24)}`], {encoding: 'utf8'}).trim().split('\n');
    const own = server.map((pid) => /RssAnon:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1])
        .reduce((sum, kib) => sum + Number(kib) * 1024, 0);
    assert.ok(own > 0);
    // A guest gives memory back at any time, so that one look may find less than the next.
    await eventually('the memory of the pod has that of the file server', async () => {
        const status = fs.readFileSync(`/proc/${node.qemuPid(other)}/status`, 'utf8');
        const {stats: {linux}} = await node.cri.call('PodSandboxStats', {pod_sandbox_id: other.id});
        return Number(linux.memory.rss_bytes.value) >= Number(/VmRSS:\s+(\d+)/.exec(status)[1]) * 1024 + own / 2;
    });
    await node.removePod(other);
});

test('PodSandboxStats reports what the pod costs the node, which is more than its container uses in the guest', async () => {
    const {stats} = await node.cri.call('ListPodSandboxStats');
    const [{linux}] = stats.filter(({attributes}) => attributes.id === pod.id);
    assert.ok(Number(linux.memory.working_set_bytes.value) > Number(linux.containers[0].memory.usage_bytes.value));
    assert.strictEqual(linux.network.default_interface.name, 'eth0');
    assert.ok(Number(linux.process.process_count.value) >= 1);
});

test('every metric has a descriptor with the same number of labels', async () => {
    const {descriptors} = await node.cri.call('ListMetricDescriptors');
    const {pod_metrics} = await node.cri.call('ListPodSandboxMetrics');
    const known = new Map(descriptors.map(({name, label_keys}) => [name, label_keys.length]));
    const mine = pod_metrics.find(({pod_sandbox_id}) => pod_sandbox_id === pod.id);
    const metrics = [...mine.metrics, ...mine.container_metrics[0].metrics];
    assert.ok(metrics.length > 40);
    for (const {name, label_values} of metrics)
        assert.strictEqual(label_values.length, known.get(name), name);
});

test('the streaming lists have the same content as the lists', async () => {
    const sandboxes = (await all('StreamPodSandboxes')).flatMap(({pod_sandboxes}) => pod_sandboxes);
    const containers = (await all('StreamContainers')).flatMap((chunk) => chunk.containers);
    const images = (await all('StreamImages')).flatMap((chunk) => chunk.images);
    const stats = (await all('StreamContainerStats')).flatMap(({container_stats}) => container_stats);
    assert.deepStrictEqual(sandboxes, (await node.cri.call('ListPodSandbox')).items);
    assert.deepStrictEqual(containers, (await node.cri.call('ListContainers')).containers);
    assert.deepStrictEqual(images, (await node.cri.call('ListImages')).images);
    assert.deepStrictEqual(stats.map(({attributes}) => attributes.id), [container.id]);
    assert.strictEqual((await all('StreamPodSandboxStats')).flatMap((chunk) => chunk.pod_sandbox_stats).length, 1);
    assert.strictEqual((await all('StreamPodSandboxMetrics')).flatMap((chunk) => chunk.pod_sandbox_metrics).length, 1);
});

test('each subscriber gets all events, and one that disconnects does not disturb the others', async () => {
    const [first, second, vanishing] = [1, 2, 3].map(() => subscribe(node));
    await areSubscribed(node, pod, [first, second]);
    vanishing.cancel();
    const short = await node.runContainer(pod, 'exit 3');
    await node.ended(short);
    await node.remove(short);
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

// A registry that accepts connections and never answers.
async function deafRegistry() {
    const host = '127.0.0.1:5999';
    const heard = path.join(node.dir, 'heard');
    fs.mkdirSync(path.join(node.hostsDir, host), {recursive: true});
    fs.writeFileSync(path.join(node.hostsDir, host, 'hosts.toml'), `server = "http://${host}"\n`);
    const server = node.spawn([process.execPath, '-e', `
        require('net').createServer((socket) => {
            socket.on('error', () => {}).resume();
            require('fs').appendFileSync(${JSON.stringify(heard)}, 'x');
        }).listen(5999, '127.0.0.1', () => require('fs').writeFileSync(${JSON.stringify(heard)}, ''))`], 'deaf.log');
    await eventually('the deaf registry listens', () => fs.existsSync(heard));
    return {image: `${host}/some/image:latest`, server, isAsked: () => fs.readFileSync(heard).length > 0};
}

test('lists and statistics answer while pulls wait for a registry and guests hang in their boot', async () => {
    const registry = await deafRegistry();
    const settled = [];
    const pending = (promise, what) => promise.then((answer) => { settled.push(what); return answer; },
                                                    (error) => { settled.push(what); throw error; });
    const pull = pending(node.cri.call('PullImage', {image: {image: registry.image}}), 'pull').catch(() => {});
    const runs = [1, 2, 3].map((n) => pending(node.runPod(), `pod ${n}`)); // one boots, the others wait for it
    const guests = path.join(node.runDir, 'vm');
    const stopped = new Set();
    await eventually('the registry is asked and a guest boots', () => {
        for (const id of fs.readdirSync(guests).filter((name) => !pod.id.startsWith(name))) {
            const pid = node.qemuPid({id});
            if (pid && !stopped.has(pid)) {
                process.kill(pid, 'SIGSTOP');
                stopped.add(pid);
            }
        }
        return registry.isAsked() && stopped.size > 0;
    });
    try {
        for (let round = 0; round < 3; round++) {
            assert.deepStrictEqual((await node.cri.call('ListPodSandbox')).items.map(({id}) => id), [pod.id]);
            assert.deepStrictEqual((await node.cri.call('ListContainers')).containers.map(({id}) => id), [container.id]);
            assert.strictEqual((await node.cri.call('ListContainerStats')).stats.length, 1);
            assert.strictEqual((await node.cri.call('ListPodSandboxStats')).stats.length, 1);
            assert.strictEqual((await node.cri.call('ListPodSandboxMetrics')).pod_metrics.length, 1);
            assert.strictEqual((await node.cri.call('ListImages')).images.length, 1);
            assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_READY');
            assert.ok((await node.cri.call('Status')).status.conditions.length >= 2);
        }
        assert.deepStrictEqual(settled, [], 'all that is slow is still going on');
    } finally {
        for (const pid of stopped)
            process.kill(pid, 'SIGCONT');
        registry.server.kill('SIGKILL');
    }
    for (const started of await Promise.all(runs))
        await node.removePod(started);
    await pull;
});
