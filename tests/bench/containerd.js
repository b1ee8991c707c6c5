// SPDX-License-Identifier: Apache-2.0
// RunPodSandbox and a container in the pod, compared with containerd and runc by turns: the same client, CNI configuration and
// image. With containerd a pod is a pause process in namespaces, and a container another process beside it. Then the same for
// several pods at once, and the memory of an idle pod.
'use strict';
const path = require('path');
const {
    runDir, count, now, sleep, say, connect, podConfig, runPod, endPod, containerConfig, cmdline, processes, qemuOf, pssMib, median,
    medianOf, percentile, atOnce,
} = require('./lib');
const {startOf, phaseNames, poolIsFull, warmUp} = require('./starts');

async function podOnce(call, look) {
    const config = podConfig();
    const begin = now();
    const id = await runPod(call, config);
    const ready = now();
    const {container_id} =
        await call('CreateContainer', {pod_sandbox_id: id, config: containerConfig(), sandbox_config: config});
    await call('StartContainer', {container_id});
    const started = now();
    const {exit_code: code, stderr} = await call('ExecSync', {container_id, cmd: ['/bin/true'], timeout: 60});
    const executed = now();
    if (code)
        throw new Error(`exec: ${code} ${stderr}`);
    const figures = {ms: ready - begin, container: started - ready, both: started - begin, exec: executed - started};
    Object.assign(figures, await look(id));
    const ending = now();
    await call('StopContainer', {container_id, timeout: 0});
    const stopped = now();
    await call('RemoveContainer', {container_id});
    const removed = now();
    await call('StopPodSandbox', {pod_sandbox_id: id});
    const podStopped = now();
    await call('RemovePodSandbox', {pod_sandbox_id: id});
    const end = now();
    return {...figures, stop: stopped - ending, remove: removed - stopped, stopPod: podStopped - removed, removePod: end - podStopped,
            end: end - ending};
}

// The time until so many pods, which are started at once, have a running container each.
async function crowd(call, n) {
    const begin = now();
    const pods = await atOnce(n, n, async () => {
        const config = podConfig();
        const id = await runPod(call, config);
        const {container_id} =
            await call('CreateContainer', {pod_sandbox_id: id, config: containerConfig(), sandbox_config: config});
        await call('StartContainer', {container_id});
        return id;
    });
    const ms = now() - begin;
    await atOnce(n, 2, (index) => endPod(call, pods[index]));
    return ms;
}

// The memory of a pod without containers, which is that of its processes.
async function idlePod(call, pidsOf) {
    const before = processes();
    const id = await runPod(call, podConfig());
    await sleep(5000);
    const pss = pidsOf(id, before).map(pssMib).reduce((a, b) => a + b, 0);
    await endPod(call, id);
    return pss;
}

// containerd's processes of a pod: its shim, and pause.
const shimAndPause = (id, before) => processes().filter((pid) => !before.includes(pid))
    .filter((pid) => cmdline(pid).join(' ').includes(id) || cmdline(pid)[0] === '/pause');

async function measure(call) {
    const theirs = connect(path.join(runDir, 'containerd.sock'));
    const {runtime_version: version} = await theirs('Version', {});
    await warmUp(call, 'restored');
    await podOnce(theirs, () => ({}));
    const result = {version, ours: [], theirs: []};
    for (let i = 0; i < count('BENCH_STARTS', 20); i++) {
        await poolIsFull(call);
        result.ours.push(await podOnce(call, (id) => startOf(call, id)));
        await poolIsFull(call);
        result.theirs.push(await podOnce(theirs, () => ({})));
        const both = (key) => `${result.ours[i][key].toFixed(0)} ms, theirs ${result.theirs[i][key].toFixed(0)} ms`;
        say(`containerd ${i + 1}: RunPodSandbox ${both('ms')}; RemoveContainer ${both('remove')}`);
    }
    result.crowd = {n: count('BENCH_AT_ONCE', 8), ours: [], theirs: []};
    for (let i = 0; i < count('BENCH_CROWDS', 3); i++) {
        for (const [name, one] of [['ours', call], ['theirs', theirs]]) {
            await poolIsFull(call);
            result.crowd[name].push(await crowd(one, result.crowd.n));
        }
        say(`${result.crowd.n} pods with a container at once: ${result.crowd.ours[i].toFixed(0)} ms, ` +
            `theirs ${result.crowd.theirs[i].toFixed(0)} ms`);
    }
    await poolIsFull(call);
    result.idle = {ours: await idlePod(call, (id) => [qemuOf(id)]), theirs: await idlePod(theirs, shimAndPause)};
    return result;
}

function print({version, ours, theirs, crowd: {n, ...crowds}, idle}, row) {
    const p99 = (list) => percentile(list.map(({ms}) => ms), 0.99);
    const compare = (title, key, aim = '') => row(title, medianOf(ours, key), medianOf(theirs, key), aim, 'ms');
    compare(`RunPodSandbox, restored : containerd ${version} and runc`, 'ms', '<= 1.5');
    row(`  p99 of ${ours.length} : p99`, p99(ours), p99(theirs), '', 'ms');
    compare('  pod + container', 'both');
    compare('    of which the container', 'container');
    compare('  ExecSync of /bin/true, the first', 'exec');
    compare('  StopContainer by KILL', 'stop');
    compare('  RemoveContainer', 'remove');
    compare('  StopPodSandbox', 'stopPod');
    compare('  RemovePodSandbox', 'removePod');
    compare('  all four, the end of a pod with a container', 'end');
    const [[first, ...again], [theirFirst, ...theirAgain]] = [crowds.ours, crowds.theirs];
    row(`  ${n} pods with a container at once, until the last runs: the first time`, first, theirFirst, '', 'ms');
    if (again.length)
        row('    again, when the VM pool has grown', median(again), median(theirAgain), '', 'ms');
    row('  PSS of an idle pod: QEMU : shim and pause', idle.ours, idle.theirs, '', 'MiB', 1);
    for (const name of phaseNames(ours))
        row(`    phase ${name}`, medianOf(ours, ({phases}) => phases[name] || 0), null, '', 'ms', 1);
}

module.exports = {measure, print};
