// SPDX-License-Identifier: Apache-2.0
// A hibernated pod that wakes when somebody connects or sends data to it.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {NODE_IP} = require('./support/network');
const {eventually} = require('./support/kit');

const METRICS = '127.0.0.1:9117';

let node;
before(async () => {
    node = await Node.start({
        templates: true, flags: ['--guest-vm-pool-size=0', `--metrics-address=${METRICS}`],
        config: '[guest]\nwake_on_traffic = true\n[handlers.sleeper]\nwake_on_traffic = false\n',
    });
});
after(() => node.end());
afterEach(() => node.removeAllPods());

const hibernate = (pod) => node.cri.call('HibernatePod', {pod_sandbox_id: pod.id});
const isHibernated = async (pod) => node.qemuPid(pod) === undefined &&
    (await node.containerStatus(pod.container)).reason === 'Hibernated';
const wakes = () => (node.daemonLog().match(/woken in/g) || []).length;
const netns = (pod) => path.join(node.runDir, 'netns', pod.id.slice(0, 24));
// Packet sockets in the pod's network namespace.
const watches = (pod) => node.inNetwork('nsenter', `--net=${netns(pod)}`, 'cat', '/proc/net/packet').split('\n').slice(1).filter(Boolean).length;
// What the server of a pod says to a client on the node, which connects once.
const ask = async (address, port = 8080) => (await node.run('busybox', 'nc', '-w', '60', address, String(port))).stdout.trim();

// A pod with a server for each address, which are pod.ips.
async function servingPod(more, handler) {
    const pod = await node.runPod(more, handler);
    pod.container = await node.runContainer(pod, 'exec nc -ll -p 8080 -e /bin/echo the answer');
    const {network} = await node.podStatus(pod);
    pod.ips = [network.ip, ...network.additional_ips.map(({ip}) => ip)];
    await eventually('it serves', async () => await ask(pod.ips[0]) === 'the answer');
    return pod;
}

async function sleeping(pod) {
    await hibernate(pod);
    assert.ok(await isHibernated(pod));
}

test('a connection from the node, by a host port or from another pod wakes a pod and gets its answer', async () => {
    const pod = await servingPod({port_mappings: [{protocol: 'TCP', container_port: 8080, host_port: 18080}]});
    const other = await node.runPod();
    const client = await node.runContainer(other, {});
    const ways = [
        () => ask(pod.ips[0]), () => ask(pod.ips[1]), () => ask(NODE_IP, 18080),
        () => node.output(client, `nc -w 60 ${pod.ips[0]} 8080 < /dev/null`),
        () => node.output(client, `nc -w 60 ${pod.ips[1]} 8080 < /dev/null`),
    ];
    for (const way of ways) {
        await sleeping(pod);
        assert.strictEqual(watches(pod), 1);
        assert.strictEqual(await way(), 'the answer');
        assert.ok(!await isHibernated(pod));
        assert.strictEqual(watches(pod), 0);
    }
    await eventually('each wake is counted, the last one after its answer', async () =>
        /^crivirt_wakes_total\{cause="traffic",result="ok"\} 5$/m.test((await node.run('curl', '-s', `http://${METRICS}/metrics`)).stdout));
    await sleeping(pod);
    await node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
    assert.ok(!fs.existsSync(netns(pod)));
});

test('the datagrams that wake a pod reach its program', async () => {
    const pod = await servingPod();
    const receiver = await node.runContainer(pod, {command: ['/tool', 'receive', '9000'], mounts: [node.toolMount()]});
    // By one process, so that all are on their way before the pod is awake: one of the moment in which it wakes may be lost.
    const send = (...texts) => node.inNetwork(
        'bash', '-c', `for text in ${texts.join(' ')}; do printf '%s\\n' $text > /dev/udp/${pod.ips[0]}/9000; done`);
    await eventually('it receives', () => {
        send('begin');
        return fs.existsSync(receiver.log) && node.logTexts(receiver).includes('begin');
    });
    await sleeping(pod);
    send('one', 'two', 'three');
    await eventually('it has received all', () => node.logTexts(receiver).at(-1) === 'three');
    assert.deepStrictEqual(node.logTexts(receiver).slice(-3), ['one', 'two', 'three']);
});

