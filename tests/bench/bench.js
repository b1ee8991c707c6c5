// The measuring half of run.sh: bench.js boot|container|pull|memory   measures one thing and keeps the figures in
// $BENCH_WORK/PART.json; bench.js table DIRECTORY prints them all. What is compared is done in turns (A, B, A, B …), so
// that whatever else the machine does hits both.
'use strict';
const {spawn, execFileSync} = require('child_process');
const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');

const work = process.env.BENCH_WORK;
const runDir = process.env.BENCH_RUN_DIR;
const daemonPid = Number(process.env.BENCH_DAEMON_PID);
const count = (name, usual) => Number(process.env[name] || usual);
const now = () => Number(process.hrtime.bigint()) / 1e6;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const say = (text) => process.stderr.write(`==> ${text}\n`);

// ---- the CRI ----

function connect() {
    const grpc = require('@grpc/grpc-js');
    const loader = require('@grpc/proto-loader');
    const file = path.join(__dirname, '../../common/cri-api/api.proto');
    const cri = grpc.loadPackageDefinition(loader.loadSync(file, {keepCase: true, longs: Number})).runtime.v1;
    const address = `unix://${runDir}/s.sock`;
    const open = (Service) => new Service(address, grpc.credentials.createInsecure());
    const clients = [open(cri.RuntimeService), open(cri.ImageService)];

    return (method, request) => new Promise((resolve, reject) => {
        const client = clients.find((one) => typeof one[method] === 'function');
        client[method](request, {deadline: Date.now() + 300000},
                       (error, response) => error ? reject(error) : resolve(response));
    });
}

let serial = 0;
const podConfig = () => ({
    metadata: {name: `pod${++serial}`, uid: `uid${process.pid}-${serial}`, namespace: 'bench', attempt: 0},
    log_directory: path.join(work, 'log'),
    linux: {},
});

const runPod = async (call, config) => (await call('RunPodSandbox', {config})).pod_sandbox_id;

async function endPod(call, id) {
    await call('StopPodSandbox', {pod_sandbox_id: id});
    await call('RemovePodSandbox', {pod_sandbox_id: id});
}

const containerConfig = (more) => ({
    metadata: {name: `container${++serial}`, attempt: 0},
    image: {image: 'docker.io/library/busybox:latest'},
    command: ['/bin/sleep', '1000'],
    log_path: `${serial}.log`,
    linux: {},
    ...more,
});

// ---- processes ----

const cmdline = (pid) => {
    try {
        return fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    } catch {
        return [];
    }
};
const processes = () => fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).map(Number);
const qemuOf = (pod) => processes().find((pid) => {
    const words = cmdline(pid);
    return words[0].includes('qemu-system') && words.join(' ').includes(pod);
});
// User and system time in ms; ticks are of 10 ms.
const cpuMs = (pid) => {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /s, '').split(' ');
    return 10 * (Number(fields[11]) + Number(fields[12]));
};
const kib = (pid, file, key) =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(fs.readFileSync(`/proc/${pid}/${file}`, 'utf8'))[1]);

// ---- boot: RunPodSandbox, and QEMU alone to the agent's first byte ----

const syncWord = Buffer.from('f19ce5d3637269760074318ea7ff0ab6', 'hex'); // agent/wire/wire.h: the agent answers it

const after = (words, flag) => words[words.indexOf(flag) + 1];

// The machine, processor, memory, kernel and initramfs of a pod's QEMU, with nothing but the agent's port and a console.
const bareArguments = (words, socket, console) => [
    '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot',
    '-machine', after(words, '-machine').split(',').filter((word) => !/^(memory-backend|dump)/.test(word)).join(','),
    '-accel', after(words, '-accel'), '-cpu', after(words, '-cpu'), '-smp', after(words, '-smp'),
    '-m', after(words, '-m'), '-kernel', after(words, '-kernel'), '-initrd', after(words, '-initrd'),
    '-append', after(words, '-append'), '-serial', `file:${console}`,
    '-chardev', `socket,id=agent,path=${socket}`, '-device', 'virtio-serial-pci,disable-legacy=on,max_ports=2',
    '-device', 'virtserialport,chardev=agent,name=org.crivirt.agent.0',
];

async function bareBoot(words) {
    const socket = path.join(work, 'bare.sock');
    fs.rmSync(socket, {force: true});
    let server;
    const listening = new Promise((resolve) => { server = net.createServer().listen(socket, resolve); });
    await listening;
    const firstByte = new Promise((resolve, reject) => {
        server.on('connection', (connection) => {
            connection.on('data', resolve);
            connection.on('error', () => {});
            connection.write(Buffer.concat([syncWord, Buffer.from('12345678')]));
        });
        setTimeout(() => reject(new Error('bare QEMU: no byte of the agent in 60 s')), 60000).unref();
    });
    const begin = now();
    const qemu = spawn(words[0], bareArguments(words, socket, path.join(work, 'bare.console')),
                       {stdio: ['ignore', 'ignore', 'inherit']});
    const ended = new Promise((resolve) => qemu.on('exit', resolve));
    try {
        await firstByte;
        return {ms: now() - begin, cpu: cpuMs(qemu.pid)};
    } finally {
        qemu.kill('SIGKILL');
        await ended;
        server.close();
    }
}

async function podBoot(call) {
    const config = podConfig();
    const daemonBefore = cpuMs(daemonPid);
    const begin = now();
    const id = await runPod(call, config);
    const ms = now() - begin;
    const pid = qemuOf(id);
    const figures = {ms, cpu: cpuMs(pid), daemon: cpuMs(daemonPid) - daemonBefore, words: cmdline(pid)};
    await endPod(call, id);
    return figures;
}

