// SPDX-License-Identifier: Apache-2.0
'use strict';
// What shows that the daemon works: systemd's watchdog, /healthz and /readyz, and gRPC's health service.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {spawn} = require('child_process');
const {test, before, after} = require('node:test');
const {programs, root} = require('./support/environment');
const {stream} = require('./support/events');
const {Node} = require('./support/node');
const {eventually, must, refused} = require('./support/kit');
const {processesOf} = require('./support/processes');

const METRICS = '127.0.0.1:9113';
const GROUP = 'games'; // which every Debian has
let node;
before(async () => {
    node = new Node({flags: [`--metrics-address=${METRICS}`, `--socket-group=${GROUP}`]});
    node.makeNetwork({});
    const socket = path.join(node.dir, 'notify');
    node.env = [`NOTIFY_SOCKET=${socket}`, 'WATCHDOG_USEC=6000000'];
    node.spawn([programs.serviceManager, 'notify', socket], 'notify.log');
    await eventually('the service manager listens', () => fs.existsSync(socket));
    await node.startDaemon();
});
after(() => node.end());

const daemonPid = () => processesOf(node).find(({words}) => words[0].endsWith('/crivirtd')).pid;
const fed = () => fs.readFileSync(path.join(node.dir, 'notify.log'), 'utf8').split('\n')
    .filter((line) => line === 'WATCHDOG=1').length;

// {status, text} of GET http://METRICS/page
async function get(page) {
    const {stdout} = await node.run('curl', '-s', '-w', '\n%{http_code}', `http://${METRICS}/${page}`);
    const lines = stdout.split('\n');
    return {status: Number(lines.pop()), text: lines.join('\n').trim()};
}

// Stops the thread of that name while work() runs.
async function frozen(thread, work) {
    const freezer = spawn(programs.serviceManager, ['freeze', String(daemonPid()), thread]);
    const ended = new Promise((resolve) => freezer.on('exit', resolve));
    try {
        await new Promise((resolve, reject) => {
            freezer.stdout.once('data', resolve);
            ended.then(() => reject(new Error(`there is no thread ${thread}`)));
        });
        await work();
    } finally {
        freezer.kill('SIGKILL');
        await ended;
    }
}

test('the watchdog is fed while the daemon serves', async () => {
    const before = fed();
    await eventually('it is fed several times', () => fed() >= before + 3);
});

test('/healthz and /readyz answer ok, other paths do not exist', async () => {
    assert.deepStrictEqual(await get('healthz'), {status: 200, text: 'ok'});
    assert.deepStrictEqual(await get('readyz'), {status: 200, text: 'ok'});
    assert.strictEqual((await get('coffee')).status, 404);
});

for (const thread of ['rpc-queue', 'agents', 'libvirt-events', 'streams'])
    test(`a hang of the thread ${thread} is named, and the watchdog is not fed until it ends`, async () => {
        await frozen(thread, async () => {
            await eventually('/healthz names it', async () => {
                const {status, text} = await get('healthz');
                return status === 503 && text === thread;
            });
            assert.match((await get('readyz')).text, new RegExp(`these parts hang: ${thread}`));
            const count = fed();
            await new Promise((resolve) => setTimeout(resolve, 2500)); // several rounds
            assert.strictEqual(fed(), count);
            assert.match(node.daemonLog(), new RegExp(`level=error .*parts of the daemon hang: ${thread}`));
        });
        await eventually('/healthz is well again', async () => (await get('healthz')).status === 200);
        const count = fed();
        await eventually('the watchdog is fed again', () => fed() > count);
    });

