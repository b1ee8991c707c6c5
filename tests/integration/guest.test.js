// SPDX-License-Identifier: Apache-2.0
'use strict';
// What an administrator does with the guest of a pod itself: shell, dmesg, pause.
const assert = require('assert');
const fs = require('fs');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {eventually} = require('./support/kit');
const {processesOf} = require('./support/processes');

let node;
before(async () => {
    node = await Node.start();
    await crivirt('run', '-d', '--name', 'box', 'busybox', 'sh', '-c', 'i=0; while :; do echo $i; i=$((i + 1)); sleep 0.1; done');
});
after(() => node.end());

// The standard output of a command, which must succeed.
async function crivirt(...words) {
    const {code, stdout, stderr} = await node.cli(...words);
    assert.strictEqual(code, 0, `crivirt ${words.join(' ')}: ${stderr}`);
    return stdout;
}

async function refused(pattern, ...words) {
    const {code, stderr} = await node.cli(...words);
    assert.notStrictEqual(code, 0, words.join(' '));
    assert.match(stderr, pattern);
}

const logged = async (name) => (await crivirt('logs', name)).trim().split('\n').length;

test('shell runs a command in the guest outside of the containers, and the log has an audit line', async () => {
    // PID 1 of the guest is the agent; the container's own processes have other namespaces.
    assert.match(await crivirt('shell', 'box', 'cat', '/proc/1/comm'), /init|crivirt-agent/);
    assert.match(await crivirt('shell', 'box', 'sh', '-c', 'ls /proc/1/root/init && id -u'), /\/proc\/1\/root\/init\n0\n/);
    const [ours, containers] = [await crivirt('shell', 'box', 'readlink', '/proc/self/ns/pid'),
                                await crivirt('exec', 'box', 'readlink', '/proc/self/ns/pid')];
    assert.notStrictEqual(ours, containers);
    assert.match(node.daemonLog(), /audit: a client of the socket runs a command in the guest[^\n]*cat \/proc\/1\/comm/);
});

test('shell passes on input, output and exit codes, and has a command that does not exist', async () => {
    const {code, stdout, stderr} = await node.cliWith({input: 'echo out; echo err >&2; exit 7\n'}, 'shell', 'box');
    assert.deepStrictEqual([code, stdout, stderr], [7, 'out\n', 'err\n']);
    assert.strictEqual((await node.cli('shell', 'box', 'no-such-program')).code, 127);
    await refused(/no running container nobody/, 'shell', '--container', 'nobody', 'box');
});

test('what shell mounts is not seen in the container, and its processes end with the container', async () => {
    await crivirt('run', '-d', '--name', 'brief', 'busybox', 'sleep', '100000');
    await crivirt('shell', 'brief', 'sh', '-c', 'sleep 87654 >/dev/null 2>&1 </dev/null &');
    const sleeper = 'grep -l 87654 /proc/[0-9]*/cmdline | grep -v self | wc -l';
    assert.doesNotMatch(await crivirt('exec', 'brief', 'ls', '/proc/1/root/'), /init/);
    assert.notStrictEqual(await crivirt('shell', 'brief', 'sh', '-c', sleeper), '0\n');
    await crivirt('kill', 'brief');
    await refused(/no running container, whose programs/, 'shell', 'brief');
    await crivirt('rm', 'brief');
});

test('dmesg shows the kernel log of a guest, and of one that has died the console', async () => {
    assert.match(await crivirt('dmesg', 'box'), /^\[ *\d+\.\d+\] Linux version/m);
    await crivirt('run', '-d', '--name', 'dying', 'busybox', 'sleep', '100000');
    await crivirt('shell', 'dying', 'sh', '-c', 'echo "<1>the last words" > /dev/kmsg');
    const {id} = JSON.parse(await crivirt('pods', '--json')).find(({name}) => name === 'dying');
    process.kill(node.qemuPid({id}), 'SIGKILL');
    await eventually('the guest has ended', async () => /NotReady +dying/.test(await crivirt('pods')));
    const {code, stdout, stderr} = await node.cli('dmesg', 'dying');
    assert.strictEqual(code, 0, stderr);
    assert.match(stderr, /does not answer any more; this is the end of its console/);
    assert.match(stdout, /the last words/);
    await refused(/nobody/, 'dmesg', 'nobody');
    await crivirt('rmp', '-f', 'dying');
});

