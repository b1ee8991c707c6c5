// SPDX-License-Identifier: Apache-2.0
// The number of pods that a node carries when each has a container and a volume and is probed every 10 s, as the kubelet does by
// exec: until memory is short, or probes take longer than the kubelet waits for them (timeoutSeconds is 1 unless a pod says
// otherwise). It takes long and fills the node, so that run.sh does it only on request.
'use strict';
const fs = require('fs');
const path = require('path');
const {
    work, count, now, sleep, say, podConfig, runPod, endPod, containerConfig, qemuOf, pssMib, median, percentile, atOnce,
} = require('./lib');
const {availableMib, shortOfMemory} = require('./limit');
const {warmUp} = require('./starts');

const PERIOD_MS = 10000;
const PATIENCE_MS = 1000;
const ROUNDS = 2; // of probes, for a figure
const STEP = count('BENCH_LIMIT_STEP', 10); // pods
const FILE = 'word';

async function start(call, serial) {
    const volume = path.join(work, 'volumes', String(serial));
    fs.mkdirSync(volume, {recursive: true});
    fs.writeFileSync(path.join(volume, FILE), `${serial}\n`);
    const config = podConfig();
    const id = await runPod(call, config);
    const mounts = [{container_path: '/volume', host_path: volume}];
    const {container_id} =
        await call('CreateContainer', {pod_sandbox_id: id, config: containerConfig({mounts}), sandbox_config: config});
    await call('StartContainer', {container_id});
    return {id, container: container_id};
}

// Probes a pod until it is told to stop; each probe reads the volume. times gets {at, ms, failed}.
async function probe(call, {container}, times, state) {
    await sleep(Math.random() * PERIOD_MS);
    while (!state.ended) {
        const at = now();
        let failed = false;
        try {
            const {exit_code: code} = await call('ExecSync', {container_id: container, cmd: ['/bin/cat', `/volume/${FILE}`], timeout: 60});
            failed = Boolean(code);
        } catch {
            failed = true;
        }
        times.push({at, ms: now() - at, failed});
        await sleep(Math.max(0, PERIOD_MS - (now() - at)));
    }
}

// The processor time of the node since it was started, and the part of it in which a processor did nothing, in ticks.
function processors() {
    const ticks = fs.readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/).slice(1, 9).map(Number);
    return {all: ticks.reduce((a, b) => a + b, 0), idle: ticks[3] + ticks[4]};
}

// What the probes were like while nothing else was done.
async function settled(times) {
    const begin = now();
    const before = processors();
    await sleep(ROUNDS * PERIOD_MS);
    const after = processors();
    const these = times.filter(({at}) => at >= begin);
    const ms = these.map((one) => one.ms);
    return {
        p50: percentile(ms, 0.5), p90: percentile(ms, 0.9), failed: these.filter((one) => one.failed).length,
        busy: 1 - (after.idle - before.idle) / (after.all - before.all),
    };
}

function whyEnough(figures) {
    if (figures.failed > 0)
        return `${figures.failed} probes failed`;
    return figures.p90 > PATIENCE_MS ? 'a tenth of the probes took more than a second' : shortOfMemory();
}

async function measure(call) {
    const most = count('BENCH_LIMIT', 1000);
    const pods = [], times = [], probes = [], steps = [];
    const state = {ended: false};
    let serial = 0;
    let why;
    await warmUp(call, 'restored');
    const before = availableMib();
    while (!why && pods.length < most) {
        await atOnce(Math.min(STEP, most - pods.length), 2, async () => {
            const pod = await start(call, ++serial);
            pods.push(pod);
            probes.push(probe(call, pod, times, state));
        });
        const figures = await settled(times);
        steps.push({n: pods.length, ...figures});
        why = whyEnough(figures);
        say(`${pods.length} pods: probes ${figures.p50.toFixed(0)} ms, nine of ten within ${figures.p90.toFixed(0)} ms; processors ` +
            `${(100 * figures.busy).toFixed(0)} % busy; ${availableMib().toFixed(0)} MiB available`);
    }
    const pss = median(pods.map(({id}) => pssMib(qemuOf(id))));
    const taken = (before - availableMib()) / pods.length;
    state.ended = true;
    await Promise.all(probes);
    await atOnce(pods.length, 2, (index) => endPod(call, pods[index].id));
    return {n: pods.length, steps, pss, taken, why: why || `BENCH_LIMIT=${most} pods`};
}

function print({n, steps, pss, taken, why}, row) {
    row(`pods with a container and a volume, probed, until ${why}`, n, null, '', '');
    for (const {n: pods, p50, p90, busy} of steps.filter((unused, i) => i === 0 || i === steps.length - 1)) {
        row(`  a probe by exec with ${pods} pods`, p50, null, '', 'ms');
        row('    nine of ten within', p90, null, `<= ${PATIENCE_MS}`, 'ms');
        row('    processors busy', 100 * busy, null, '', '%');
    }
    row('  PSS of each QEMU', pss, null, '', 'MiB');
    row('  memory of the node for each pod, all in all', taken, null, '', 'MiB');
}

module.exports = {measure, print};