async function boot(call) {
    const {words} = await podBoot(call); // the first one of a daemon is warming up
    await bareBoot(words);
    const ours = [], bare = [];
    for (let i = 0; i < count('BENCH_BOOTS', 15); i++) {
        const {words: unused, ...figures} = await podBoot(call);
        ours.push(figures);
        bare.push(await bareBoot(words));
        say(`boot ${i + 1}: RunPodSandbox ${ours[i].ms.toFixed(0)} ms, bare QEMU ${bare[i].ms.toFixed(0)} ms`);
    }
    return {ours, bare, machine: after(words, '-machine').split(',')[0], accel: after(words, '-accel')};
}

// ---- container: CreateContainer and StartContainer, and crun in the same guest (crun_timer.c) ----

const timesOf = (pod) => [...fs.readFileSync(pod.console, 'utf8').matchAll(/^bench: crun (\d+) ([\d.]+) ([\d.]+)/gm)];

// Has crun_timer.c make a container like this one.
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

// Its processor time comes from the shell's `times`, of its children.
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

const pssMib = (pid) => kib(pid, 'smaps_rollup', 'Pss') / 1024;
const shareServers = () => processes().filter((pid) => {
    const words = cmdline(pid);
    return words[0].includes('virtiofsd') && words.join(' ').includes(runDir);
});

async function memory(call) {
    const pods = [];
    const fresh = kib(daemonPid, 'status', 'VmRSS') / 1024;
    let alone = 0;
    for (let i = 0; i < count('BENCH_PODS', 10); i++) {
        const config = podConfig();
        pods.push({config, id: await runPod(call, config)});
        if (i === 0) {
            await sleep(5000);
            alone = pssMib(qemuOf(pods[0].id));
        }
    }
    await sleep(5000);
    const together = pods.map((pod) => pssMib(qemuOf(pod.id)));
    const rss = kib(daemonPid, 'status', 'VmRSS') / 1024;
    const volume = path.join(work, 'volume');
    fs.mkdirSync(volume, {recursive: true});
    const config = containerConfig({mounts: [{container_path: '/volume', host_path: volume}]});
    const {container_id} =
        await call('CreateContainer', {pod_sandbox_id: pods[0].id, config, sandbox_config: pods[0].config});
    await call('StartContainer', {container_id});
    await sleep(2000);
    const withVolume = {qemu: pssMib(qemuOf(pods[0].id)), virtiofsd: shareServers().map(pssMib)};
    for (const pod of pods)
        await endPod(call, pod.id);
    return {alone, together, fresh, rss, afterwards: kib(daemonPid, 'status', 'VmRSS') / 1024, withVolume};
}

// ---- the table ----

const median = (values) => {
    const sorted = [...values].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length; // ticks of 10 ms want one
const medianOf = (list, key) => median(list.map((one) => typeof key === 'function' ? key(one) : one[key]));

function row(what, ours, other, aim, unit) {
    const ratio = other === null ? '' : (ours / other).toFixed(2);
    const show = (value) => value === null ? '' : `${value.toFixed(0)} ${unit}`;
    console.log([what.padEnd(58), show(ours).padStart(9), show(other).padStart(9), ratio.padStart(6), aim].join('  '));
}

function printBoot({ours, bare}) {
    row('RunPodSandbox, CNI included : bare QEMU to the first byte', medianOf(ours, 'ms'), medianOf(bare, 'ms'), '<= 1.4',
        'ms');
    row('  processor time of the VM until then', mean(ours.map((one) => one.cpu)), mean(bare.map((one) => one.cpu)), '', 'ms');
    row('  processor time of crivirtd, start to end of a pod', mean(ours.map((one) => one.daemon)), null, '', 'ms');
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

function printMemory({alone, together, fresh, rss, withVolume}) {
    row(`PSS of an idle pod, ${together.length} of them`, median(together), null, '<= 150', 'MiB');
    row('  one alone', alone, null, '<= 150', 'MiB');
    row('  one with a container and a volume', withVolume.qemu + withVolume.virtiofsd.reduce((a, b) => a + b, 0), null,
        '', 'MiB');
    row('    of which virtiofsd', withVolume.virtiofsd.reduce((a, b) => a + b, 0), null, '', 'MiB');
    row(`RSS of crivirtd with ${together.length} pods`, rss, null, '<= 40', 'MiB');
    row('  before the first one', fresh, null, '', 'MiB');
}

function table(directory) {
    const printers = {boot: printBoot, container: printContainer, pull: printPull, memory: printMemory};
    const load = fs.readFileSync('/proc/loadavg', 'utf8').split(' ').slice(0, 3).join(' ');
    console.log(`${os.cpus().length} x ${os.cpus()[0].model.trim()}, ${(os.totalmem() / 2 ** 30).toFixed(0)} GB, ` +
                `Linux ${os.release()}, load ${load}, ${new Date().toISOString()}`);
    console.log(['p50'.padEnd(58), 'crivirt'.padStart(9), 'other'.padStart(9), 'ratio'.padStart(6), 'aim'].join('  '));
    for (const [part, print] of Object.entries(printers)) {
        const file = path.join(directory, `${part}.json`);
        if (fs.existsSync(file))
            print(JSON.parse(fs.readFileSync(file, 'utf8')));
    }
}

async function main() {
    const [part, directory] = process.argv.slice(2);
    if (part === 'table')
        return table(directory);
    const result = await {boot, container, pull, memory}[part](connect());
    fs.writeFileSync(path.join(work, `${part}.json`), JSON.stringify(result, null, 1));
}

main().then(() => process.exit(0), (error) => {
    console.error(error);
    process.exit(1);
});
