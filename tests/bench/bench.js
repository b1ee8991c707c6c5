// SPDX-License-Identifier: Apache-2.0
// The part of run.sh that measures: `bench.js PART` measures one thing and stores the figures in $BENCH_WORK/PART.json;
// `bench.js table DIRECTORY` prints them all. Things that are compared take turns (A, B, A, B …), so that other load on the node
// affects both.
'use strict';
const {execFileSync} = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');

const checkpoint = require('./checkpoint');
const churn = require('./churn');
const containerd = require('./containerd');
const hibernate = require('./hibernate');
const io = require('./io');
const volumes = require('./volumes');
const limit = require('./limit');
const many = require('./many');
const probed = require('./probed');
const starts = require('./starts');
const {poolIsFull, warmUp} = starts;
const streaming = require('./streaming');
const {
    work, runDir, daemonPid, count, now, sleep, say, connect, podConfig, runPod, endPod, containerConfig, cmdline, processes,
    qemuOf, cpuMs, kib, pssMib, guestMib, qemuOwnMib, median, mean, medianOf, atOnce,
} = require('./lib');

// ---- container: CreateContainer and StartContainer, and crun in the same guest (crun_timer.c) ----

const timesOf = (pod) => [...fs.readFileSync(pod.console, 'utf8').matchAll(/^bench: crun (\d+) ([\d.]+) ([\d.]+)/gm)];

// Lets crun_timer.c create a container like this one.
async function crunDirectly(call, pod, container_id) {
    const before = timesOf(pod).length;
    await call('ExecSync', {container_id, cmd: ['/bin/touch', '/bench'], timeout: 60});
    for (let i = 0; i < 200 && timesOf(pod).length === before; i++)
        await sleep(50);
    const [, failed, create, start] = timesOf(pod)[before];
    if (failed !== '0')
        throw new Error(`crun in the guest ended with ${failed}`);
    return {create: Number(create), start: Number(start)};
}

async function containerOnce(call, pod, config) {
    const before = cpuMs(pod.pid);
    const begin = now();
    const {container_id} = await call('CreateContainer', {pod_sandbox_id: pod.id, config, sandbox_config: pod.config});
    const created = now();
    await call('StartContainer', {container_id});
    const started = now();
    const cpu = cpuMs(pod.pid) - before;
    const exec = await call('ExecSync', {container_id, cmd: ['/bin/true'], timeout: 60});
    const executed = now();
    if (exec.exit_code)
        throw new Error(`exec: ${exec.exit_code} ${exec.stderr}`);
    const direct = await crunDirectly(call, pod, container_id);
    await call('StopContainer', {container_id, timeout: 0});
    await call('RemoveContainer', {container_id});
    return {create: created - begin, start: started - created, exec: executed - started, cpu, direct};
}

const consoleOf = (pod) => fs.readdirSync(path.join(runDir, 'vm'))
    .filter((name) => pod.startsWith(name)).map((name) => path.join(runDir, 'vm', name, 'console.log'))[0];

async function container(call) {
    const config = podConfig();
    const pod = {config, id: await runPod(call, config)};
    pod.pid = qemuOf(pod.id);
    pod.console = consoleOf(pod.id);
    const first = await containerOnce(call, pod, containerConfig());
    const ours = [];
    for (let i = 0; i < count('BENCH_CONTAINERS', 15); i++) {
        ours.push(await containerOnce(call, pod, containerConfig()));
        say(`container ${i + 1}: ` + JSON.stringify(ours[i], (key, value) => (value.toFixed ? Math.round(value) : value)));
    }
    await endPod(call, pod.id);
    return {first, ours, direct: ours.map((one) => one.direct)};
}

// ---- pull, and skopeo into a directory ----

async function pullOnce(call, image) {
    const before = cpuMs(daemonPid);
    const begin = now();
    await call('PullImage', {image: {image}});
    const figures = {ms: now() - begin, cpu: cpuMs(daemonPid) - before};
    await call('RemoveImage', {image: {image}});
    return figures;
}

