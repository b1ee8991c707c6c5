// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {root} = require('./support/environment');
const {Node} = require('./support/node');
const {eventually, refused} = require('./support/kit');
const {processesOf} = require('./support/processes');

let node;
before(async () => { node = await Node.start({image: false}); });
after(() => node.end());

const condition = async (type) =>
    (await node.cri.call('Status')).status.conditions.find((one) => one.type === type);

async function networkIsReady() {
    node.writeCni();
    await eventually('NetworkReady is true', async () => (await condition('NetworkReady')).status);
}

test('Version has all four fields', async () => {
    const version = await node.cri.call('Version', {version: 'v1'});
    assert.strictEqual(version.version, '0.1.0');
    assert.strictEqual(version.runtime_name, 'crivirt');
    assert.strictEqual(version.runtime_api_version, 'v1');
    assert.notStrictEqual(version.runtime_version, '');
});

test('Status reports that the runtime and the network are ready', async () => {
    assert.strictEqual((await condition('RuntimeReady')).status, true);
    assert.strictEqual((await condition('NetworkReady')).status, true);
});

test('verbose Status has JSON values and lists the default handler', async () => {
    const answer = await node.cri.call('Status', {verbose: true});
    for (const value of Object.values(answer.info))
        JSON.parse(value);
    assert.ok(answer.runtime_handlers.some(({name}) => name === ''));
});

test('RuntimeConfig names a cgroup driver', async () => {
    const {linux} = await node.cri.call('RuntimeConfig');
    assert.ok(['SYSTEMD', 'CGROUPFS'].includes(linux.cgroup_driver));
});

test('an RPC that does not exist fails with UNIMPLEMENTED', async () => {
    for (const name of ['/runtime.v1.RuntimeService/MakeCoffee', '/coffee.v1.Machine/Version'])
        await refused(node.cri.raw(name, Buffer.alloc(0)), 'UNIMPLEMENTED');
});

test('an RPC that is not implemented yet fails with UNIMPLEMENTED and its name', async () => {
    const table = fs.readFileSync(path.join(root, 'cri-server/rpc.def'), 'utf8');
    for (const [, service, method] of table.matchAll(/^RPC\((\w+), (\w+),.*, UNARY, LATER\)$/gm))
        if (service !== 'Crivirt')
            await refused(node.cri.call(method, {}), 'UNIMPLEMENTED', method);
});

test('a request that cannot be decoded fails with INVALID_ARGUMENT', async () => {
    await refused(node.cri.raw('/runtime.v1.RuntimeService/Version', Buffer.from([0x0a, 0xff])), 'INVALID_ARGUMENT');
});

test('a message of 15 MiB is accepted and one of 17 MiB refused', async () => {
    await node.cri.call('Version', {version: 'x'.repeat(15 << 20)});
    await refused(node.cri.call('Version', {version: 'x'.repeat(17 << 20)}), 'RESOURCE_EXHAUSTED');
});

test('without a network configuration NetworkReady is false with a reason, and no pod runs', async (t) => {
    t.after(networkIsReady);
    node.removeCni();
    const {reason, message} = await eventually('NetworkReady is false', async () => {
        const one = await condition('NetworkReady');
        return !one.status && one;
    });
    assert.notStrictEqual(reason, '');
    assert.ok(message.includes(node.cniDir), message);
    await assert.rejects(node.runPod(), ({details}) => details.includes(node.cniDir));
    assert.deepStrictEqual((await node.cri.call('ListPodSandbox')).items, []);
});

test('an invalid network configuration is named, and a valid one is picked up again', async (t) => {
    t.after(networkIsReady);
    node.writeCni('{"cniVersion": "1.0.0", "name": "bad", "plugins": [');
    await eventually('the file is named', async () => {
        const {status, message} = await condition('NetworkReady');
        return !status && message.includes('10-test.conflist');
    });
    await networkIsReady();
});

