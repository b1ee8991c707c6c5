// SPDX-License-Identifier: Apache-2.0
// A pod with a working set and a volume is hibernated and woken, compared with a QEMU of the same machine and memory that saves and
// loads as much by its own migration into a file; and what is left of it on the node meanwhile. The program is tests/tools/stateful.c.
'use strict';
const fs = require('fs');
const path = require('path');
const {work, runDir, count, now, sleep, say, endPod, cmdline, processes, qemuOf, pssMib, medianOf} = require('./lib');
const {startAnew, qemuOnce} = require('./working_set');

const SIZES = (process.env.BENCH_SLEEPERS_MIB || '200 1024').split(' ').map(Number);

// QEMU and the file servers of the pod. Their command lines have the names of its sockets and directories, which begin like its id.
const processesOf = (id) => processes().filter((pid) => {
    const words = cmdline(pid);
    return /(qemu-system-[^/]*|virtiofsd|fsguard)$/.test(words[0] ?? '') && words.join(' ').includes(id.slice(0, 12));
});
// {pss, names} of them.
function takenBy(id) {
    const pids = processesOf(id);
    return {pss: pids.reduce((sum, pid) => sum + pssMib(pid), 0), names: pids.map((pid) => path.basename(cmdline(pid)[0]))};
}

// What the pod's files with its memory take of the disk.
function savedMib(id) {
    const pods = path.join(work, 'state/pods');
    const directory = path.join(pods, fs.readdirSync(pods).find((name) => id.startsWith(name)), 'hibernation');
    return fs.readdirSync(directory).reduce((sum, name) => sum + fs.statSync(path.join(directory, name)).blocks * 512, 0) / 2 ** 20;
}

async function crivirtOnce(call, mib) {
    const volume = fs.mkdtempSync(path.join(runDir, 'volume-'));
    const {id, container_id} = await startAnew(call, mib, {mounts: [{container_path: '/volume', host_path: volume}]});
    const words = cmdline(qemuOf(id));
    const running = takenBy(id);

    const hibernating = now();
    await call('HibernatePod', {pod_sandbox_id: id});
    const hibernate = now() - hibernating;
    await sleep(1000); // the last file server is ending
    const asleep = {...takenBy(id), disk: savedMib(id)};

    const waking = now();
    await call('WakePod', {pod_sandbox_id: id});
    const wake = now() - waking;
    const {exit_code} = await call('ExecSync', {container_id, cmd: ['/stateful'], timeout: 60});
    if (exit_code !== 2) // the usage: a program runs in it
        throw new Error(`a command in the woken container ended with ${exit_code}`);
    await endPod(call, id);
    fs.rmdirSync(volume);
    return {hibernate, wake, running, asleep, words};
}

async function measure(call) {
    const all = SIZES.map((mib) => ({mib, ours: [], qemu: []}));
    for (let i = 0; i < count('BENCH_HIBERNATIONS', 5); i++) {
        for (const {mib, ours, qemu} of all) {
            const {words, ...one} = await crivirtOnce(call, mib);
            ours.push(one);
            qemu.push(await qemuOnce(words, mib));
            say(`hibernation ${i + 1}, ${mib} MiB: ` +
                JSON.stringify([ours[i], qemu[i]], (key, value) => (value?.toFixed ? Math.round(value) : value)));
        }
    }
    return all;
}

function print(all, row) {
    for (const {mib, ours, qemu} of all) {
        row(`HibernatePod : stop and migrate of QEMU, ${mib} MiB`, medianOf(ours, 'hibernate'), medianOf(qemu, 'save'), '', 'ms');
        row('  on the disk : QEMU\'s file', medianOf(ours, ({asleep}) => asleep.disk), medianOf(qemu, 'mib'), '', 'MiB');
        row('WakePod : QEMU -incoming', medianOf(ours, 'wake'), medianOf(qemu, 'restore'), '', 'ms');
        row('  PSS of the pod\'s processes, hibernated : running', medianOf(ours, ({asleep}) => asleep.pss),
            medianOf(ours, ({running}) => running.pss), '', 'MiB');
        row('  how many these are', medianOf(ours, ({asleep}) => asleep.names.length),
            medianOf(ours, ({running}) => running.names.length), '', '');
    }
}

module.exports = {measure, print};