// The shell's `times` reports the processor time of its children.
function skopeoOnce(image) {
    const directory = path.join(work, 'skopeo');
    const begin = now();
    const text = execFileSync('bash', ['-c', 'skopeo copy -q --insecure-policy --src-tls-verify=false "$1" "$2"; times',
                                       'bash', `docker://${image}`, `dir:${directory}`], {encoding: 'utf8'});
    const ms = now() - begin;
    const cpu = [...text.trim().split('\n')[1].matchAll(/(\d+)m([\d.]+)s/g)]
        .reduce((sum, [, minutes, seconds]) => sum + 60000 * Number(minutes) + 1000 * Number(seconds), 0);
    fs.rmSync(directory, {recursive: true});
    return {ms, cpu};
}

async function pull(call) {
    const result = {};
    for (const kind of ['random', 'usual']) {
        const image = `127.0.0.1:5000/bench/${kind}:latest`;
        skopeoOnce(image); // the registry's files are in the page cache from here on
        result[kind] = {ours: [], skopeo: []};
        for (let i = 0; i < count('BENCH_PULLS', 5); i++) {
            result[kind].ours.push(await pullOnce(call, image));
            result[kind].skopeo.push(skopeoOnce(image));
            say(`pull ${kind} ${i + 1}: PullImage ${result[kind].ours[i].ms.toFixed(0)} ms, ` +
                `skopeo ${result[kind].skopeo[i].ms.toFixed(0)} ms`);
        }
    }
    return result;
}

// ---- memory ----

const shareServers = () => processes().filter((pid) => {
    const words = cmdline(pid);
    return words[0]?.includes('virtiofsd') && words.join(' ').includes(runDir);
});

async function memory(call) {
    const pods = [];
    const steps = [];
    const fresh = kib(daemonPid, 'status', 'VmRSS') / 1024;
    await warmUp(call, 'restored');
    for (const n of (process.env.BENCH_PODS || '1 10').split(' ').map(Number)) {
        await poolIsFull(call); // whose VMs have rehearsed a container
        await atOnce(n - pods.length, 2, async () => {
            const config = podConfig();
            pods.push({config, id: await runPod(call, config)});
        });
        await sleep(5000);
        const qemus = pods.map((pod) => qemuOf(pod.id));
        steps.push({n, pss: median(qemus.map(pssMib)), own: median(qemus.map(qemuOwnMib)), guest: median(qemus.map(guestMib)),
                    rss: kib(daemonPid, 'status', 'VmRSS') / 1024, daemonOwn: kib(daemonPid, 'status', 'RssAnon') / 1024});
        say(`${n} pods: ${steps[steps.length - 1].pss.toFixed(0)} MiB each`);
    }
    const volume = path.join(work, 'volume');
    fs.mkdirSync(volume, {recursive: true});
    const config = containerConfig({mounts: [{container_path: '/volume', host_path: volume}]});
    const {container_id} =
        await call('CreateContainer', {pod_sandbox_id: pods[0].id, config, sandbox_config: pods[0].config});
    await call('StartContainer', {container_id});
    await sleep(2000);
    const withVolume = {qemu: pssMib(qemuOf(pods[0].id)), virtiofsd: shareServers().map(pssMib)};
    await atOnce(pods.length, 2, (index) => endPod(call, pods[index].id));
    return {steps, fresh, afterwards: kib(daemonPid, 'status', 'VmRSS') / 1024, withVolume};
}

// ---- the table ----

function row(what, ours, other, aim, unit, digits = 0) {
    const ratio = other === null ? '' : (ours / other).toFixed(2);
    const show = (value) => value === null ? '' : `${value.toFixed(digits)} ${unit}`;
    console.log([what.padEnd(58), show(ours).padStart(9), show(other).padStart(9), ratio.padStart(6), aim].join('  '));
}