test('a second daemon on the same directories or socket does not start, and the first one runs on', async () => {
    const second = node.spawn(node.daemonWords(), 'second.log');
    assert.notStrictEqual((await second.ended).code, 0);
    const words = [`--state-dir=${node.dir}/other`, `--run-dir=${node.runDir}/other`];
    const third = node.spawn(node.daemonWords(words), 'third.log');
    assert.notStrictEqual((await third.ended).code, 0);
    assert.match(fs.readFileSync(path.join(node.dir, 'second.log'), 'utf8'), /already|another|in use|lock/i);
    await node.cri.call('Version');
});

test('--check-config names an invalid option', async () => {
    const file = path.join(node.dir, 'bad.toml');
    fs.writeFileSync(file, '[server]\nstop_grace = "soon"\n');
    const [daemon] = node.daemonWords();
    const bad = await node.run(daemon, `--config=${file}`, '--check-config');
    assert.notStrictEqual(bad.code, 0);
    assert.match(bad.stderr + bad.stdout, /stop_grace/);
});

test('streaming on an address that other hosts reach is refused without TLS, unless it is allowed by name', async () => {
    const words = (...more) => node.daemonWords(['--streaming-address=0.0.0.0', `--state-dir=${node.dir}/plain`,
                                                 `--run-dir=${node.runDir}/plain`, `--socket=${node.runDir}/plain.sock`, ...more]);
    const {code, stderr} = await node.run(...words());
    assert.strictEqual(code, 2, stderr);
    assert.match(stderr, /streaming\.address.*0\.0\.0\.0.*streaming\.tls_cert.*streaming\.allow_plain/);
    const checked = await node.run(...words('--check-config'));
    assert.strictEqual(checked.code, 1);
    assert.match(checked.stdout, /^error: streaming\.address: /m);
    const allowed = await node.run(...words('--streaming-allow-plain', '--check-config'));
    assert.doesNotMatch(allowed.stdout, /streaming/);
});

test('the daemon leaves no core file unless server.core_dumps allows it', async () => {
    const pid = () => processesOf(node).find(({words}) => words[0].endsWith('/crivirtd')).pid;
    const limit = () => /^Max core file size +(\S+)/m.exec(fs.readFileSync(`/proc/${pid()}/limits`, 'utf8'))[1];
    assert.strictEqual(limit(), '0');
    await node.stopDaemon();
    await node.startDaemon(['--core-dumps=true']);
    assert.strictEqual(limit(), 'unlimited');
    await node.restartDaemon();
});

test('SIGTERM ends the daemon with exit status 0, and it starts again', async () => {
    assert.deepStrictEqual(await node.restartDaemon('SIGTERM'), {code: 0, signal: null});
});

test('a daemon does not start with a corrupt state database, and its message names the file', async () => {
    await node.stopDaemon();
    const databases = fs.readdirSync(node.stateDir).filter((name) => /\.(db|sqlite3?)$/.test(name));
    assert.strictEqual(databases.length > 0, true, fs.readdirSync(node.stateDir).join());
    for (const name of databases)
        for (const suffix of ['', '-wal', '-shm']) {
            const file = path.join(node.stateDir, name + suffix);
            if (fs.existsSync(file))
                fs.renameSync(file, `${file}.good`);
        }
    const file = path.join(node.stateDir, databases[0]);
    fs.writeFileSync(file, 'this is no database\n'.repeat(1000));
    const broken = node.spawn(node.daemonWords(), 'broken.log');
    assert.notStrictEqual((await broken.ended).code, 0);
    assert.ok(fs.readFileSync(path.join(node.dir, 'broken.log'), 'utf8').includes(databases[0]));
    fs.rmSync(file);
    for (const name of fs.readdirSync(node.stateDir).filter((one) => one.endsWith('.good')))
        fs.renameSync(path.join(node.stateDir, name), path.join(node.stateDir, name.slice(0, -5)));
    await node.startDaemon();
});
