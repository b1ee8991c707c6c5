// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {NODE_IP} = require('./support/network');
const {eventually, must} = require('./support/kit');

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
    node = await Node.start({config: '[handlers.open]\nown_addresses_only = false\n'});
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

// How many interrupts the guest's network device has raised: for frames that arrived, and for frames that were taken from it.
async function interrupts(container) {
    const table = await node.output(container, 'cat /proc/interrupts');
    return ['input', 'output'].map((queue) => {
        const [, counts] = new RegExp(`^ *\\d+:([ \\d]+) .*virtio\\d+-${queue}\\.0$`, 'm').exec(table) ?? assert.fail(table);
        return counts.trim().split(/ +/).reduce((sum, count) => sum + Number(count), 0);
    });
}

test('the frames that a guest sends interrupt it less often than the answers', async () => {
    const before = await interrupts(first.container);
    await node.output(first.container, `ping -c 30 -i 0.05 -W 5 ${second.ips[0]}`);
    const [answers, sent] = (await interrupts(first.container)).map((count, i) => count - before[i]);
    assert.ok(answers > 0 && sent * 10 < answers, `${answers} interrupts for answers, ${sent} for frames that were sent`);
});

test('the network still works after the daemon was killed and started again', async () => {
    await node.restartDaemon('SIGKILL');
    assert.strictEqual(await fromNode(NODE_IP, 18080), 'this is first');
    assert.strictEqual(await fromPod(first, second.ips[0]), 'this is second');
});

// A privileged container in a pod of its own, with what the pod sends from. The pod is removed after the callback.
async function withPrivileged(handler, callback) {
    const security_context = {privileged: true};
    const pod = await node.runPod({linux: {security_context}}, handler);
    const container = await node.runContainer(pod, {linux: {security_context}, mounts: [node.toolMount()]});
    const {network} = await node.podStatus(pod);
    try {
        await callback({id: pod.id, container, ips: [network.ip, ...network.additional_ips.map(({ip}) => ip)]});
    } finally {
        await node.removePod(pod);
    }
}
const succeeds = async (container, script) => (await node.exec(container, script)).exit_code === 0;
const pings = ({container}, to, from) => succeeds(container, `ping -c 2 -W 2 -I ${from} ${to}`);
const pingsAtLast = (pod, to, from) => eventually(`${from} reaches ${to}`, () => pings(pod, to, from));
const MAC = '/sys/class/net/eth0/address';

test('a privileged container sends with the addresses of its pod only', async () => {
    await withPrivileged('', async (pod) => {
        for (const family of [0, 1])
            await pingsAtLast(pod, second.ips[family], pod.ips[family]);
        await node.output(pod.container, 'ip addr add 10.88.200.1/16 dev eth0; ip addr add fd00:88::dead/64 dev eth0');
        assert.ok(!await pings(pod, second.ips[0], '10.88.200.1'));
        assert.ok(!await pings(pod, second.ips[1], 'fd00:88::dead'));
        const neighbours = await node.output(second.container, 'ip neigh');
        assert.ok(!neighbours.includes('10.88.200.1') && !neighbours.includes('fd00:88::dead'), neighbours);
        assert.strictEqual(await node.output(pod.container, 'cat /proc/sys/net/ipv6/conf/eth0/autoconf'), '0');
        for (const family of [0, 1])
            await pingsAtLast(pod, second.ips[family], pod.ips[family]);
    });
});

test('a privileged container sends with the MAC address of its pod only', async () => {
    await withPrivileged('', async (pod) => {
        const own = await node.output(pod.container, `cat ${MAC}`);
        await pingsAtLast(pod, second.ips[0], pod.ips[0]);
        await node.output(pod.container, 'ip link set eth0 address 02:00:00:00:be:ef');
        assert.ok(!await pings(pod, second.ips[0], pod.ips[0]));
        await node.output(pod.container, `ip link set eth0 address ${own}`);
        await pingsAtLast(pod, second.ips[0], pod.ips[0]);
    });
});

test('a privileged container cannot take over the address of the gateway', async () => {
    await withPrivileged('', async ({container}) => {
        assert.strictEqual(await fromNode(second.ips[0]), 'this is second');
        await node.output(container, 'ip addr add 10.88.0.1/32 dev eth0');
        await node.exec(container, 'arping -A -c 3 -I eth0 -s 10.88.0.1 10.88.0.1; arping -U -c 3 -I eth0 -s 10.88.0.1 10.88.0.1');
        const gateway = must('ip', '-n', node.netns, '-br', 'link', 'show', 'cvt0').split(/\s+/)[2];
        await eventually('the other pod has the gateway as a neighbour', async () =>
            await succeeds(second.container, 'ping -c 1 -W 2 10.88.0.1') &&
            (await node.output(second.container, 'ip neigh show 10.88.0.1')).includes(gateway));
        assert.strictEqual(await fromNode(second.ips[0]), 'this is second');
    });
});

// The routers that the other pod has learned from advertisements, after the container has announced itself as one.
async function routersAfter({container}) {
    await node.output(container, '/tool advertise eth0');
    assert.ok(await succeeds(second.container, 'ping -6 -c 1 -W 5 fd00:88::1')); // what was sent before has arrived
    return (await node.output(second.container, 'ip -6 route show default')).split('\n').filter((one) => one.includes('fe80:'));
}

test('a privileged container is not the router of other pods', async () => {
    await withPrivileged('', async (pod) => {
        assert.deepStrictEqual(await routersAfter(pod), []);
    });
});

test('the node counts the frames of a pod that it refused', async () => {
    const dropped = ({id}) => {
        const text = must('nsenter', `--net=${path.join(node.runDir, 'netns', id.slice(0, 24))}`, 'tc', '-s', 'qdisc');
        return Number(/ingress .*\n.*dropped (\d+)/.exec(text.slice(text.indexOf('dev cv')))[1]);
    };
    await withPrivileged('', async (pod) => {
        const before = dropped(pod);
        await node.output(pod.container, 'ip addr add 10.88.200.3/32 dev eth0');
        assert.ok(!await pings(pod, second.ips[0], '10.88.200.3'));
        assert.ok(dropped(pod) > before);
    });
});

test('with own_addresses_only = false, a pod sends with any address', async () => {
    await withPrivileged('open', async (pod) => {
        await node.output(pod.container, 'ip addr add 10.88.200.2/16 dev eth0; ip addr add fd00:88::beef/64 dev eth0');
        await pingsAtLast(pod, second.ips[0], '10.88.200.2');
        await pingsAtLast(pod, second.ips[1], 'fd00:88::beef');
        await node.output(pod.container, 'ip link set eth0 address 02:00:00:00:be:ef');
        await pingsAtLast(pod, second.ips[0], pod.ips[0]);
        assert.strictEqual(await node.output(pod.container, 'cat /proc/sys/net/ipv6/conf/eth0/autoconf'), '1');
        await eventually('the other pod has a router of this kind', async () => (await routersAfter(pod)).length === 1);
    });
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
