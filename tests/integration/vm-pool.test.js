// SPDX-License-Identifier: Apache-2.0
'use strict';
// A VM pool whose size follows the demand (docs/templates.md).
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {BRIDGE} = require('./support/network');
const {eventually, listing} = require('./support/kit');

const METRICS = '127.0.0.1:9126';
const [LEAST, MOST, ADDRESSES] = [1, 4, 6];
const GIB = 1 << 20; // in KiB
let directory, meminfo, node;

// Gives the daemon a node of so many KiB. The file is never empty, because the daemon may read it meanwhile.
function setMemory(total, available) {
    const field = (name, kib) => `${name}:${String(kib).padStart(16)} kB\n`;
    fs.writeFileSync(meminfo, field('MemTotal', total) + field('MemAvailable', available), {flag: fs.existsSync(meminfo) ? 'r+' : 'w'});
}

const inPool = () => listing(path.join(node.stateDir, 'guests'));
const isReady = (count) => eventually(`${count} VMs are ready`, async () =>
    JSON.parse((await node.cri.call('Status', {verbose: true})).info.templates).vmPool === count);
const wantedSize = async () => {
    const {stdout} = await node.run('curl', '-s', `http://${METRICS}/metrics`);
    const [, size] = /^crivirt_vm_pool_size\{\} (\d+)$/m.exec(stdout) ?? assert.fail(`no size in ${JSON.stringify(stdout)}`);
    return Number(size);
};
const atOnce = (count) => Promise.all(Array.from({length: count}, () => node.runPod()));
const taken = () => fs.readdirSync(path.join(node.ipamDir, 'test')).filter((name) => /^10\./.test(name)).length;

before(async () => {
    directory = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-meminfo-'));
    meminfo = path.join(directory, 'meminfo');
    setMemory(GIB, GIB); // too little for more VMs than LEAST
    const within = `mount --bind ${meminfo} /proc/meminfo`;
    node = await Node.start({templates: true, image: false, within, config: '[handlers.big]\nmemory = "384MiB"\n', flags: [
        `--guest-vm-pool-size=${LEAST}`, `--guest-vm-pool-max-size=${MOST}`, `--metrics-address=${METRICS}`]});
    await isReady(LEAST);
});
after(async () => {
    await node?.end();
    fs.rmSync(directory, {recursive: true});
});
const clean = (t) => t.after(() => node.removeAllPods());

test('the pool grows to the number of pods that started at once, up to its limit', async (t) => {
    clean(t);
    assert.strictEqual(await wantedSize(), LEAST);
    await atOnce(3);
    assert.strictEqual(await wantedSize(), 3);
    await isReady(3);
    const waiting = inPool();
    assert.deepStrictEqual((await atOnce(3)).filter(({id}) => !waiting.includes(id)), []);
    await atOnce(MOST + 1);
    assert.strictEqual(await wantedSize(), MOST);
    await isReady(MOST);
});

test('pods for which the pool has no VMs are no demand', async (t) => {
    clean(t);
    await node.restartDaemon();
    await isReady(LEAST);
    await Promise.all([1, 2, 3].map(() => node.runPod({}, 'big')));
    assert.strictEqual(await wantedSize(), LEAST);
});

test('a pod that gets no address makes the pool give back those that it has for the demand', async (t) => {
    clean(t);
    node.writeCni(JSON.stringify({cniVersion: '1.0.0', name: 'test', plugins: [
        {type: 'bridge', bridge: BRIDGE, ipam: {type: 'host-local', dataDir: node.ipamDir, ranges: [[{
            subnet: '10.88.0.0/16', rangeStart: '10.88.0.10', rangeEnd: `10.88.0.${9 + ADDRESSES}`}]]}},
        {type: 'portmap', capabilities: {portMappings: true}}]}));
    t.after(() => node.writeCni());
    await node.restartDaemon();
    await isReady(LEAST);
    await atOnce(3);
    await isReady(3);
    await eventually('all addresses are taken', () => taken() === ADDRESSES);
    // Such a pod gets no VM that has a network already.
    const ports = {port_mappings: [{protocol: 'TCP', container_port: 80, host_port: 18082}]};
    await assert.rejects(node.runPod(ports), /no IP addresses available/);
    assert.strictEqual(await wantedSize(), LEAST);
    await eventually('the VMs are gone', () => inPool().length === LEAST);
    await node.runPod(ports);
});

test('the pool begins as large as the node\'s memory allows, and shrinks when it becomes scarce', async (t) => {
    clean(t);
    t.after(() => setMemory(GIB, GIB));
    setMemory(64 * GIB, 17 * GIB);
    await node.restartDaemon();
    assert.strictEqual(await wantedSize(), MOST);
    await isReady(MOST);
    setMemory(64 * GIB, 15 * GIB);
    await eventually('the VMs are gone', () => inPool().length === LEAST);
    assert.strictEqual(await wantedSize(), LEAST);
    assert.match(node.daemonLog(), /the VM pool shrinks from 4 to 1: the node is short of memory/);
    await atOnce(3);
    await eventually('the pool stays small', async () => await wantedSize() === LEAST);
    await isReady(LEAST);
});
