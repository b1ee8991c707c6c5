// SPDX-License-Identifier: Apache-2.0
'use strict';
// A guest attacks the daemon in its agent's place (tests/tools/hostile_agent.c), while a pod beside it works. How long the
// neighbour's calls take before and during each attack is printed; the tests assert that they work.
const assert = require('assert');
const fs = require('fs');
const {spawn} = require('child_process');
const {once} = require('events');
const {test, before, after} = require('node:test');
const {medians, residentBytes} = require('./support/latencies');
const {Node} = require('./support/node');
const {programs} = require('./support/environment');
const {exec} = require('./support/streams');
const {eventually, must, refused, sleep} = require('./support/kit');
const {status} = require('./support/cri');

const ROUNDS = 5;
const MAX_RSS_GROWTH = 64 << 20;
const MAX_LOG_GROWTH = 256 << 10;
const WORKERS = 64; // of each pool, by default
const MORE = WORKERS / 2 + 8;

let node, hostile, hostileContainer, calm, neighbour, attacker, quiet;

before(async () => {
    node = await Node.start();
    hostile = await node.runPod();
    hostileContainer = await node.runContainer(hostile);
    calm = await node.runPod();
    neighbour = await node.runContainer(calm, 'mkfifo /lines; while :; do cat /lines; done');
    await node.stopDaemon('SIGKILL');
    attacker = startAttacker();
    await node.startDaemon();
    await eventually('the daemon has connected to both guests', () => node.exec(neighbour, 'true').then(() => true, () => false));
    await latencies(); // the first calls find nothing warmed up
    quiet = await latencies();
});
after(async () => {
    if (attacker) {
        const end = once(attacker, 'exit');
        attacker.stdin.end();
        await end;
    }
    await node.end();
});

// Takes the place of the socket of the hostile pod's VM.
function startAttacker() {
    const socket = must('find', node.runDir, '-name', 'agent.sock').trim().split('\n').find(
        (name) => name.includes(hostile.id.slice(0, 12)));
    fs.renameSync(socket, `${socket}.real`);
    const child = spawn(programs.hostileAgent, [socket, hostile.id, hostileContainer.id], {stdio: ['pipe', 'pipe', 'inherit']});
    child.stdin.on('error', () => {});
    return child;
}

// Begins an attack; returns how many frames the last one sent.
async function attack(name) {
    const answer = once(attacker.stdout, 'data');
    attacker.stdin.write(`${name}\n`);
    return Number(String((await answer)[0]).split(' ')[1]);
}

// ---- what the neighbour notices ----

async function appended(file, text) {
    for (const end = Date.now() + 60000; !fs.readFileSync(file, 'utf8').includes(text); await sleep(5))
        assert.ok(Date.now() < end, `the log lacks "${text}"`);
}

const calls = {
    list: async () => {
        assert.strictEqual((await node.cri.call('ListPodSandbox')).items.length, 2);
        await node.cri.call('ListContainers');
    },
    exec: async () => assert.strictEqual(await node.output(neighbour, 'echo well'), 'well'),
    log: async (round) => {
        const text = `line ${process.pid} ${Date.now()} ${round}`;
        assert.strictEqual((await node.exec(neighbour, `echo ${text} > /lines`)).exit_code, 0);
        await appended(neighbour.log, text);
    },
};

const latencies = () => medians(calls, ROUNDS);
const rss = () => residentBytes(node.daemon.pid);
const show = (ms) => ms.toFixed(1);

function report(name, frames, during, grown) {
    const parts = Object.keys(during).map((call) =>
        `${call} ${show(quiet[call])} -> ${show(during[call])} ms (x${(during[call] / quiet[call]).toFixed(2)})`);
    console.log(`  ${name}: ${frames} frames; ${parts.join(', ')}; memory ${(grown.rss / 1048576).toFixed(1)} MiB, ` +
                `log ${(grown.log / 1024).toFixed(0)} KiB`);
}

// What each attack sends is in tests/tools/hostile_agent.c.
for (const name of ['notices', 'outputs', 'exits', 'input-acks', 'responses', 'nonsense', 'hellos', 'long-hellos'])
    test(`${name}: a guest's flood costs bounded memory and log, and the pod beside it works`, async () => {
        const begin = {rss: rss(), log: node.daemonLog().length};
        let during;
        let frames = 0;
        // After an attack that broke the protocol the daemon connects again ever later, up to 5 s.
        for (let turn = 0; frames === 0 && turn < 30; turn++) {
            await attack(name);
            during = await latencies();
            frames = await attack('silence');
        }
        const grown = {rss: rss() - begin.rss, log: node.daemonLog().length - begin.log};
        report(name, frames, during, grown);
        assert.ok(frames > 0, 'the attack sent nothing');
        assert.ok(grown.rss < MAX_RSS_GROWTH, `the daemon grew by ${grown.rss} bytes`);
        assert.ok(grown.log < MAX_LOG_GROWTH, `the log grew by ${grown.log} bytes`);
        assert.strictEqual((await node.podStatus(calm)).state, 'SANDBOX_READY');
    });

// Makes more calls about the hostile pod than it may have workers for. At least one is refused for that, and all others wait
// until their time is over.
async function crowd(method, request, deadlineMs) {
    const errors = await Promise.all(Array.from({length: MORE}, () => node.cri.call(method, request, deadlineMs).then(
        () => assert.fail('a guest that does not answer has answered'), (error) => error)));
    const full = errors.filter(({code}) => code === status.RESOURCE_EXHAUSTED);
    assert.ok(full.length >= MORE - WORKERS / 2, `${full.length} calls were refused`);
    for (const {details} of full)
        assert.ok(details.includes(hostile.id) && details.includes('half of what the node has workers for'), details);
    return errors;
}

test('a guest that answers pings and nothing else holds no more than half of the workers for commands', async () => {
    const done = crowd('ExecSync', {container_id: hostileContainer.id, cmd: ['true'], timeout: 0}, 15000);
    await sleep(500);
    await calls.exec();
    await node.cri.call('ListPodSandboxStats');
    await done;
    // The workers are free again once the clients have gone.
    const again = {container_id: hostileContainer.id, cmd: ['true']};
    await eventually('a command is tried again', () => node.cri.call('ExecSync', again, 1000).then(
        () => false, ({code}) => code === status.DEADLINE_EXCEEDED));
});

test('a guest that answers pings and nothing else holds no more than half of the workers for changes', async () => {
    const done = crowd('StopContainer', {container_id: hostileContainer.id, timeout: 1000}, 15000);
    await sleep(500);
    await node.remove(await node.runContainer(calm));
    await done;
});

test('clients of a guest that answers pings and nothing else do not keep others from starting a stream', async () => {
    const waiting = await Promise.all(Array.from({length: 80}, () => exec(node, hostileContainer, 'WebSocket v5', 'true')));
    const client = await exec(node, neighbour, 'WebSocket v5', 'echo well');
    assert.deepStrictEqual([await client.outcome(), client.text()], [{code: 0}, 'well\n']);
    for (const one of waiting)
        one.destroy();
});

test('a guest that lies about an end harms its own container only', async () => {
    await attack('end');
    const end = await node.ended(hostileContainer);
    assert.strictEqual(end.exit_code, 1000000);
    assert.ok(Number(BigInt(end.finished_at) / 1000000n) <= Date.now());
    await calls.list();
    await calls.exec();
});

test('a sandbox whose guest attacks the daemon can be stopped and removed', async () => {
    await attack('outputs');
    await node.removePod(hostile);
    await refused(node.podStatus(hostile), 'NOT_FOUND');
    await calls.exec();
});