function printContainer({first, ours, direct}) {
    const both = (one) => one.create + one.start;
    row('Create + StartContainer : crun create + start in the guest', medianOf(ours, both), medianOf(direct, both),
        '<= 1.5', 'ms');
    row('  create', medianOf(ours, 'create'), medianOf(direct, 'create'), '', 'ms');
    row('  start', medianOf(ours, 'start'), medianOf(direct, 'start'), '', 'ms');
    row('  processor time of the VM', mean(ours.map((one) => one.cpu)), null, '', 'ms');
    row('  the first one of a pod, its layer attached', both(first), null, '', 'ms');
    row('  ExecSync of /bin/true', medianOf(ours, 'exec'), null, '', 'ms');
}

function printPull(result) {
    const names = {random: 'incompressible', usual: 'programs, libraries'};
    for (const [kind, {ours, skopeo}] of Object.entries(result)) {
        row(`PullImage : skopeo to dir:, ${names[kind]}`, medianOf(ours, 'ms'), medianOf(skopeo, 'ms'), '<= 1.5', 'ms');
        row('  processor time', medianOf(ours, 'cpu'), medianOf(skopeo, 'cpu'), '', 'ms');
    }
}

function printMemory({steps, fresh, withVolume}) {
    for (const {n, pss, own, guest} of steps) {
        row(`PSS of an idle pod, ${n} of them`, pss, null, n === 10 ? '<= 20' : '', 'MiB', 1);
        row("  of which QEMU's own, without its guest", own, null, n === 10 ? '<= 8' : '', 'MiB', 1);
        row("  its guest's memory on the node, mapped or not", guest, null, '', 'MiB', 1);
    }
    row('  one with a container and a volume', withVolume.qemu + withVolume.virtiofsd.reduce((a, b) => a + b, 0), null,
        '', 'MiB');
    row('    of which virtiofsd', withVolume.virtiofsd.reduce((a, b) => a + b, 0), null, '', 'MiB');
    for (const {n, rss, daemonOwn} of steps) {
        row(`RSS of crivirtd with ${n} pods`, rss, null, n === 10 ? '<= 40' : '', 'MiB');
        row('  of which its own', daemonOwn, null, '', 'MiB');
    }
    row('  before the first one', fresh, null, '', 'MiB');
}

function table(directory) {
    const printers = {
        ...starts.printers, containerd: containerd.print, container: printContainer, many: many.print, pull: printPull,
        memory: printMemory, checkpoint: checkpoint.print, hibernate: hibernate.print, churn: churn.print, limit: limit.print, probed: probed.print, streaming: streaming.print,
        volumes: volumes.print,
    };
    const load = fs.readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ');
    console.log(`${os.cpus().length} x ${os.cpus()[0].model.trim()}, ${(os.totalmem() / 2 ** 30).toFixed(0)} GB, ` +
                `Linux ${os.release()}, load ${load}, ${new Date().toISOString()}`);
    console.log(['p50'.padEnd(58), 'crivirt'.padStart(9), 'other'.padStart(9), 'ratio'.padStart(6), 'aim'].join('  '));
    for (const [part, print] of Object.entries(printers)) {
        const file = path.join(directory, `${part}.json`);
        if (fs.existsSync(file))
            print(JSON.parse(fs.readFileSync(file, 'utf8')), row);
    }
    for (const file of fs.readdirSync(directory).filter((name) => /^io\d*\.json$/.test(name)).sort())
        io.print(JSON.parse(fs.readFileSync(path.join(directory, file), 'utf8')), row);
}

async function main() {
    const [part, directory] = process.argv.slice(2);
    if (part === 'table')
        return table(directory);
    const measures = {
        ...starts.measures, container, many: many.measure, pull, memory, checkpoint: checkpoint.measure, hibernate: hibernate.measure, churn: churn.measure, limit: limit.measure, probed: probed.measure,
        streaming: streaming.measure, containerd: containerd.measure, io: io.measure, volumes: volumes.measure,
    };
    const result = await measures[part](connect());
    fs.writeFileSync(path.join(work, `${part}.json`), JSON.stringify(result, null, 1));
}

main().then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
});