test('a daemon that was stopped as a whole for a while does not take its parts to hang', async () => {
    const length = node.daemonLog().length;
    process.kill(daemonPid(), 'SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, 8000)); // longer than a part may hang
    process.kill(daemonPid(), 'SIGCONT');
    const count = fed();
    await eventually('the watchdog is fed', () => fed() > count + 1);
    assert.doesNotMatch(node.daemonLog().slice(length), /hang/);
});

test('the health service answers for the daemon and for each of its services', async () => {
    for (const service of ['', 'runtime.v1.RuntimeService', 'runtime.v1.ImageService', 'grpc.health.v1.Health'])
        assert.strictEqual((await node.cri.call('Check', {service})).status, 'SERVING');
    await refused(node.cri.call('Check', {service: 'coffee.v1.Machine'}), 'NOT_FOUND', 'coffee');
});

test('who watches the health service sees a hang, its end, and the stop of the daemon', async () => {
    const watch = stream(node, 'Watch', {service: ''});
    const unknown = stream(node, 'Watch', {service: 'coffee.v1.Machine'});
    await eventually('the first state', () => watch.seen.length === 1 && unknown.seen.length === 1);
    await frozen('agents', () => eventually('the hang', () => watch.seen.length === 2));
    await eventually('its end', () => watch.seen.length === 3);
    await node.restartDaemon();
    assert.deepStrictEqual(watch.seen.map(({status}) => status).slice(0, 3), ['SERVING', 'NOT_SERVING', 'SERVING']);
    assert.strictEqual(unknown.seen[0].status, 'SERVICE_UNKNOWN');
});

test('members of server.socket_group may use the socket, others may not', async () => {
    const {mode, gid} = fs.statSync(node.socket);
    const [, , wanted] = must('getent', 'group', GROUP).split(':');
    assert.deepStrictEqual([mode & 0o777, gid], [0o660, Number(wanted)]);
    const as = (group) => node.run('setpriv', '--reuid=65534', `--regid=${group}`, '--clear-groups', 'env',
                                   `CRIVIRT_SOCKET=${node.socket}`, programs.crivirt, 'version');
    assert.strictEqual((await as(GROUP)).code, 0);
    assert.notStrictEqual((await as('65534')).code, 0);
});

test('a group that does not exist is reported by --check-config, and keeps the daemon from starting', async () => {
    const words = node.daemonWords(['--socket-group=no-such-group', `--state-dir=${node.dir}/other`, `--run-dir=${node.runDir}/other`,
                                    `--socket=${node.runDir}/other.sock`]);
    const checked = await node.run(...words, '--check-config');
    assert.match(checked.stdout, /^error: server\.socket_group: there is no group "no-such-group"$/m);
    const started = await node.run(...words);
    assert.strictEqual(started.code, 1);
    assert.match(started.stderr, /server\.socket_group: there is no group/);
});

test('crivirt support collects an archive that only its owner can read, also while the daemon does not answer', async () => {
    const collect = async (name) => {
        const archive = path.join(node.dir, name);
        const {code, stdout, stderr} = await node.cli('support', '-o', archive);
        assert.deepStrictEqual([code, stdout], [0, `${archive}\n`], stderr);
        assert.strictEqual(fs.statSync(archive).mode & 0o777, 0o600);
        const read = (file) => must('tar', '-xzOf', archive, '--wildcards', `*/${file}`);
        return {names: must('tar', '-tzf', archive).split('\n').map((one) => one.replace(/^[^/]*\//, '')), read};
    };
    const {names, read} = await collect('good.tar.gz');
    for (const name of ['version.txt', 'info.json', 'doctor.txt', 'pods.txt', 'log.txt', 'kernel.txt', 'memory.txt'])
        assert.ok(names.includes(name), name);
    assert.match(read('version.txt'), /Server: crivirt/);
    assert.strictEqual(JSON.parse(read('info.json')).status.info.config.server.socket, node.socket);
    assert.strictEqual((await node.cli('support', '-o', path.join(node.dir, 'good.tar.gz'))).code, 1);
    await node.stopDaemon();
    const without = await collect('alone.tar.gz');
    assert.match(without.read('info.json'), /crivirtd|s\.sock/);
    await node.startDaemon();
});

test('the unit has a watchdog', () => {
    assert.match(fs.readFileSync(path.join(root, 'deploy/crivirtd.service'), 'utf8'), /^WatchdogSec=2min$/m);
});