test('data on an open connection wakes a pod, and it goes on', async () => {
    const pod = await servingPod();
    const reader = await node.runContainer(pod, 'sleep 100000 | nc -l -p 7000 > /received');
    const other = await node.runPod();
    const client = await node.runContainer(other, `
        until [ -e /connect ]; do sleep 0.1; done; (echo before; until [ -e /go ]; do sleep 0.1; done; echo after; sleep 100000) | nc ${pod.ips[0]} 7000`);
    const received = () => node.output(reader, 'cat /received');
    await node.output(client, 'sleep 1; touch /connect');
    await eventually('it is connected', async () => await received() === 'before');
    await sleeping(pod);
    await node.output(client, 'touch /go');
    await eventually('it is awake', async () => !await isHibernated(pod));
    await eventually('it receives the rest', async () => await received() === 'before\nafter');
});

test('ARP and neighbour discovery are answered, and they, broadcasts and pings do not wake a pod', async () => {
    for (const handler of ['', 'sleeper']) {
        const pod = await servingPod({}, handler);
        const mac = await node.output(pod.container, 'cat /sys/class/net/eth0/address');
        await sleeping(pod);
        const earlier = wakes();
        node.inNetwork('ip', 'neigh', 'flush', 'dev', 'cvt0');
        assert.match(node.inNetwork('busybox', 'arping', '-c', '1', '-w', '10', '-I', 'cvt0', pod.ips[0]), new RegExp(mac, 'i'));
        for (const words of [['ping', '-c', '1', '-W', '2', pod.ips[0]], ['ping', '-6', '-c', '1', '-W', '2', pod.ips[1]]])
            assert.notStrictEqual((await node.run('busybox', ...words)).code, 0);
        await eventually('the neighbour is known', () => node.inNetwork('ip', '-6', 'neigh', 'show', pod.ips[1]).includes(mac));
        node.inNetwork(process.execPath, '-e', `
            const socket = require('dgram').createSocket('udp4');
            socket.bind(() => { socket.setBroadcast(true); socket.send('x', 9000, '10.88.255.255', () => socket.close()); });`);
        if (handler === 'sleeper')
            assert.notStrictEqual((await node.run('busybox', 'nc', '-w', '3', pod.ips[0], '8080')).stdout.trim(), 'the answer');
        assert.ok(await isHibernated(pod));
        assert.strictEqual(wakes(), earlier);
        assert.strictEqual(watches(pod), handler === 'sleeper' ? 0 : 1);
        await node.output(pod.container, 'true');
        assert.strictEqual(await ask(pod.ips[0]), 'the answer');
    }
});

test('traffic wakes a pod also after restarts of the daemon', async () => {
    const pod = await servingPod();
    for (const signal of ['SIGTERM', 'SIGKILL']) {
        await sleeping(pod);
        await node.restartDaemon(signal);
        assert.ok(await isHibernated(pod));
        assert.strictEqual(watches(pod), 1);
        assert.strictEqual(await ask(pod.ips[0]), 'the answer');
    }
});

test('a pod that cannot wake is not tried for each packet, and wakes by a call', async () => {
    const pod = await servingPod();
    await sleeping(pod);
    const directory = path.join(node.stateDir, 'pods');
    const ram = path.join(directory, fs.readdirSync(directory).find((name) => pod.id.startsWith(name)), 'hibernation', 'ram');
    fs.renameSync(ram, `${ram}.away`);
    const failures = () => (node.daemonLog().match(/cannot wake sandbox/g) || []).length;
    const earlier = failures();
    for (let i = 0; i < 3; i++)
        await node.run('busybox', 'nc', '-w', '1', pod.ips[0], '8080');
    await eventually('it was tried', () => failures() > earlier);
    assert.strictEqual(failures(), earlier + 1);
    assert.ok(await isHibernated(pod));
    fs.renameSync(`${ram}.away`, ram);
    assert.strictEqual(await node.output(pod.container, 'echo awake'), 'awake');
    assert.strictEqual(await ask(pod.ips[0]), 'the answer');
});
