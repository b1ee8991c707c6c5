'use strict';
// What a pod's containers see of the node: volumes of every kind, and what happens when their file server dies.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Machine} = require('./support/machine');
const {eventually, refused} = require('./support/kit');

let machine;
before(async () => { machine = await Machine.start(); });
after(() => machine.end());

// A directory of the node.
function directory(name) {
    const dir = path.join(machine.dir, name);
    fs.mkdirSync(dir, {recursive: true});
    return dir;
}

const serverPid = (pod) => Number(fs.readFileSync(path.join(machine.runDir, 'share', `${pod.id.slice(0, 24)}.server`), 'utf8'));

test('a file server that dies fails its volumes at once, and nothing else', async () => {
    const pod = await machine.runPod();
    const data = directory('dies');
    fs.writeFileSync(path.join(data, 'file'), 'before');
    const mounts = [{container_path: '/volume', host_path: data}];
    const container = await machine.runContainer(pod, {
        command: ['/bin/sh', '-c', 'while :; do cat /volume/file >/dev/null; done'], mounts,
    });
    const plain = await machine.runContainer(pod);
    assert.strictEqual(await machine.output(container, 'cat /volume/file'), 'before');
    process.kill(serverPid(pod), 'SIGKILL');
    const gone = await machine.exec(container, 'ls /volume', 60);
    assert.notStrictEqual(gone.exit_code, 0);
    assert.match(gone.stderr, /not connected/);
    assert.strictEqual(await machine.output(container, 'echo fine >/tmp/x; cat /tmp/x'), 'fine');
    assert.strictEqual(await machine.output(plain, 'echo fine'), 'fine');
    // Who is hit is told so; who is not, is not.
    const hit = await eventually('the status tells', async () => {
        const status = await machine.containerStatus(container);
        return status.message && status;
    });
    assert.match(hit.message, /volumes \/volume failed: their file server/);
    assert.strictEqual(hit.state, 'CONTAINER_RUNNING');
    assert.strictEqual((await machine.containerStatus(plain)).message, '');
    assert.match(machine.daemonLog(), /volumes \/volume failed/);
    // The next container has a file server again.
    const next = await machine.runContainer(pod, {mounts});
    assert.strictEqual(await machine.output(next, 'cat /volume/file; echo after >/volume/file'), 'before');
    assert.strictEqual(fs.readFileSync(path.join(data, 'file'), 'utf8'), 'after\n');
    assert.notStrictEqual((await machine.exec(container, 'ls /volume', 60)).exit_code, 0);
    await machine.remove(container);
    // So does one after a death that no daemon saw.
    await machine.stopDaemon('SIGKILL');
    process.kill(serverPid(pod), 'SIGKILL');
    await machine.startDaemon();
    await eventually('the status tells', async () => (await machine.containerStatus(next)).message);
    assert.notStrictEqual((await machine.exec(next, 'ls /volume', 60)).exit_code, 0);
    const last = await machine.runContainer(pod, {mounts});
    assert.strictEqual(await machine.output(last, 'cat /volume/file'), 'after');
    await machine.removePod(pod);
    await machine.noLeaks();
});
