// SPDX-License-Identifier: Apache-2.0
// A pod with a working set is saved and restored, compared with a QEMU of the same machine and memory that saves and loads as
// much by its own migration into a file, and with a start of the program anew. The program is tests/tools/stateful.c.
'use strict';
const {spawn} = require('child_process');
const crypto = require('crypto');
const fs = require('fs');
const net = require('net');
const path = require('path');
const {
    work, daemonPid, count, now, sleep, say, podConfig, runPod, endPod, containerConfig, cmdline, qemuOf, bareArguments, medianOf,
} = require('./lib');

const PACKINGS = (process.env.BENCH_PACKINGS || 'none').split(' ');
const MIB = count('BENCH_WORKING_SET_MIB', 200);
const LIMITS = {memory_limit_in_bytes: (MIB + 200) << 20};

async function until(what, condition) {
    for (const end = now() + 120000; now() < end; await sleep(5))
        if (condition())
            return;
    throw new Error(`waited two minutes until ${what}`);
}

const contains = (file, text) => fs.existsSync(file) && fs.readFileSync(file, 'utf8').includes(text);

// ---- QEMU by itself ----

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
async function withQemu(words, more, act) {
    const name = path.join(work, `alone${now()}`);
    const console = `${name}.console`;
    const args = bareArguments(words, `${name}.agent`, console, path.join(work, 'dirty.img'));
    args[args.indexOf('-append') + 1] += ` dirty=${MIB}`;
    args[args.indexOf('-m') + 1] = `${MIB + 200}`; // the pod's VM has grown to it
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

// {pause, save, restore} in ms. The guest stands still from stop to the end, as crivirt's does.
async function qemuOnce(words) {
    const file = path.join(work, 'alone.state');
    const save = await withQemu(words, [], async (call, console) => {
        await until('the memory is filled', () => contains(console, 'dirty'));
        await call('migrate-set-parameters', {'max-bandwidth': 2 ** 40});
        const begin = now();
        await call('stop');
        await call('migrate', {uri: `exec:cat > ${file}`});
        await transferred(call);
        return now() - begin;
    });
    const begin = now();
    const restore = await withQemu(words, ['-incoming', 'defer', '-S'], async (call) => {
        await call('migrate-incoming', {uri: `exec:cat ${file}`});
        await transferred(call);
        await call('cont');
        return now() - begin;
    });
    const mib = fs.statSync(file).size / 2 ** 20;
    fs.rmSync(file);
    return {save, restore, mib};
}

// ---- crivirt ----

async function startAnew(call) {
    const config = {...podConfig(), linux: {resources: LIMITS}};
    const begin = now();
    const id = await runPod(call, config);
    const container = containerConfig({
        image: {image: 'bench.local/stateful:1'}, command: ['/stateful', String(MIB), '7000', '/file'], linux: {resources: LIMITS},
    });
    const {container_id} = await call('CreateContainer', {pod_sandbox_id: id, config: container, sandbox_config: config});
    await call('StartContainer', {container_id});
    await until('the program is ready', () => contains(path.join(config.log_directory, container.log_path), 'ready'));
    return {id, container, container_id, ms: now() - begin};
}

// How long the containers stood still at the last checkpoint, by the daemon's log.
const lastPause = () => Number(
    [...fs.readFileSync(path.join(work, 'crivirtd.log'), 'utf8').matchAll(/for (\d+) of which they stood still/g)].pop()[1]);

// Lets the daemon write checkpoints in that form from now on.
async function usePacking(call, packing) {
    const key = path.join(work, 'checkpoint.key');
    fs.writeFileSync(key, crypto.randomBytes(32).toString('hex'), {mode: 0o600});
    const wanted = {compression: packing.includes('zstd') ? 'zstd' : 'none', key_files: packing.includes('aes') ? [key] : []};
    fs.writeFileSync(path.join(work, 'crivirt.toml'), `[checkpoint]\n${Object.entries(wanted)
        .map(([name, value]) => `${name} = ${JSON.stringify(value)}\n`).join('')}`);
    process.kill(daemonPid, 'SIGHUP');
    for (;; await sleep(20)) {
        const {compression, key_files} = JSON.parse((await call('Status', {verbose: true})).info.config).checkpoint;
        if (JSON.stringify({compression, key_files}) === JSON.stringify(wanted))
            return;
    }
}

async function crivirtOnce(call, packing) {
    await usePacking(call, packing);
    const pod = await startAnew(call);
    const words = cmdline(qemuOf(pod.id));
    const directory = fs.mkdtempSync(path.join(work, 'checkpoint-'));
    const saving = now();
    await call('CheckpointPod', {pod_sandbox_id: pod.id, output_path: directory, container_ids: [pod.container_id]});
    const save = now() - saving;
    await endPod(call, pod.id);

    const restoring = now();
    const {pod_sandbox_id, restored_containers: [{container_id}]} = await call('RestorePod', {
        checkpoint_path: directory, config: {...podConfig(), linux: {resources: LIMITS}}, container_configs: [pod.container],
    });
    await call('StartContainer', {container_id});
    const restore = now() - restoring;
    const {exit_code} = await call('ExecSync', {container_id, cmd: ['/stateful'], timeout: 60});
    if (exit_code !== 2) // the usage: a program runs in it
        throw new Error(`a command in the restored container ended with ${exit_code}`);
    await endPod(call, pod_sandbox_id);
    const mib = fs.statSync(path.join(directory, 'ram')).blocks * 512 / 2 ** 20;
    fs.rmSync(directory, {recursive: true});
    return {anew: pod.ms, save, pause: lastPause(), restore, mib, words};
}

async function measure(call) {
    const ours = Object.fromEntries(PACKINGS.map((packing) => [packing, []]));
    const qemu = [];
    let kernel;
    for (let i = 0; i < count('BENCH_CHECKPOINTS', 5); i++) {
        let one;
        for (const packing of PACKINGS) {
            one = await crivirtOnce(call, packing);
            ours[packing].push({...one, words: undefined});
        }
        // A QEMU that restores a template is not given the kernel.
        kernel = one.words.includes('-kernel') ? [] : ['-kernel', path.join(work, 'guest/kernel'), '-append', 'console=ttyS0 quiet panic=-1'];
        qemu.push(await qemuOnce([...one.words.filter((word) => word !== ''), ...kernel]));
        say(`checkpoint ${i + 1}: ` + JSON.stringify([...PACKINGS.map((packing) => ours[packing][i]), qemu[i]], (key, value) => (value?.toFixed ? Math.round(value) : value)));
    }
    return {ours, qemu};
}

function print({ours: all, qemu}, row) {
    for (const [packing, ours] of Object.entries(all)) {
        row(`pause by CheckpointPod (${packing}) : stop and migrate of QEMU, ${MIB} MiB`, medianOf(ours, 'pause'), medianOf(qemu, 'save'), '', 'ms');
        row('  the whole call : the same', medianOf(ours, 'save'), medianOf(qemu, 'save'), '', 'ms');
        row('  size of the memory : of QEMU\'s file', medianOf(ours, 'mib'), medianOf(qemu, 'mib'), '', 'MiB');
        row('RestorePod + StartContainer : QEMU -incoming', medianOf(ours, 'restore'), medianOf(qemu, 'restore'), '', 'ms');
        row('  : pod, container and program anew', medianOf(ours, 'restore'), medianOf(ours, 'anew'), '', 'ms');
    }
}

module.exports = {measure, print};
