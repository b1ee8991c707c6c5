'use strict';
const assert = require('assert');
const fs = require('fs');
const {test, before, after} = require('node:test');
const {Machine} = require('./support/machine');
const {eventually, refused} = require('./support/kit');

const MIB = 1 << 20;
const cpus = (n) => ({cpu_quota: n * 100000, cpu_period: 100000});
const memory = (mib) => ({memory_limit_in_bytes: mib * MIB});

let machine, pod, container;
before(async () => {
    machine = await Machine.start();
    pod = await machine.runPod({linux: {resources: memory(300)}});
    container = await machine.runContainer(pod);
});
after(() => machine.end());

const update = (one, resources) => machine.cri.call('UpdatePodSandboxResources', {pod_sandbox_id: one.id, resources});
const nproc = async () => Number(await machine.output(container, 'grep -c ^processor /proc/cpuinfo'));
const totalMib = async () => Math.round(Number(await machine.output(container, 'sed -n "s/MemTotal: *\\([0-9]*\\) kB/\\1/p" /proc/meminfo')) / 1024);
const nodeMib = (one) => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${machine.qemuPid(one)}/status`, 'utf8'))[1]) / 1024;
const size = async (one) => JSON.parse((await machine.cri.call('PodSandboxStatus', {pod_sandbox_id: one.id, verbose: true})).info.machine);

test('a pod that asks for memory has it, beside what its guest needs itself', async () => {
    const {memoryBytes, vcpus} = await size(pod);
    assert.ok(memoryBytes > 364 * MIB, `${memoryBytes}`);
    assert.strictEqual(vcpus, 1);
    assert.ok(await totalMib() > 300, `${await totalMib()}`);
});

test('the guest gets processors and gives them back', async () => {
    assert.strictEqual(await nproc(), 1);
    await update(pod, cpus(1.5));
    assert.strictEqual(await nproc(), 2);
    assert.strictEqual((await size(pod)).vcpus, 2);
    await update(pod, cpus(1));
    assert.strictEqual(await nproc(), 1);
    await update(pod, cpus(2));
    assert.strictEqual(await nproc(), 2);
});

test('the guest gets memory, which the node has again when it is taken away', async () => {
    const before = await totalMib();
    await update(pod, memory(600));
    const grown = await totalMib();
    assert.ok(grown >= before + 290, `${before} MiB became ${grown}`);
    await machine.output(container, 'dd if=/dev/zero of=/dev/null bs=450M count=1');
    const full = nodeMib(pod);
    await update(pod, memory(300));
    assert.strictEqual(await totalMib(), before);
    await eventually('the node has memory back', () => nodeMib(pod) < full - 50);
});
