// SPDX-License-Identifier: Apache-2.0
'use strict';
// The file server of a pod's volumes is killed, and what containers have open there goes on at another one.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {eventually, grows, numbersIn} = require('./support/kit');

let node;
before(async () => { node = await Node.start(); });
after(() => node.end());

const directory = (name) => node.directory(name);
const serverPid = (pod) => node.fileServerPid(pod);

// The processes of a pod's fsguard, the first one first.
const guardPids = (pod) => fs.readdirSync('/proc').filter((name) => {
    try {
        const words = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
        return words[0].endsWith('crivirt-fsguard') && words[3].includes(pod.id.slice(0, 24));
    } catch {
        return false; // it is no process, or no more
    }
}).map(Number).sort((one, other) => one - other);
const pair = (pod) => eventually('two processes guard the server', () => { const pids = guardPids(pod); return pids.length === 2 && pids; });

// Kills the file server, and waits for the next one.
async function replaceServer(pod) {
    const pid = serverPid(pod);
    process.kill(pid, 'SIGKILL');
    await eventually('there is another file server', () => serverPid(pod) !== pid);
}

// What a container does at the end: it reads from its descriptors 3 and 4 and lists its working directory.
const LATER = 'while ! [ -e /tmp/go ]; do sleep 0.1; done; cat <&3; cat <&4; ls; echo over';
const finish = async (container) => {
    await node.output(container, 'touch /tmp/go');
    await eventually('it has ended', () => node.logTexts(container).includes('over'));
    return node.logTexts(container);
};

test('what containers have open in a volume goes on when its file server is killed under load, again and again', async () => {
    const pod = await node.runPod();
    const data = directory('load');
    for (const name of ['dir/one', 'dir/two', 'long'])
        (fs.mkdirSync(path.dirname(path.join(data, name)), {recursive: true}), fs.writeFileSync(path.join(data, name), `${name}\n`));
    const mounts = [{container_path: '/volume', host_path: data}];
    const writer = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'exec 3>>/volume/log; i=0; while :; do i=$((i+1)); echo $i >&3 || echo failed $i; done'], mounts,
    });
    const churner = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'cd /volume; while :; do cat dir/* >/dev/null || echo failed; stat long >/dev/null || echo failed; done'], mounts,
    });
    const reader = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', `cd /volume/dir; exec 3</volume/long 4<one; ${LATER}`], mounts,
    });
    const log = path.join(data, 'log');
    await eventually('it writes', () => fs.existsSync(log));
    for (let i = 0; i < 3; i++) {
        await replaceServer(pod);
        await grows(log);
    }
    assert.strictEqual(await node.output(writer, 'cat /volume/long; ls /volume/dir'), 'long\none\ntwo');
    assert.deepStrictEqual(await finish(reader), ['long', 'dir/one', 'one', 'two', 'over']);
    for (const one of [writer, churner]) {
        assert.deepStrictEqual(node.logTexts(one), []);
        const {state, message} = await node.containerStatus(one);
        assert.deepStrictEqual([state, message], ['CONTAINER_RUNNING', '']);
    }
    await node.remove(writer);
    const written = numbersIn(log);
    assert.deepStrictEqual(written, written.map((_, i) => i + 1)); // each line once, in order
    assert.match(node.daemonLog(), /another one has taken its place: \d+ of the guest's files/);
    // Volumes that come later are bound in the new server.
    const other = directory('later');
    fs.writeFileSync(path.join(other, 'file'), 'later');
    const next = await node.runContainer(pod, {mounts: [{container_path: '/other', host_path: other, readonly: true}]});
    assert.strictEqual(await node.output(next, 'cat /other/file; touch /other/x 2>/dev/null || echo read-only'), 'laterread-only');
    await replaceServer(pod);
    assert.strictEqual(await node.output(next, 'cat /other/file; touch /other/x 2>/dev/null || echo read-only'), 'laterread-only');
    await node.removePod(pod);
    await node.noLeaks();
});

test('a file that was deleted before its file server died is stale, and no other', async () => {
    const pod = await node.runPod();
    const data = directory('deleted');
    for (const name of ['deleted', 'kept'])
        fs.writeFileSync(path.join(data, name), `${name}\n`);
    const mounts = [{container_path: '/volume', host_path: data}];
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', `cd /volume; exec 3<deleted 4<kept; rm deleted; ${LATER}`], mounts,
    });
    await eventually('it is deleted', () => !fs.existsSync(path.join(data, 'deleted')));
    await replaceServer(pod);
    const texts = await finish(container);
    assert.match(texts[0], /Stale file handle/);
    assert.deepStrictEqual(texts.slice(1), ['kept', 'kept', 'over']);
    await node.removePod(pod);
    await node.noLeaks();
});

