// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const fs = require('fs');
const {test, before, after, beforeEach} = require('node:test');
const {Node} = require('./support/node');
const {eventually, refused, hierarchies} = require('./support/kit');

const MIB = 1 << 20;
const cpus = (n) => ({cpu_quota: n * 100000, cpu_period: 100000});
const memory = (mib) => ({memory_limit_in_bytes: mib * MIB});

let node, pod, container;
before(async () => {
    node = await Node.start({config: '[handlers.narrow]\nmax_memory = "384MiB"\nmax_vcpus = 1\n'});
    pod = await node.runPod({linux: {resources: memory(300)}});
    container = await node.runContainer(pod);
});
after(() => node.end());
beforeEach(() => update(pod, {...memory(300), ...cpus(1)}));

const update = (one, resources) => node.cri.call('UpdatePodSandboxResources', {pod_sandbox_id: one.id, resources});
const nproc = async () => Number(await node.output(container, 'grep -c ^processor /proc/cpuinfo'));
const totalMib = async () => Math.round(Number(await node.output(container, 'sed -n "s/MemTotal: *\\([0-9]*\\) kB/\\1/p" /proc/meminfo')) / 1024);
const nodeMib = (one) => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${node.qemuPid(one)}/status`, 'utf8'))[1]) / 1024;
const size = async (one) => JSON.parse((await node.cri.call('PodSandboxStatus', {pod_sandbox_id: one.id, verbose: true})).info.vm);

function removeCgroup(name) {
    for (const root of hierarchies())
        if (fs.existsSync(`${root}${name}`))
            fs.rmdirSync(`${root}${name}`);
}

test('the guest of a pod with a memory limit has that much memory beside what it needs itself', async () => {
    const {memoryBytes, vcpus} = await size(pod);
    assert.ok(memoryBytes > 364 * MIB, `${memoryBytes}`);
    assert.strictEqual(vcpus, 1);
    assert.ok(await totalMib() > 300, `${await totalMib()}`);
});

test('UpdatePodSandboxResources adds and removes processors of the guest', async () => {
    assert.strictEqual(await nproc(), 1);
    await update(pod, cpus(1.5));
    assert.strictEqual(await nproc(), 2);
    assert.strictEqual((await size(pod)).vcpus, 2);
    await update(pod, cpus(1));
    assert.strictEqual(await nproc(), 1);
    await update(pod, cpus(2));
    assert.strictEqual(await nproc(), 2);
});

test('UpdatePodSandboxResources adds memory to the guest, and the node gets it back when it is removed', async () => {
    const before = await totalMib();
    await update(pod, memory(600));
    const grown = await totalMib();
    assert.ok(grown >= before + 290, `${before} MiB became ${grown}`);
    await node.output(container, 'dd if=/dev/zero of=/dev/null bs=450M count=1');
    const full = nodeMib(pod);
    await update(pod, memory(300));
    assert.strictEqual(await totalMib(), before);
    await eventually('the node has memory back', () => nodeMib(pod) < full - 50);
});

test('UpdateContainerResources makes the VM of the pod larger, and smaller again', async () => {
    const plain = await node.runPod();
    const one = await node.runContainer(plain, {linux: {resources: memory(220)}, command: ['/bin/sleep', '100000']});
    const small = (await size(plain)).memoryBytes;
    const more = {memory_limit_in_bytes: 500 * MIB, ...cpus(2)};
    assert.ok(small > 284 * MIB, 'the limit that it was created with counts already');
    await node.cri.call('UpdateContainerResources', {container_id: one.id, linux: more});
    assert.ok((await size(plain)).memoryBytes > 560 * MIB);
    assert.strictEqual((await size(plain)).vcpus, 2);
    assert.strictEqual(await node.output(one, 'cat /sys/fs/cgroup/memory.max'), String(500 * MIB));
    await node.cri.call('UpdateContainerResources', {container_id: one.id, linux: memory(220)});
    assert.strictEqual((await size(plain)).memoryBytes, small);
    const {status} = await node.cri.call('ContainerStatus', {container_id: one.id});
    assert.strictEqual(Number(status.resources.linux.memory_limit_in_bytes), 220 * MIB);
    await node.removePod(plain);
});

test('a limit above what the node has is allowed: the VM becomes as large as its handler allows', async () => {
    const none = await node.runPod({linux: {resources: {...memory(1 << 20), ...cpus(10000)}}}, 'narrow');
    assert.strictEqual((await size(none)).memoryBytes, 384 * MIB);
    const one = await node.runContainer(none, {linux: {resources: memory(1 << 20)}, command: ['/bin/sleep', '100000']});
    assert.strictEqual(await node.output(one, 'cat /sys/fs/cgroup/memory.max'), String(2 ** 40));
    await update(none, memory(1 << 21));
    await refused(update(none, memory(500)), 'RESOURCE_EXHAUSTED', 'resources.memory_limit_in_bytes', '384 MiB');
    await refused(node.cri.call('RunPodSandbox', {config: node.podConfig({linux: {resources: memory(500)}}), runtime_handler: 'narrow'}),
                  'RESOURCE_EXHAUSTED', 'config.linux.resources.memory_limit_in_bytes', '384 MiB');
    assert.strictEqual((await size(none)).memoryBytes, 384 * MIB);
    await node.removePod(none);
});

test('a size beyond what is allowed is refused and changes nothing', async () => {
    const before = await size(pod);
    await refused(update(pod, {cpu_quota: 1000, cpu_period: 1}), 'INVALID_ARGUMENT', 'resources.cpu_period');
    await refused(node.cri.call('UpdateContainerResources', {container_id: container.id, linux: memory(301)}),
                  'INVALID_ARGUMENT', 'linux.memory_limit_in_bytes', "the pod's limit");
    await refused(node.runPod({linux: {resources: {cpu_quota: -5}}}), 'INVALID_ARGUMENT',
                  'config.linux.resources.cpu_quota');
    await refused(node.cri.call('UpdatePodSandboxResources', {pod_sandbox_id: pod.id}), 'INVALID_ARGUMENT');
    await refused(update({id: 'f'.repeat(64)}, memory(300)), 'NOT_FOUND');
    assert.deepStrictEqual(await size(pod), before);
});

test('the limits that the kubelet sends for a pod with an unlimited container do not limit the VM', async () => {
    // The kubelet adds up the limits of the containers that have one, and reads the others from a cgroup without a limit.
    const mixed = await node.runPod({linux: {resources: memory(200)}});
    const limited = await node.runContainer(mixed, {linux: {resources: memory(200)}});
    await node.runContainer(mixed);
    const {memoryBytes} = await size(mixed);
    await node.cri.call('UpdateContainerResources', {container_id: limited.id, linux: memory(400)});
    assert.strictEqual(await node.output(limited, 'cat /sys/fs/cgroup/memory.max'), String(400 * MIB));
    assert.ok((await size(mixed)).memoryBytes > memoryBytes);
    for (const unlimited of ['9223372036854771712', '-1']) // of version 1 and 2
        await update(mixed, {memory_limit_in_bytes: unlimited, ...cpus(1)});
    // It subtracts the pod's overhead from -1, too.
    const lifted = await size(mixed);
    await update(mixed, {memory_limit_in_bytes: String(-1 - 160 * MIB), cpu_quota: -1 - 25000, cpu_period: 100000});
    assert.deepStrictEqual(await size(mixed), lifted);
    await node.removePod(mixed);
});

test('memory that the guest uses cannot be removed', async () => {
    await update(pod, memory(500));
    const grown = await size(pod);
    const hog = await node.runContainer(pod, 'dd if=/dev/zero of=/dev/null bs=420M count=1 & ' +
        'exec dd if=/dev/zero of=/dev/null bs=420M count=100000');
    await eventually('it has its memory', async () => {
        const {stats} = await node.cri.call('ContainerStats', {container_id: hog.id});
        return stats.memory && Number(stats.memory.rss_bytes.value) > 400 * MIB;
    });
    await refused(update(pod, memory(64)), 'FAILED_PRECONDITION', 'the guest needs its memory');
    assert.deepStrictEqual(await size(pod), grown);
    assert.strictEqual((await node.containerStatus(hog)).state, 'CONTAINER_RUNNING');
    await node.remove(hog);
    await update(pod, memory(64));
});

test('after kill -9 of the daemon the VM size is known and can change', async () => {
    await update(pod, {...memory(400), ...cpus(2)});
    const before = await size(pod);
    await node.restartDaemon('SIGKILL');
    assert.deepStrictEqual(await size(pod), before);
    assert.strictEqual(await nproc(), 2);
    await update(pod, {...memory(500), ...cpus(1)});
    assert.ok((await size(pod)).memoryBytes > before.memoryBytes);
    assert.ok(await totalMib() > 500);
    assert.strictEqual(await nproc(), 1);
    await update(pod, memory(300));
    assert.ok(await totalMib() < 400);
});

test('the processor time of a pod is limited on the node when that of all its containers is', async () => {
    const parent = `/crivirt-test-${process.pid}`;
    const limited = await node.runPod({linux: {cgroup_parent: parent, resources: cpus(0.5)}});
    const quota = () => {
        const name = `${parent}/crivirt-${limited.id.slice(0, 24)}`;
        const v1 = `/sys/fs/cgroup/cpu${name}/cpu.cfs_quota_us`;
        const text = fs.existsSync(v1) ? fs.readFileSync(v1, 'utf8') : fs.readFileSync(`/sys/fs/cgroup${name}/cpu.max`, 'utf8');
        return text.split(/\s/)[0].replace('-1', 'max');
    };
    try {
        const one = await node.runContainer(limited, {linux: {resources: cpus(0.5)}});
        assert.strictEqual(quota(), '50000');
        await update(limited, cpus(1));
        assert.strictEqual(quota(), '100000');
        const free = await node.runContainer(limited);
        assert.strictEqual(quota(), 'max');
        await node.remove(free);
        await node.cri.call('UpdateContainerResources', {container_id: one.id, linux: cpus(0.8)});
        assert.strictEqual(quota(), '100000');
    } finally {
        await node.removePod(limited);
        removeCgroup(parent);
    }
});

// The kubelet's CPU manager gives a container CPUs of its own, and takes them from those that the others share.
test('a VM runs on the CPUs of the node that its containers may use together', async () => {
    const parent = `/crivirt-test-${process.pid}`;
    const pinned = await node.runPod({linux: {cgroup_parent: parent}});
    const allowed = () => /Cpus_allowed_list:\s+(\S+)/.exec(fs.readFileSync(`/proc/${node.qemuPid(pinned)}/status`, 'utf8'))[1];
    const change = (one, cpuset_cpus) => node.cri.call('UpdateContainerResources', {container_id: one.id, linux: {cpuset_cpus}});
    const all = allowed();
    assert.strictEqual(all, '0-1', 'this test wants two CPUs');
    try {
        const one = await node.runContainer(pinned, {linux: {resources: {cpuset_cpus: '1', cpuset_mems: '0', ...cpus(0.5)}}});
        assert.strictEqual(allowed(), '1');
        assert.strictEqual(await node.output(one, 'grep -c ^processor /proc/cpuinfo; wc -w </sys/fs/cgroup/cpuset.cpus'), '1\n0', 'the guest has its own CPUs');
        const other = await node.runContainer(pinned, {linux: {resources: {cpuset_cpus: '0'}}});
        assert.strictEqual(allowed(), all);
        await change(other, '1');
        assert.strictEqual(allowed(), '1');
        const {status} = await node.cri.call('ContainerStatus', {container_id: one.id});
        assert.strictEqual(status.resources.linux.cpuset_cpus, '1');
        await refused(change(other, '1,x'), 'INVALID_ARGUMENT', 'linux.cpuset_cpus: "1,x"');
        await refused(node.create(pinned, {linux: {resources: {cpuset_cpus: '1-'}}}), 'INVALID_ARGUMENT', 'config.linux.resources.cpuset_cpus: "1-"');
        await node.restartDaemon('SIGKILL');
        await node.create(pinned); // a container that may use all
        assert.strictEqual(allowed(), all);
    } finally {
        await node.removePod(pinned);
        removeCgroup(parent);
    }
});

test('a pod whose cgroup allows less memory than its VM uses runs on, and its containers keep their limits', async () => {
    const parent = `/crivirt-test-${process.pid}/pod`;
    // The kubelet does this for a pod whose RuntimeClass has no overhead, or that has no RuntimeClass.
    for (const root of hierarchies())
        fs.mkdirSync(`${root}${parent}`, {recursive: true});
    for (const above of ['', parent.replace('/pod', '')].map((name) => `/sys/fs/cgroup${name}/cgroup.subtree_control`).filter(fs.existsSync))
        fs.writeFileSync(above, '+memory'); // version 2
    const limit = hierarchies().flatMap((root) => ['memory.limit_in_bytes', 'memory.max'].map((file) => `${root}${parent}/${file}`))
        .find(fs.existsSync);
    fs.writeFileSync(limit, String(64 * MIB));
    const small = await node.runPod({linux: {cgroup_parent: parent, resources: memory(64)}});
    const beside = () => hierarchies().map((root) => `${root}${parent}/../crivirt-${small.id.slice(0, 24)}`).filter(fs.existsSync);
    try {
        const one = await node.runContainer(small, {linux: {resources: memory(64)}});
        assert.strictEqual(await node.output(one, 'dd if=/dev/zero of=/f bs=1M count=80 2>/dev/null; cat /f | wc -c'), String(80 * MIB));
        assert.strictEqual(await node.output(one, 'cat /sys/fs/cgroup/memory.max'), String(64 * MIB));
        assert.strictEqual((await node.podStatus(small)).state, 'SANDBOX_READY');
        assert.strictEqual(beside().length, 1);
        assert.ok(fs.readFileSync(`${beside()[0]}/cgroup.procs`, 'utf8').split('\n').includes(String(node.qemuPid(small))));
        // A process that outlives the VM does not keep the pod from ending.
        const stray = node.spawn(['sleep', '100000'], 'stray.log');
        fs.writeFileSync(`${beside()[0]}/cgroup.procs`, String(stray.pid));
        await node.cri.call('StopPodSandbox', {pod_sandbox_id: small.id});
        await stray.ended;
    } finally {
        await node.removePod(small);
        assert.deepStrictEqual(beside(), []);
        removeCgroup(parent);
        removeCgroup(parent.replace('/pod', ''));
    }
});
