// SPDX-License-Identifier: Apache-2.0
// A pod with a working set is saved and restored, compared with a QEMU of the same machine and memory that saves and loads as
// much by its own migration into a file, and with a start of the program anew. The program is tests/tools/stateful.c.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const {
    work, daemonPid, count, now, sleep, say, podConfig, endPod, cmdline, qemuOf, medianOf,
} = require('./lib');
const {limits, startAnew, qemuOnce} = require('./working_set');

const PACKINGS = (process.env.BENCH_PACKINGS || 'none').split(' ');
const MIB = count('BENCH_WORKING_SET_MIB', 200);

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
    const pod = await startAnew(call, MIB);
    const words = cmdline(qemuOf(pod.id));
    const directory = fs.mkdtempSync(path.join(work, 'checkpoint-'));
    const saving = now();
    await call('CheckpointPod', {pod_sandbox_id: pod.id, output_path: directory, container_ids: [pod.container_id]});
    const save = now() - saving;
    await endPod(call, pod.id);

    const restoring = now();
    const {pod_sandbox_id, restored_containers: [{container_id}]} = await call('RestorePod', {
        checkpoint_path: directory, config: {...podConfig(), linux: {resources: limits(MIB)}}, container_configs: [pod.container],
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
    for (let i = 0; i < count('BENCH_CHECKPOINTS', 5); i++) {
        let one;
        for (const packing of PACKINGS) {
            one = await crivirtOnce(call, packing);
            ours[packing].push({...one, words: undefined});
        }
        qemu.push(await qemuOnce(one.words, MIB));
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
