// SPDX-License-Identifier: Apache-2.0
// The time until the last of several pods that are started at once is ready.
'use strict';
const {now, say, podConfig, runPod, endPod, bareBoot, median, atOnce} = require('./lib');
const {warmUp} = require('./starts');

async function burst(call, n) {
    const begin = now();
    const pods = await Promise.all(Array.from({length: n}, async () => {
        const id = await runPod(call, podConfig());
        return {id, ms: now() - begin};
    }));
    const ms = now() - begin;
    await atOnce(n, 2, (index) => endPod(call, pods[index].id));
    say(`${n} at once: ${ms.toFixed(0)} ms`);
    return {n, ms, median: median(pods.map((pod) => pod.ms))};
}

async function measure(call) {
    const words = await warmUp(call, 'restored');
    const bursts = [], bare = [];
    for (const n of (process.env.BENCH_MANY || '5 20').split(' ').map(Number)) {
        bare.push((await bareBoot(words)).ms);
        bursts.push(await burst(call, n));
        bare.push((await bareBoot(words)).ms);
    }
    return {bursts, bare: median(bare)};
}

function print({bursts, bare}, row) {
    for (const {n, ms} of bursts)
        row(`${n} pods at once, until the last is ready : ${n} x bare QEMU`, ms, n * bare, '', 'ms');
}

module.exports = {measure, print};
