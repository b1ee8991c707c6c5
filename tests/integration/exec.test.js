// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {sleep, eventually, refused} = require('./support/kit');

let node, pod, container;
before(async () => {
    node = await Node.start();
    pod = await node.runPod();
    container = await node.runContainer(pod);
});
after(() => node.end());

test('ExecSync returns stdout, stderr and the exit code apart', async () => {
    assert.deepStrictEqual(await node.exec(container, 'echo out; echo err >&2; exit 42'),
                           {stdout: 'out\n', stderr: 'err\n', exit_code: 42});
});

test('ExecSync returns bytes that are no text unchanged', async () => {
    const answer = await node.cri.call('ExecSync', {
        container_id: container.id, cmd: ['/bin/printf', '\\377\\000\\200']});
    assert.deepStrictEqual([...answer.stdout], [0xff, 0, 0x80]);
});

test('a command of ExecSync reads the end of its input at once', async () => {
    assert.deepStrictEqual(await node.exec(container, ['/bin/cat']), {stdout: '', stderr: '', exit_code: 0});
});

test('a command that exceeds its timeout is killed, and the call fails with DEADLINE_EXCEEDED', async () => {
    await refused(node.exec(container, 'exec sleep 54321', 1), 'DEADLINE_EXCEEDED');
    assert.ok(!(await node.output(container, 'ps')).includes('sleep 54321'), 'the command still runs');
});

test('a command that exceeds its timeout is killed with all that it started', async () => {
    await refused(node.exec(container, 'setsid sleep 54322 & sleep 54322 & sh -c "sleep 54322 & wait" & wait', 1), 'DEADLINE_EXCEEDED');
    assert.ok(!(await node.output(container, 'ps')).includes('sleep 54322'), 'a child of the command still runs');
});

test('a command that exceeds its timeout is killed with daemons that it started, and with nothing else', async () => {
    await node.exec(container, '(setsid sleep 54323 &)');
    await refused(node.exec(container, '(setsid sh -c "setsid sleep 54324 & exec sleep 54324" &); (env -i setsid sleep 54324 &); sleep 54324', 1),
                  'DEADLINE_EXCEEDED');
    const left = await node.output(container, 'ps');
    assert.ok(!left.includes('sleep 54324'), left);
    assert.ok(left.includes('sleep 54323'), left);
});

test('a command whose start takes longer than its timeout is not left behind', async () => {
    const qemu = node.qemuPid(pod);
    process.kill(qemu, 'SIGSTOP');
    const late = node.exec(container, 'exec sleep 76543', 1).then(() => null, (error) => error);
    await sleep(1500); // the timeout passes while the guest stands still
    process.kill(qemu, 'SIGCONT');
    assert.match((await late).details, /deadline/);
    assert.ok(!(await node.output(container, 'ps')).includes('sleep 76543'), 'the command still runs');
});

test('a child that inherited the output does not delay the end of the call', async () => {
    assert.strictEqual((await node.exec(container, 'sleep 65432 & echo done')).stdout, 'done\n');
});

test('output of more than 16 MiB is truncated, and the command runs to its end', async () => {
    const answer = await node.cri.call('ExecSync', {
        container_id: container.id, cmd: ['/bin/sh', '-c', 'head -c 20000000 /dev/zero; echo end >&2']});
    assert.ok(answer.stdout.length > 15 << 20 && answer.stdout.length <= 16 << 20, String(answer.stdout.length));
    assert.deepStrictEqual([answer.stderr.toString(), answer.exit_code], ['end\n', 0]);
});

test('eight commands at once do not mix their output', async () => {
    const answers = await Promise.all([...Array(8).keys()].map((i) =>
        node.exec(container, `for n in 1 2 3 4 5; do echo ${i}; done; exit ${i}`)));
    answers.forEach((answer, i) =>
        assert.deepStrictEqual(answer, {stdout: `${i}\n`.repeat(5), stderr: '', exit_code: i}));
});

test('the error of a program that does not exist names the program', async () => {
    const answer = await node.exec(container, ['/no/such/program']).catch((error) => error);
    assert.notStrictEqual(answer.exit_code, 0);
    assert.ok((answer.details || answer.stderr).includes('/no/such/program'), answer.details || answer.stderr);
});

test('ExecSync fails without a command, for an unknown container and for one that does not run', async () => {
    await refused(node.exec(container, []), 'INVALID_ARGUMENT', 'cmd');
    await refused(node.exec({id: 'f'.repeat(64)}, 'true'), 'NOT_FOUND');
    const created = await node.create(pod);
    await assert.rejects(node.exec(created, 'true'), ({details}) => details.includes(created.id));
    await node.remove(created);
    const ended = await node.runContainer(pod, 'exit 0');
    await node.ended(ended);
    await assert.rejects(node.exec(ended, 'true'), ({details}) => details.includes(ended.id));
    await node.remove(ended);
});

test('a container that is killed ends the commands in it', async () => {
    const other = await node.runContainer(pod);
    const running = node.exec(other, 'sleep 100000').then((answer) => answer, (error) => error);
    await eventually('it runs', async () => (await node.output(other, 'ps')).includes('sleep 100000'));
    await node.cri.call('StopContainer', {container_id: other.id, timeout: 0});
    assert.notStrictEqual((await running).exit_code, 0);
    await node.remove(other);
});
