// SPDX-License-Identifier: Apache-2.0
// The number of idle pods that fit on this node, which is when little memory is available or the kernel reports pressure. It
// takes long and fills the node, so that run.sh does it only on request.
'use strict';
const fs = require('fs');
const {count, say, podConfig, runPod, endPod, qemuOf, pssMib, median, atOnce} = require('./lib');

const availableMib = () => Number(/MemAvailable:\s+(\d+)/.exec(fs.readFileSync('/proc/meminfo', 'utf8'))[1]) / 1024;
function pressure() {
    const file = '/proc/pressure/memory';
    return fs.existsSync(file) ? Number(/some avg10=([\d.]+)/.exec(fs.readFileSync(file, 'utf8'))[1]) : 0;
}

// Return: why the node has no memory for more; undefined: it has.
function shortOfMemory() {
    const reserve = count('BENCH_LIMIT_RESERVE_MB', 2048);
    if (availableMib() < reserve)
        return `less than ${reserve} MiB available`;
    return pressure() > 1 ? 'memory pressure' : undefined;
}

async function measure(call) {
    const most = count('BENCH_LIMIT', 1000);
    const pods = [];
    const before = availableMib();
    let why;
    while (!(why = shortOfMemory()) && pods.length < most) {
        await atOnce(10, 2, async () => { pods.push(await runPod(call, podConfig())); });
        say(`${pods.length} pods, ${availableMib().toFixed(0)} MiB available`);
    }
    const pss = median(pods.map((id) => pssMib(qemuOf(id))));
    const taken = (before - availableMib()) / pods.length;
    await atOnce(pods.length, 2, (index) => endPod(call, pods[index]));
    return {n: pods.length, pss, taken, why: why || `BENCH_LIMIT=${most} pods`};
}

function print({n, pss, taken, why}, row) {
    row(`idle pods before ${why}`, n, null, '', '');
    row('  PSS of each', pss, null, '', 'MiB');
    row('  memory of the node for each, all in all', taken, null, '', 'MiB');
}

module.exports = {measure, print, availableMib, shortOfMemory};