test('a guest\'s kernel that panics ends the pod, and its log, status and containers have the reason', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod, {linux: {resources: {memory_limit_in_bytes: 32 << 20}}});
    await crivirt('shell', pod.id, 'sh', '-c', 'echo 2 > /proc/sys/vm/panic_on_oom');
    await assert.rejects(node.exec(container, 'tail /dev/zero'), ({details}) => /the guest's kernel panicked: Out of memory/.test(details));
    const reason = /virtual machine has ended: the guest's kernel panicked: Out of memory/;
    assert.match((await node.ended(container)).message, reason);
    await eventually('the pod is not ready', async () => (await node.podStatus(pod)).state === 'SANDBOX_NOTREADY');
    assert.match(await crivirt('inspect', pod.id), reason);
    assert.match(node.daemonLog(), reason);
    await node.removePod(pod);
});

test('a guest that is reset without a panic is not reported as one that panicked', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod);
    await node.cli('shell', pod.id, 'reboot', '-f');
    assert.match((await node.ended(container)).message, /the guest was reset, by a triple fault or by itself: there is no panic on its console/);
    await node.removePod(pod);
});

test('a paused container stands still, shows it, refuses commands, and goes on after unpause', async () => {
    assert.strictEqual(await crivirt('pause', 'box'), 'box\n');
    const lines = await logged('box');
    assert.match(await crivirt('ps'), /Up .*\(Paused\) .* box/);
    assert.strictEqual(JSON.parse(await crivirt('ps', '--json')).find(({name}) => name === 'box').state, 'paused');
    const [{status}] = JSON.parse(await crivirt('inspect', 'box'));
    assert.deepStrictEqual([status.state, status.reason], ['CONTAINER_RUNNING', 'Paused']);
    await refused(/is paused: crivirt unpause/, 'exec', 'box', 'true');
    // The guest itself goes on, and finds the container's processes stopped.
    assert.match(await crivirt('shell', 'box', 'sh', '-c', 'cat /sys/fs/cgroup/crivirt/*/cgroup.freeze'), /^1$/m);
    assert.strictEqual(await logged('box'), lines);
    await crivirt('pause', 'box'); // again changes nothing
    await crivirt('unpause', 'box');
    await eventually('it goes on', async () => (await logged('box')) > lines);
    assert.strictEqual(await crivirt('exec', 'box', 'echo', 'awake'), 'awake\n');
});

test('a pause survives the daemon, stop lets a paused container act on its signal, and rm ends one', async () => {
    await crivirt('run', '-d', '--name', 'polite', 'busybox', 'sh', '-c', 'trap "exit 5" TERM; echo ready; while :; do sleep 0.1; done');
    await crivirt('run', '-d', '--name', 'other', 'busybox', 'sleep', '100000');
    await eventually('it is ready', async () => (await crivirt('logs', 'polite')).includes('ready'));
    await crivirt('pause', '--pod', 'polite', 'other');
    await node.restartDaemon();
    await eventually('the agent has reported', async () => /\(Paused\) .* polite/.test(await crivirt('ps')));
    await crivirt('stop', '-t', '60', 'polite');
    assert.strictEqual(await crivirt('wait', 'polite'), '5\n');
    await crivirt('rm', 'polite');
    await crivirt('rm', '-f', 'other');
    await refused(/polite/, 'pause', 'polite');
});

test('guest.shell = false refuses commands in guests after a reload', async () => {
    fs.writeFileSync(node.configFile, '[guest]\nshell = false\n');
    process.kill(processesOf(node).find(({words}) => words[0].endsWith('/crivirtd')).pid, 'SIGHUP');
    await eventually('shell is refused', async () => (await node.cli('shell', 'box', 'true')).code !== 0);
    await refused(/guest\.shell is false/, 'shell', 'box', 'true');
});
