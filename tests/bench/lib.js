// SPDX-License-Identifier: Apache-2.0
// What the parts of bench.js share: the CRI, processes, and QEMU without crivirtd.
'use strict';
const {spawn} = require('child_process');
const fs = require('fs');
const net = require('net');
const path = require('path');

const work = process.env.BENCH_WORK;
const runDir = process.env.BENCH_RUN_DIR;
const daemonPid = Number(process.env.BENCH_DAEMON_PID);
const count = (name, usual) => Number(process.env[name] || usual);
const now = () => Number(process.hrtime.bigint()) / 1e6;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const say = (text) => process.stderr.write(`==> ${text}\n`);

// ---- the CRI ----

function connect(socket = path.join(runDir, 's.sock')) {
    const grpc = require('@grpc/grpc-js');
    const loader = require('@grpc/proto-loader');
    const load = (file) => grpc.loadPackageDefinition(
        loader.loadSync(path.join(__dirname, '../../common/cri-api', file), {keepCase: true, longs: Number}));
    const cri = load('api.proto').runtime.v1;
    const open = (Service) => new Service(`unix://${socket}`, grpc.credentials.createInsecure());
    const clients = [open(cri.RuntimeService), open(cri.ImageService), open(load('crivirt.proto').crivirt.v1.Crivirt)];

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

const runPod = async (call, config, runtime_handler = '') => (await call('RunPodSandbox', {config, runtime_handler})).pod_sandbox_id;

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
    return words[0]?.includes('qemu-system') && words.join(' ').includes(pod);
});
// User and system time in ms; ticks are of 10 ms.
const cpuMs = (pid) => {
    const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/.*\) /s, '').split(' ');
    return 10 * (Number(fields[11]) + Number(fields[12]));
};
// The mappings of a process, each as proc_pid_smaps(5) has it.
const mappings = (pid) => fs.readFileSync(`/proc/${pid}/smaps`, 'utf8').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
const sumBytes = (list, key) =>
    list.reduce((sum, mapping) => sum + 1024 * Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(mapping)?.[1] ?? 0), 0);
const isOfTemplate = (mapping) => /\/templates\/\w+\/ram$/m.test(mapping);
const isOfGuest = (mapping) => isOfTemplate(mapping) || mapping.includes('/memfd:memory-backend');
// What a guest has changed of the memory that it has in common with others: its own pages in the mappings of a template.
const changedBytes = (pid) => sumBytes(mappings(pid).filter(isOfTemplate), 'Anonymous');
// What QEMU has for itself and no other process, without its guest's memory.
const qemuOwnMib = (pid) => {
    const list = mappings(pid).filter((mapping) => !isOfGuest(mapping));
    return (sumBytes(list, 'Private_Dirty') + sumBytes(list, 'Private_Clean')) / 1048576;
};
// What a guest's memory takes of the node by itself, also of pages that QEMU has not mapped, which PSS leaves out.
const guestMib = (pid) => fs.readdirSync(`/proc/${pid}/fd`).map((fd) => `/proc/${pid}/fd/${fd}`)
    .filter((fd) => fs.readlinkSync(fd).startsWith('/memfd:memory-backend'))
    .reduce((sum, fd) => sum + fs.statSync(fd).blocks * 512, changedBytes(pid)) / 1048576;
const pssMib = (pid) => kib(pid, 'smaps_rollup', 'Pss') / 1024;
const kib = (pid, file, key) =>
    Number(new RegExp(`^${key}:\\s+(\\d+)`, 'm').exec(fs.readFileSync(`/proc/${pid}/${file}`, 'utf8'))[1]);

// ---- boot: RunPodSandbox, and QEMU alone until the agent's first byte ----

const syncWord = Buffer.from('f19ce5d3637269760074318ea7ff0ab6', 'hex'); // agent/wire/wire.h: the agent answers with the same

const after = (words, flag) => words[words.indexOf(flag) + 1];

// The arguments of a pod's QEMU for machine, processor, memory, kernel and initramfs, with only the agent's port and a console.
const bareArguments = (words, socket, console, initrd = after(words, '-initrd')) => [
    '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot',
    '-machine', after(words, '-machine').split(',').filter((word) => !/^(memory-backend|dump)/.test(word)).join(','),
    '-accel', after(words, '-accel'), '-cpu', after(words, '-cpu'), '-smp', after(words, '-smp'),
    '-m', after(words, '-m'), '-kernel', after(words, '-kernel'), '-initrd', initrd,
    '-append', after(words, '-append'), '-serial', `file:${console}`,
    '-chardev', `socket,id=agent,path=${socket}`, '-device', 'virtio-serial-pci,disable-legacy=on,max_ports=2',
    '-device', 'virtserialport,chardev=agent,name=org.crivirt.agent.0',
];

let bareSerial = 0;

async function bareBoot(words) {
    const socket = path.join(work, `bare${++bareSerial}.sock`);
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
        setTimeout(() => reject(new Error('bare QEMU: the agent sent no byte within 60 s')), 60000).unref();
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
        fs.rmSync(socket, {force: true});
    }
}

// ---- figures ----

const median = (values) => {
    const sorted = [...values].sort((a, b) => a - b);
    const middle = sorted.length >> 1;
    return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length; // ticks of 10 ms want one
const medianOf = (list, key) => median(list.map((one) => typeof key === 'function' ? key(one) : one[key]));
const percentile = (values, share) => {
    const sorted = [...values].sort((a, b) => a - b);
    return sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)];
};

// Calls the function with 0 … n - 1, some at a time; the results in order.
async function atOnce(n, workers, work) {
    const results = [];
    let next = 0;
    await Promise.all(Array.from({length: Math.min(n, workers)}, async () => {
        while (next < n) {
            const index = next++;
            results[index] = await work(index);
        }
    }));
    return results;
}

module.exports = {
    work, runDir, daemonPid, count, now, sleep, say, connect, podConfig, runPod, endPod, containerConfig, cmdline, processes,
    qemuOf, cpuMs, kib, pssMib, guestMib, qemuOwnMib, bareArguments, bareBoot, after, median, mean, medianOf, percentile,
    atOnce,
};
