// SPDX-License-Identifier: Apache-2.0
'use strict';
// VMs of the pool that have a network before a pod takes them (docs/networking.md).
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {startCrashingNode, points} = require('./support/crash');
const {BRIDGE, NODE_IP} = require('./support/network');
const {eventually, listing} = require('./support/kit');

const GATEWAY = '10.88.0.1';
let node;

const inPool = (one) => listing(path.join(one.stateDir, 'guests'));
const poolIsFull = (one) => eventually('the VM pool is full', async () =>
    JSON.parse((await one.cri.call('Status', {verbose: true})).info.templates).vmPool === 2);
// {ID: [ADDRESS, …]} as host-local has it.
function addresses(one, directory = path.join(one.ipamDir, 'test')) {
    const found = {};
    for (const name of listing(directory).filter((file) => /^[0-9a-f.:]+$/.test(file) && /[.:]/.test(file)))
        (found[fs.readFileSync(path.join(directory, name), 'utf8').split('\n')[0].trim()] ??= []).push(name);
    return found;
}
// A network without a bridge.
const routed = (one, name, subnet) => JSON.stringify({cniVersion: '1.0.0', name, plugins: [{
    type: 'ptp', ipMasq: true,
    ipam: {type: 'host-local', dataDir: one.ipamDir, ranges: [[{subnet}]], routes: [{dst: '0.0.0.0/0'}]},
}]});
const addressOf = async (pod, one = node) => (await one.podStatus(pod)).network.ip;
const hadAdd = async (pod, one = node) => {
    const {info} = await one.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true});
    return JSON.parse(info.trace).traceEvents.some(({name}) => name === 'network');
};
const reaches = async (pod, address, one = node) => {
    const container = await one.runContainer(pod, 'sleep 1000');
    await eventually(`the pod reaches ${address}`, async () =>
        (await one.exec(container, `ping -c 1 -W 5 ${address}`)).exit_code === 0);
};

before(async () => {
    node = await Node.start({templates: true});
    await poolIsFull(node);
});
after(() => node.end());
const clean = (t) => t.after(() => node.removeAllPods());

test('a pod has the network that its VM had in the pool', async (t) => {
    clean(t);
    const prepared = addresses(node);
    assert.deepStrictEqual(Object.keys(prepared).sort(), inPool(node).sort());
    const pods = [await node.runPod(), await node.runPod()];
    for (const pod of pods) {
        assert.ok(prepared[pod.id].includes(await addressOf(pod)));
        assert.strictEqual(await hadAdd(pod), false);
        await reaches(pod, GATEWAY);
    }
    await reaches(pods[0], await addressOf(pods[1]));
    for (const pod of pods)
        await node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
    for (const pod of pods)
        assert.strictEqual(addresses(node)[pod.id], undefined);
});

test('a pod with a host port or a limit of bandwidth has an ADD of its own', async (t) => {
    clean(t);
    await poolIsFull(node);
    const before = inPool(node);
    const port = await node.runPod({port_mappings: [{protocol: 'TCP', container_port: 80, host_port: 18081}]});
    assert.strictEqual(await hadAdd(port), true);
    assert.ok(node.inNetwork('iptables-save').includes('18081'));
    const slow = await node.runPod({annotations: {'kubernetes.io/egress-bandwidth': '10M'}});
    assert.strictEqual(await hadAdd(slow), true);
    assert.deepStrictEqual([port, slow].filter((pod) => before.includes(pod.id)), []);
});

test('VMs of the pool are replaced when their bridge was removed, and pods have a network', async (t) => {
    clean(t);
    await poolIsFull(node);
    const lost = inPool(node);
    node.inNetwork('ip', 'link', 'del', BRIDGE);
    const pod = await node.runPod();
    assert.ok(!lost.includes(pod.id));
    await reaches(pod, GATEWAY);
    assert.ok(node.daemonLog().includes('is not attached to the node any more'), node.daemonLog());
    await eventually('the pool has others', () => !inPool(node).some((id) => lost.includes(id)));
    assert.deepStrictEqual(lost.filter((id) => id in addresses(node)), []);
});

test('VMs of the pool are replaced when the network was configured anew', async (t) => {
    clean(t);
    await poolIsFull(node);
    const old = inPool(node);
    node.writeCni(routed(node, 'other', '10.89.0.0/16'));
    t.after(() => node.writeCni());
    const pod = await node.runPod();
    assert.match(await addressOf(pod), /^10\.89\./);
    await eventually('the pool has others', () => inPool(node).length === 2 && !inPool(node).some((id) => old.includes(id)));
    assert.deepStrictEqual(addresses(node), {});
    await poolIsFull(node);
    const next = await node.runPod();
    assert.match(await addressOf(next), /^10\.89\./);
    assert.strictEqual(await hadAdd(next), false);
    await reaches(next, NODE_IP);
});

