// SPDX-License-Identifier: Apache-2.0
// The time of the start of a pod and of a container in it, compared with QEMU alone booting the same guest, and its phases by
// the daemon's own traces. Pods are booted, restored, or restored without a VM of the pool.
'use strict';
const path = require('path');
const {
    work, count, now, sleep, say, podConfig, runPod, endPod, containerConfig, cmdline, qemuOf, cpuMs, daemonPid, bareBoot, median,
    mean, medianOf, percentile,
} = require('./lib');

async function traceOf(call, pod_sandbox_id) {
    const {info} = await call('PodSandboxStatus', {pod_sandbox_id, verbose: true});
    return JSON.parse(info.trace);
}

// {how, phases: {"restore": ms, "container create": ms, …}}
async function startOf(call, id) {
    const {otherData, traceEvents} = await traceOf(call, id);
    const phases = {};
    for (const {cat, name, dur} of traceEvents.filter(({ph}) => ph === 'X'))
        phases[cat === 'container' ? `container ${name}` : name] = dur / 1000;
    return {how: otherData.start, phases};
}

async function startOnce(call) {
    const config = podConfig();
    const daemonBefore = cpuMs(daemonPid);
    const begin = now();
    const id = await runPod(call, config);
    const ready = now();
    const pid = qemuOf(id);
    const cpu = cpuMs(pid);
    const beginContainer = now();
    const {container_id} =
        await call('CreateContainer', {pod_sandbox_id: id, config: containerConfig(), sandbox_config: config});
    await call('StartContainer', {container_id});
    const started = now();
    await call('ExecSync', {container_id, cmd: ['/bin/true'], timeout: 60});
    const executed = now();
    const figures = {
        ms: ready - begin, cpu, both: ready - begin + started - beginContainer, exec: executed - started,
        ...await startOf(call, id), words: cmdline(pid),
    };
    await endPod(call, id);
    return {...figures, daemon: cpuMs(daemonPid) - daemonBefore};
}

// The kernel's command line in the guest of a pod.
async function kernelParameters(call) {
    const config = podConfig();
    const id = await runPod(call, config);
    const {container_id} =
        await call('CreateContainer', {pod_sandbox_id: id, config: containerConfig(), sandbox_config: config});
    await call('StartContainer', {container_id});
    const {stdout} = await call('ExecSync', {container_id, cmd: ['/bin/cat', '/proc/cmdline'], timeout: 60});
    await endPod(call, id);
    return stdout.toString().trim();
}

// QEMU's arguments for booting the guest: a QEMU that restores one is not given the kernel.
async function bootingWords(call, words) {
    if (words.includes('-kernel'))
        return words;
    const guest = (file) => path.join(work, 'guest', file);
    return [...words.filter(Boolean), '-kernel', guest('kernel'), '-initrd', guest('initrd.img'), '-append', await kernelParameters(call)];
}

const POOL_WAIT_MS = 30000 + 64 * 10000;

// VMs that are started for the pool meanwhile would slow down the next measurement.
async function poolIsFull(call) {
    for (const end = now() + POOL_WAIT_MS; now() < end; await sleep(250)) {
        const {info} = await call('Status', {verbose: true});
        const {vmPool, vmPoolSize} = JSON.parse(info.templates);
        if (vmPool === vmPoolSize)
            return;
    }
    throw new Error('the VM pool is not full');
}

// Waits until pods start in the way to be measured. Returns the arguments of QEMU for booting the guest alone.
async function warmUp(call, wanted) {
    // Pods that boot all the time keep one processor from making a template.
    if (wanted === 'restored')
        await poolIsFull(call);
    for (let i = 0; i < 30; i++) {
        const {how, words} = await startOnce(call);
        if (how === wanted)
            return bootingWords(call, words);
        await sleep(2000);
    }
    throw new Error(`no pod was ${wanted}`);
}

const measure = (wanted) => async (call) => {
    const words = await warmUp(call, wanted);
    await bareBoot(words);
    const ours = [], bare = [];
    for (let i = 0; i < count('BENCH_STARTS', 20); i++) {
        const {words: unused, ...figures} = await startOnce(call);
        if (figures.how !== wanted)
            say(`a pod was ${figures.how}`);
        ours.push(figures);
        bare.push(await bareBoot(words));
        say(`${wanted} ${i + 1}: RunPodSandbox ${ours[i].ms.toFixed(0)} ms, bare QEMU ${bare[i].ms.toFixed(0)} ms`);
    }
    return {ours, bare};
};

const phaseNames = (ours) => [...new Set(ours.flatMap(({phases}) => Object.keys(phases)))].filter((name) => name !== 'all');

const print = (title, aim) => ({ours, bare}, row) => {
    const of = (list, share) => percentile(list.map(({ms}) => ms), share);
    row(`RunPodSandbox, ${title} : bare QEMU to the first byte`, median(ours.map(({ms}) => ms)), medianOf(bare, 'ms'), aim, 'ms');
    row(`  p99 of ${ours.length} : p99`, of(ours, 0.99), of(bare, 0.99), '', 'ms');
    row('  processor time of the VM until then', mean(ours.map(({cpu}) => cpu)), mean(bare.map(({cpu}) => cpu)), '', 'ms');
    row('  processor time of crivirtd, start to end of a pod', mean(ours.map(({daemon}) => daemon)), null, '', 'ms');
    row('  pod + container', medianOf(ours, 'both'), medianOf(bare, 'ms'), '', 'ms');
    row('  ExecSync of /bin/true, the first', medianOf(ours, 'exec'), null, '', 'ms');
    for (const name of phaseNames(ours))
        row(`    phase ${name}`, median(ours.map(({phases}) => phases[name] || 0)), null, '', 'ms', 1);
};

module.exports = {
    measures: {boot: measure('booted'), restore: measure('restored'), unpooled: measure('restored')},
    printers: {
        boot: print('booted', '<= 1.4'), restore: print('restored', '<= 0.25'), unpooled: print('restored, no pool', '<= 0.45'),
    },
    warmUp, poolIsFull, startOf, phaseNames,
};
