// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {NODE_IP} = require('./support/network');
const {eventually} = require('./support/kit');

let node, first, second;
const server = 'while :; do echo "this is $(hostname)" | nc -l -p 8080; done';

async function podWithServer(hostname, more, where = node) {
    const pod = await where.runPod({hostname, ...more});
    pod.container = await where.runContainer(pod, server);
    const {network} = await where.podStatus(pod);
    pod.ips = [network.ip, ...network.additional_ips.map(({ip}) => ip)];
    return pod;
}

before(async () => {
    node = await Node.start();
    first = await podWithServer('first', {port_mappings: [{protocol: 'TCP', container_port: 8080, host_port: 18080}]});
    second = await podWithServer('second');
});
after(() => node.end());

const fromNode = (address, port = 8080, where = node) => eventually(`the node reaches ${address}:${port}`, async () =>
    (await where.run('busybox', 'nc', '-w', '5', address, String(port))).stdout.trim());
const fromPod = (pod, address, port = 8080) => eventually(`a pod reaches ${address}:${port}`, async () =>
    (await node.exec(pod.container, `nc -w 5 ${address} ${port} </dev/null`)).stdout.trim());

test('every pod has addresses of its own of both families', () => {
    assert.deepStrictEqual([first.ips.length, second.ips.length], [2, 2]);
    assert.strictEqual(new Set([...first.ips, ...second.ips]).size, 4);
});

test('the node reaches a pod', async () => {
    assert.strictEqual(await fromNode(first.ips[0]), 'this is first');
    assert.strictEqual(await fromNode(second.ips[0]), 'this is second');
});

test('a pod reaches another pod', async () => {
    assert.strictEqual(await fromPod(first, second.ips[0]), 'this is second');
    assert.strictEqual(await fromPod(second, first.ips[0]), 'this is first');
});

test('a pod reaches another pod over IPv6', async () => {
    await eventually('the other pod answers', async () =>
        (await node.exec(first.container, `ping -6 -c 1 -W 5 ${second.ips[1]}`)).exit_code === 0);
});

test('a pod reaches the node', async () => {
    node.spawn(['busybox', 'nc', '-ll', '-p', '9090', '-e', '/bin/echo', 'this is the node'], 'nc.log');
    assert.strictEqual(await fromPod(first, NODE_IP, 9090), 'this is the node');
});

test('a host port is reached at the address of the bridge, of the node and of the loopback, and from another pod', async () => {
    for (const address of ['10.88.0.1', NODE_IP, '127.0.0.1'])
        assert.strictEqual(await fromNode(address, 18080), 'this is first');
    assert.strictEqual(await fromPod(second, NODE_IP, 18080), 'this is first');
});

test('the guest has the MTU and the MAC address of the pod\'s interface', async () => {
    await fromNode(first.ips[0]); // so that the node has an entry for the neighbour
    const link = await node.output(first.container, 'cat /sys/class/net/eth0/mtu /sys/class/net/eth0/address');
    const mac = link.split('\n')[1];
    const neighbours = node.inNetwork('ip', 'neigh', 'show', first.ips[0]);
    assert.ok(neighbours.includes(mac), `${neighbours} lacks ${mac}`);
    assert.strictEqual(link.split('\n')[0], '1500');
});

test('the network still works after the daemon was killed and started again', async () => {
    await node.restartDaemon('SIGKILL');
    assert.strictEqual(await fromNode(NODE_IP, 18080), 'this is first');
    assert.strictEqual(await fromPod(first, second.ips[0]), 'this is second');
});

test('a pod that stops gives back its addresses, rules and interfaces', async () => {
    await Node.use({}, async (own) => {
        const ends = await podWithServer('ends', {port_mappings: [{protocol: 'TCP', container_port: 8080, host_port: 18080}]}, own);
        const stays = await podWithServer('stays', {}, own);
        assert.ok(own.inNetwork('iptables-save').includes('18080'));
        await own.cri.call('StopPodSandbox', {pod_sandbox_id: ends.id});
        const rules = own.inNetwork('iptables-save');
        assert.ok(!rules.includes(ends.id) && !rules.includes('18080'), rules);
        assert.strictEqual(await fromNode(stays.ips[0], 8080, own), 'this is stays');
        await own.removePod(ends);
        await own.removePod(stays);
        await own.noLeaks();
    });
});