test('neither a daemon that is killed nor one that is told to stop leaves networks of its pool', async () => {
    await poolIsFull(node);
    await eventually('the pool is in the configured network', () =>
        inPool(node).length === 2 && inPool(node).every((id) => id in addresses(node)));
    const killed = inPool(node);
    await node.restartDaemon('SIGKILL');
    assert.deepStrictEqual(killed.filter((id) => id in addresses(node)), []);
    assert.deepStrictEqual(node.orphans([]), []);
    await poolIsFull(node);
    await node.stopDaemon();
    assert.deepStrictEqual(addresses(node), {});
    assert.deepStrictEqual(listing(path.join(node.runDir, 'netns')), []);
    await node.startDaemon();
});

test('a pool whose network has no free address has VMs all the same', async (t) => {
    clean(t);
    await poolIsFull(node);
    node.writeCni(routed(node, 'small', '10.90.0.0/30'));
    t.after(() => node.writeCni());
    const first = await node.runPod();
    assert.match(await addressOf(first), /^10\.90\.0\.2$/);
    await eventually('the daemon says that an address is missing', () => node.daemonLog().includes('has no network in advance'));
    await poolIsFull(node);
    await node.removePod(first);
    assert.match(await addressOf(await node.runPod()), /^10\.90\.0\.2$/);
});

test('networks with firewall, tuning and bandwidth are made in advance, and released', async () => {
    await Node.use({templates: true, plugins: ['firewall', 'tuning', 'bandwidth']}, async (own) => {
        await poolIsFull(own);
        const pod = await own.runPod();
        assert.strictEqual(await hadAdd(pod, own), false);
        assert.ok(addresses(own)[pod.id].includes(await addressOf(pod, own)));
        await reaches(pod, GATEWAY, own);
        await own.removePod(pod);
        assert.strictEqual(addresses(own)[pod.id], undefined);
    });
});

test('without prepared plugins the VMs of the pool have no network', async () => {
    await Node.use({templates: true, flags: ['--cni-prepared-plugins=']}, async (own) => {
        await poolIsFull(own);
        assert.deepStrictEqual(addresses(own), {});
        const pod = await own.runPod();
        assert.strictEqual(await hadAdd(pod, own), true);
        await reaches(pod, GATEWAY, own);
        await own.removePod(pod);
    });
});

// Every address is that of a pod or of a VM of the pool.
const knows = (one, pods) => eventually('each address has its owner', () => {
    const owners = [...pods.map(({id}) => id), ...inPool(one)];
    return Object.keys(addresses(one)).every((id) => owners.includes(id)) && one.orphans(pods.map(({id}) => id)).length === 0;
});

test('kill -9 of the daemon at each side effect of a VM with a network leaves nothing of it', async (t) => {
    const crashing = await startCrashingNode({templates: true});
    t.after(() => crashing.end());
    const {node: own} = crashing;
    const refill = () => Promise.race([poolIsFull(own), own.daemon.ended]);
    await poolIsFull(own);
    let pod = await own.runPod();
    const names = await crashing.record(refill);
    assert.ok(names.length > 0);
    for (const {name: effect, point} of points(names))
        await t.test(`${point}/${names.length}: ${effect}`, async () => {
            await own.removePod(pod);
            await poolIsFull(own);
            pod = await own.runPod();
            await crashing.crash(point, refill);
            await knows(own, [pod]);
            assert.strictEqual((await own.podStatus(pod)).state, 'SANDBOX_READY');
        });
});

test('RunPodSandbox with a network in advance can be repeated after kill -9 of the daemon at each of its side effects', async (t) => {
    const crashing = await startCrashingNode({templates: true});
    t.after(() => crashing.end());
    const {node: own} = crashing;
    await poolIsFull(own);
    let pod;
    const names = await crashing.record(async () => { pod = await own.runPod(); });
    for (const {name: effect, point} of points(names))
        await t.test(`${point}/${names.length}: ${effect}`, async () => {
            await own.removePod(pod);
            await poolIsFull(own);
            const {metadata} = own.podConfig();
            await crashing.crash(point, () => own.runPod({metadata}));
            pod = await own.runPod({metadata});
            await knows(own, [pod]);
            assert.ok(addresses(own)[pod.id].includes(await addressOf(pod, own)));
        });
});
