// SPDX-License-Identifier: Apache-2.0
'use strict';
// A client of the streaming server (support/hostile-client.js) attacks the daemon, while clients of another pod work. How long
// their calls take before and during each attack is printed; the tests assert that they work.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {medians, residentBytes} = require('./support/latencies');
const {Node} = require('./support/node');
const {attacks} = require('./support/hostile-client');
const {run} = require('./support/streams');
const {eventually} = require('./support/kit');

const ROUNDS = 3;
const CONNECTIONS = 8;
const MAX_RSS_GROWTH = 64 << 20;
const MAX_LOG_GROWTH = 256 << 10;

let node, victim, neighbour, quiet;
before(async () => {
    node = await Node.start();
    const [one, other] = [await node.runPod(), await node.runPod()];
    victim = {pod: one, container: await node.runContainer(one)};
    neighbour = await node.runContainer(other);
    await latencies(); // the first calls find nothing warmed up
    quiet = await latencies();
});
after(() => node.end());

const calls = {
    list: async () => assert.strictEqual((await node.cri.call('ListPodSandbox')).items.length, 2),
    execSync: async () => assert.strictEqual(await node.output(neighbour, 'echo well'), 'well'),
    exec: async () => {
        const {code, stdout} = await run(node, neighbour, 'WebSocket v5', 'cat', {input: 'well'});
        assert.deepStrictEqual([code, stdout], [0, 'well']);
    },
    spdy: async () => {
        const {code, stdout} = await run(node, neighbour, 'SPDY v4', 'head -c 300000 /dev/zero');
        assert.deepStrictEqual([code, stdout.length], [0, 300000]);
    },
};

const latencies = () => medians(calls, ROUNDS);
const rss = () => residentBytes(node.daemon.pid);
const descriptors = () => fs.readdirSync(`/proc/${node.daemon.pid}/fd`).length;

const urlOf = async (attack) => (attack.startsWith('tunnel')
    ? await node.cri.call('PortForward', {pod_sandbox_id: victim.pod.id, port: [80]})
    : await node.cri.call('Exec', {container_id: victim.container.id, stdin: true, stdout: true,
                                   cmd: attack === 'never-reads' ? ['/bin/cat', '/dev/zero'] : ['/bin/cat']})).url;

// Begins an attack; {progress, end}.
async function begin(attack) {
    const urls = await Promise.all(Array.from({length: CONNECTIONS}, () => urlOf(attack)));
    const log = `client-${attack}.log`;
    const client = node.spawn([process.execPath, path.join(__dirname, 'support/hostile-client.js'), attack, ...urls], log);
    const progress = () => {
        const lines = fs.readFileSync(path.join(node.dir, log), 'utf8').trim().split('\n');
        const [made, closed, bytes] = lines[lines.length - 1].split(' ').map(Number);
        return {made, closed, bytes};
    };
    const end = async () => {
        client.kill('SIGKILL');
        await client.ended;
    };
    await eventually(`the attack ${attack} has begun`, () => progress().bytes > 0);
    return {progress, end};
}

for (const attack of attacks)
    test(`${attack}: a hostile client costs bounded memory, descriptors and log, and other clients are served`, async () => {
        const before = {rss: rss(), log: node.daemonLog().length, descriptors: descriptors()};
        const {progress, end} = await begin(attack);
        const during = await latencies();
        const grown = {rss: rss() - before.rss, log: node.daemonLog().length - before.log};
        const {made, closed, bytes} = progress();
        await end();
        const parts = Object.keys(during).map((call) => `${call} ${quiet[call].toFixed(1)} -> ${during[call].toFixed(1)} ms`);
        console.log(`  ${attack}: ${made} connections, ${closed} closed, ${(bytes / 1048576).toFixed(1)} MiB sent; ` +
                    `${parts.join(', ')}; memory ${(grown.rss / 1048576).toFixed(1)} MiB, log ${(grown.log / 1024).toFixed(0)} KiB`);
        assert.ok(grown.rss < MAX_RSS_GROWTH, `the daemon grew by ${grown.rss} bytes`);
        assert.ok(grown.log < MAX_LOG_GROWTH, `the log grew by ${grown.log} bytes`);
        await eventually('the daemon has closed the connections', () => descriptors() <= before.descriptors + 16);
    });

test('the commands of hostile clients end with their connections', async () => {
    await eventually('no command of theirs runs', async () =>
        !/\/bin\/cat/.test(await node.output(victim.container, ['ps', '-o', 'args'])));
});
