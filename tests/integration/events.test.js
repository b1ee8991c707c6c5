// SPDX-License-Identifier: Apache-2.0
'use strict';
// Events: their order, and subscribers that do not read. Calls that their clients give up.
const assert = require('assert');
const fs = require('fs');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {sleep, eventually, refused} = require('./support/kit');

const ANNOTATION_BYTES = 256 << 10;
let node, pod;
before(async () => {
    node = await Node.start();
    pod = await node.runPod({annotations: {large: 'x'.repeat(ANNOTATION_BYTES)}});
});
after(() => node.end());

const client = () => node.cri.clients.find((one) => typeof one.GetContainerEvents === 'function');
// One that reads.
function subscribe() {
    const call = client().GetContainerEvents({});
    call.seen = [];
    call.on('data', (message) => call.seen.push(message));
    call.on('error', () => {});
    return call;
}
const residentKib = () => Number(/VmRSS:\s*(\d+)/.exec(fs.readFileSync(`/proc/${node.daemon.pid}/status`, 'utf8'))[1]);
const verbs = (call, id) => call.seen.filter(({container_id: one}) => one === id)
    .map(({container_event_type: type}) => type.replace(/CONTAINER_(\w+)_EVENT/, '$1'));

test('a container that ends at once is started before it is stopped, in every event and with its statuses', async () => {
    const call = subscribe();
    await eventually('it is subscribed', async () => {
        await node.remove(await node.runContainer(pod, 'true'));
        return call.seen.length > 0;
    });
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
    const slow = [1, 2, 3].map(() => client().GetContainerEvents({})); // nobody listens: it is not read
    const quick = subscribe();
    await eventually('it is subscribed', async () => {
        await node.remove(await node.runContainer(pod, 'true'));
        return quick.seen.length > 0;
    });
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

test('subscribers that vanish by the hundred leave nothing behind', async () => {
    for (let round = 0; round < 20; round++) {
        const calls = Array.from({length: 10}, () => subscribe());
        await sleep(20);
        for (const call of calls)
            call.cancel();
    }
    const call = subscribe();
    await eventually('one more is served', async () => {
        await node.remove(await node.runContainer(pod, 'true'));
        return call.seen.length > 0;
    });
    call.cancel();
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
        await eventually('it has begun', () => fs.readFileSync(container.log, 'utf8') !== '');
        await sleep(300);
        assert.deepStrictEqual(node.logLines(container).map(({text}) => text), ['begun']);
        await node.remove(container);
    }
});

test('a client that gives up StopContainer leaves the container, and a kill does not wait for its grace', async () => {
    const container = await node.runContainer(pod, 'trap "" TERM; echo ready; while :; do sleep 0.2; done');
    await eventually('it ignores the signal', () => fs.readFileSync(container.log, 'utf8') !== '');
    await refused(node.cri.call('StopContainer', {container_id: container.id, timeout: 1000}, 1500), 'DEADLINE_EXCEEDED');
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 0});
    assert.strictEqual((await node.ended(container)).exit_code, 137);
    await node.remove(container);
});

test('a guest that runs out of memory kills the container that takes it, says so, and lives', async () => {
    const hungry = await node.runContainer(pod, 'sleep 1; tail /dev/zero');
    const modest = await node.runContainer(pod);
    const end = await node.ended(hungry);
    assert.deepStrictEqual([end.exit_code, end.reason], [137, 'OOMKilled']);
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_READY');
    assert.strictEqual(await node.output(modest, 'echo inside'), 'inside');
    await node.remove(hungry);
    await node.remove(modest);
});
