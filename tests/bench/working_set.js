// SPDX-License-Identifier: Apache-2.0
// A program with a working set in a pod (tests/tools/stateful.c), and a QEMU of the same machine and memory that saves as much by
// its own migration into a file, and loads it.
'use strict';
const {spawn} = require('child_process');
const fs = require('fs');
const net = require('net');
const path = require('path');
const {work, now, sleep, podConfig, runPod, containerConfig, bareArguments} = require('./lib');

// The memory of containers whose program has so many MiB.
const limits = (mib) => ({memory_limit_in_bytes: (mib + 200) * 2 ** 20});

async function until(what, condition) {
    for (const end = now() + 120000; now() < end; await sleep(5))
        if (condition())
            return;
    throw new Error(`waited two minutes until ${what}`);
}

// ---- QEMU by itself ----

const contains = (file, text) => fs.existsSync(file) && fs.readFileSync(file, 'utf8').includes(text);

// A connection to QEMU's monitor: call(command, arguments) returns the answer.
async function monitor(socket) {
    await until('QEMU has its monitor', () => fs.existsSync(socket));
    const connection = net.connect(socket);
    const waiting = [];
    let text = '';
    connection.on('data', (data) => {
        text += data;
        for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
            const message = JSON.parse(text.slice(0, end));
            text = text.slice(end + 1);
            if ('return' in message || 'error' in message)
                waiting.shift()(message);
        }
    });
    const call = (execute, args = {}) => new Promise((resolve, reject) => {
        waiting.push(({error, return: value}) => error ? reject(new Error(error.desc)) : resolve(value));
        connection.write(JSON.stringify({execute, arguments: args}));
    });
    await call('qmp_capabilities');
    return call;
}

async function transferred(call) {
    for (;;) {
        const {status, 'error-desc': why} = await call('query-migrate');
        if (status === 'completed')
            return;
        if (status === 'failed')
            throw new Error(`QEMU cannot transfer its state: ${why}`);
        await sleep(2);
    }
}

// Calls work(call, console) with a QEMU of such arguments, and ends it.
async function withQemu(words, mib, more, act) {
    const name = path.join(work, `alone${now()}`);
    const console = `${name}.console`;
    const args = bareArguments(words, `${name}.agent`, console, path.join(work, 'dirty.img'));
    args[args.indexOf('-append') + 1] += ` dirty=${mib}`;
    args[args.indexOf('-m') + 1] = `${mib + 200}`; // the pod's VM has grown to it
    args[args.indexOf('-chardev') + 1] += ',server=on,wait=off';
    const qemu = spawn(words[0], [...args, '-qmp', `unix:${name}.qmp,server=on,wait=off`, ...more], {stdio: ['ignore', 'ignore', 'inherit']});
    const ended = new Promise((resolve) => qemu.on('exit', resolve));
    try {
        return await act(await monitor(`${name}.qmp`), console);
    } finally {
        qemu.kill('SIGKILL');
        await ended;
    }
}

// QEMU's words for a program that is to boot: one that restores a template is not given the kernel.
function bootable(words) {
    const kernel = words.includes('-kernel') ? [] : ['-kernel', path.join(work, 'guest/kernel'), '-append', 'console=ttyS0 quiet panic=-1'];
    return [...words.filter((word) => word !== ''), ...kernel];
}

// words: of a pod's QEMU. {save, restore} in ms, {mib} of the file. The guest stands still from stop to the end, as crivirt's does.
async function qemuOnce(podWords, mib) {
    const words = bootable(podWords);
    const file = path.join(work, 'alone.state');
    const save = await withQemu(words, mib, [], async (call, console) => {
        await until('the memory is filled', () => contains(console, 'dirty'));
        await call('migrate-set-parameters', {'max-bandwidth': 2 ** 40});
        const begin = now();
        await call('stop');
        await call('migrate', {uri: `exec:cat > ${file}`});
        await transferred(call);
        return now() - begin;
    });
    const begin = now();
    const restore = await withQemu(words, mib, ['-incoming', 'defer', '-S'], async (call) => {
        await call('migrate-incoming', {uri: `exec:cat ${file}`});
        await transferred(call);
        await call('cont');
        return now() - begin;
    });
    const size = fs.statSync(file).size / 2 ** 20;
    fs.rmSync(file);
    return {save, restore, mib: size};
}

// ---- a pod ----

// Starts the program in a pod of its own. more: for the container's configuration. {id, container, container_id, ms}: until it has
// filled its memory.
async function startAnew(call, mib, more = {}) {
    const config = {...podConfig(), linux: {resources: limits(mib)}};
    const begin = now();
    const id = await runPod(call, config);
    const container = containerConfig({
        image: {image: 'bench.local/stateful:1'}, command: ['/stateful', String(mib), '7000', '/file'], linux: {resources: limits(mib)}, ...more,
    });
    const {container_id} = await call('CreateContainer', {pod_sandbox_id: id, config: container, sandbox_config: config});
    await call('StartContainer', {container_id});
    await until('the program is ready', () => contains(path.join(config.log_directory, container.log_path), 'ready'));
    return {id, container, container_id, ms: now() - begin};
}

module.exports = {limits, startAnew, qemuOnce};