test('locks on files of a volume hold at the next file server, too', async () => {
    const pod = await node.runPod();
    const other = await node.runPod();
    const data = directory('locks');
    fs.writeFileSync(path.join(data, 'file'), '');
    const mounts = [{container_path: '/data', host_path: data}, node.toolMount()];
    const far = await node.runContainer(other, {mounts});
    for (const kind of ['flock', 'posix', 'ofd']) {
        const holder = await node.runContainer(pod, {command: ['/bin/sh', '-c', `sleep 100000 | /tool hold-${kind} /data/file`], mounts});
        await eventually('the lock is held', () => node.logTexts(holder).includes('got'));
        await replaceServer(pod);
        assert.strictEqual(await node.output(far, `/tool try-${kind} /data/file`), 'busy', kind);
        await node.remove(holder);
        assert.strictEqual(await node.output(far, `/tool try-${kind} /data/file`), 'got', kind);
    }
    await node.removePod(pod);
    await node.removePod(other);
    await node.noLeaks();
});

test('a file server that died while no daemon ran is replaced by the next daemon, and fsguard may die at any time', async () => {
    const pod = await node.runPod();
    const data = directory('daemon');
    const log = path.join(data, 'log');
    const mounts = [{container_path: '/volume', host_path: data}];
    const writer = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'exec 3>>/volume/log; i=0; while :; do i=$((i+1)); echo $i >&3 || echo failed $i; done'], mounts,
    });
    await eventually('it writes', () => fs.existsSync(log) && fs.statSync(log).size > 0);
    // A standby goes on where the first process was, with a server and without one.
    process.kill((await pair(pod))[0], 'SIGKILL');
    await grows(log);
    await replaceServer(pod);
    await grows(log);
    await node.stopDaemon('SIGKILL');
    const pid = serverPid(pod);
    process.kill(pid, 'SIGKILL');
    process.kill((await pair(pod))[0], 'SIGKILL');
    await pair(pod);
    await node.startDaemon();
    await eventually('there is another file server', () => serverPid(pod) !== pid);
    await grows(log);
    assert.deepStrictEqual(node.logTexts(writer), []);
    await node.remove(writer);
    const written = numbersIn(log);
    assert.deepStrictEqual(written, written.map((_, i) => i + 1));
    await node.removePod(pod);
    await node.noLeaks();
});

// The processes of virtiofsd for a pod.
const serverPids = (pod) => fs.readdirSync('/proc').filter((name) => {
    try {
        const words = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8').split('\0');
        return words[0].endsWith('virtiofsd') && words.some((word) => word.includes(pod.id.slice(0, 24)));
    } catch {
        return false; // it is no process, or no more
    }
}).map(Number);

// The child of a file server ends with it.
function killIfAlive(pid) {
    try {
        process.kill(pid, 'SIGKILL');
    } catch (error) {
        if (error.code !== 'ESRCH')
            throw error;
    }
}

// Calls `look` without a pause, because what it waits for does not last.
function atOnce(look) {
    for (const end = Date.now() + 30000; Date.now() < end;) {
        const found = look();
        if (found.length > 0)
            return found;
    }
    throw new Error('it did not come');
}

test('a new file server, or the fsguard that sets it up, may die meanwhile: there is another one', async () => {
    const pod = await node.runPod();
    const data = directory('meanwhile');
    for (let i = 0; i < 3000; i++)
        fs.writeFileSync(path.join(data, `file-${i}`), '');
    fs.writeFileSync(path.join(data, 'open'), 'open\n');
    const mounts = [{container_path: '/volume', host_path: data}];
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', `cd /volume; exec 3<open 4</dev/null; ls -l >/dev/null; cd /; mkdir none; cd none; echo ready; ${LATER}`], mounts,
    });
    await eventually('the guest has all files', () => node.logTexts(container).includes('ready'));
    for (const victims of [(fresh) => fresh, () => [guardPids(pod)[0]]]) {
        await pair(pod);
        const before = serverPids(pod);
        const recorded = serverPid(pod);
        process.kill(recorded, 'SIGKILL');
        for (const pid of victims(atOnce(() => serverPids(pod).filter((one) => !before.includes(one)))))
            killIfAlive(pid);
        await eventually('there is another file server', () => serverPid(pod) !== recorded && fs.existsSync(`/proc/${serverPid(pod)}`));
        assert.strictEqual(await node.output(container, 'cat /volume/open; ls /volume | wc -l'), 'open\n3001');
    }
    assert.deepStrictEqual(await finish(container), ['ready', 'open', 'over']);
    await node.removePod(pod);
    await node.noLeaks();
});

test('a file server that dies again and again is given up: its volumes fail, and the next container has others', async () => {
    const pod = await node.runPod();
    const data = directory('again');
    fs.writeFileSync(path.join(data, 'file'), 'text');
    const mounts = [{container_path: '/volume', host_path: data}];
    const container = await node.runContainer(pod, {mounts});
    for (let i = 0; i < 5; i++)
        await replaceServer(pod);
    process.kill(serverPid(pod), 'SIGKILL');
    await eventually('the status has a message', async () => /volumes \/volume failed/.test((await node.containerStatus(container)).message));
    assert.match((await node.exec(container, 'ls /volume', 60)).stderr, /not connected/);
    assert.match(node.daemonLog(), /cannot replace the file server .* replaced 5 times within 60 s/);
    const next = await node.runContainer(pod, {mounts});
    assert.strictEqual(await node.output(next, 'cat /volume/file'), 'text');
    await node.removePod(pod);
    await node.noLeaks();
});
