// SPDX-License-Identifier: Apache-2.0
'use strict';
// The order of events, subscribers that do not read them, and calls that their clients give up.
const assert = require('assert');
const fs = require('fs');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {clientOf, subscribe, subscribed} = require('./support/events');
const {eventually, remains, refused} = require('./support/kit');

const ANNOTATION_BYTES = 256 << 10;
let node, pod;
before(async () => {
    node = await Node.start();
    pod = await node.runPod({annotations: {large: 'x'.repeat(ANNOTATION_BYTES)}});
});
after(() => node.end());

const residentKib = () => Number(/VmRSS:\s*(\d+)/.exec(fs.readFileSync(`/proc/${node.daemon.pid}/status`, 'utf8'))[1]);
const verbs = (call, id) => call.seen.filter(({container_id: one}) => one === id)
    .map(({container_event_type: type}) => type.replace(/CONTAINER_(\w+)_EVENT/, '$1'));

test('a container that ends at once is started before it is stopped, in every event and with its statuses', async () => {
    const call = await subscribed(node, pod);
    for (let i = 0; i < 8; i++) {
        const container = await node.runContainer(pod, {command: ['/bin/true']});
        await node.ended(container);
        await node.remove(container);
        await eventually('it is deleted', () => verbs(call, container.id).includes('DELETED'));
        assert.deepStrictEqual(verbs(call, container.id), ['CREATED', 'STARTED', 'STOPPED', 'DELETED']);
        const [created, , stopped] = call.seen.filter(({container_id: id}) => id === container.id)
            .map(({containers_statuses: statuses}) => statuses.find(({id}) => id === container.id));
        assert.strictEqual(created.state, 'CONTAINER_CREATED');
        assert.deepStrictEqual([stopped.state, stopped.reason], ['CONTAINER_EXITED', 'Completed']);
    }
    call.cancel();
});

test('subscribers that do not read cost little memory, and hold up neither others nor pods', async () => {
    const slow = [1, 2, 3].map(() => clientOf(node, 'GetContainerEvents').GetContainerEvents({})); // without a listener: not read
    const quick = await subscribed(node, pod);
    const before = residentKib();
    let last;
    for (let i = 0; i < 20; i++) {
        last = await node.runContainer(pod, 'true');
        await node.remove(last);
    }
    await eventually('the one that reads has all', () => verbs(quick, last.id).includes('DELETED'));
    const grown = residentKib() - before;
    assert.ok(grown < 100 << 10, `the daemon grew by ${grown} KiB`);
    for (const call of slow) {
        call.on('error', () => {});
        call.cancel();
    }
    quick.cancel();
});

test('two hundred subscribers that disconnect do not keep the next one from being served', async () => {
    for (let round = 0; round < 20; round++) {
        const calls = Array.from({length: 10}, () => subscribe(node));
        await node.cri.call('Version'); // the daemon has seen the subscribers by then
        for (const call of calls)
            call.cancel();
    }
    (await subscribed(node, pod)).cancel();
});

test('a client that gives up RunPodSandbox has it undone, and gets its sandbox when it asks again', async () => {
    for (const limit of [100, 700, 2000]) {
        const config = node.podConfig();
        await node.cri.call('RunPodSandbox', {config}, limit).then(() => {}, (error) =>
            assert.ok([1, 4].includes(error.code), error.details)); // CANCELLED, DEADLINE_EXCEEDED
        const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config});
        const ids = (await node.cri.call('ListPodSandbox')).items.map((one) => one.id).sort();
        assert.deepStrictEqual(ids, [pod.id, id].sort());
        await node.removePod({id});
    }
    await eventually('nothing is left', () => node.orphans([pod.id]).length === 0);
});

test('a client that gives up StartContainer, and asks again, has it started once', async () => {
    for (const limit of [5, 30, 60, 100]) {
        const container = await node.create(pod, {command: ['/bin/sh', '-c', 'echo begun; sleep 100000']});
        await node.cri.call('StartContainer', {container_id: container.id}, limit).catch(() => {});
        await eventually('it runs', async () => {
            if ((await node.containerStatus(container)).state === 'CONTAINER_RUNNING')
                return true;
            return node.cri.call('StartContainer', {container_id: container.id}).then(() => true, () => false);
        });
        await node.firstLine(container);
        await remains('it was started once', () => node.logTexts(container).join() === 'begun', 300);
        await node.remove(container);
    }
});

test('a client that gives up StopContainer leaves the container running, and a kill does not wait for its grace period', async () => {
    const container = await node.runContainer(pod, 'trap "" TERM; echo ready; while :; do sleep 0.2; done');
    await node.firstLine(container);
    await refused(node.cri.call('StopContainer', {container_id: container.id, timeout: 1000}, 1500), 'DEADLINE_EXCEEDED');
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 0});
    assert.strictEqual((await node.ended(container)).exit_code, 137);
    await node.remove(container);
});

test('a guest that runs out of memory kills the container that uses it, reports OOMKilled, and runs on', async () => {
    const hungry = await node.runContainer(pod, 'sleep 1; tail /dev/zero');
    const modest = await node.runContainer(pod);
    const end = await node.ended(hungry);
    assert.deepStrictEqual([end.exit_code, end.reason], [137, 'OOMKilled']);
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_READY');
    assert.strictEqual(await node.output(modest, 'echo inside'), 'inside');
    await node.remove(hungry);
    await node.remove(modest);
});
