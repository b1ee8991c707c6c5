// SPDX-License-Identifier: Apache-2.0
// Exec and port-forward of a pod, compared with the agent's channel by itself (channel_speed.c) and with `crun exec` in the
// guest (crun_timer.c).
'use strict';
const fs = require('fs');
const net = require('net');
const path = require('path');
const {spawn} = require('child_process');
const {Cri} = require('../integration/support/cri');
const {exec, run, Forward} = require('../integration/support/streams');
const {work, runDir, count, now, sleep, say, bareArguments, cmdline, processes, median} = require('./lib');

const rounds = count('BENCH_STREAMS', 5);
const mib = count('BENCH_STREAM_MIB', 32);
const TRANSPORTS = {WebSocket: 'WebSocket v5', SPDY: 'SPDY v4'};
const DIRECTIONS = ['down', 'up', 'echo'];

const piece = Buffer.alloc(32 << 10, 'crivirt ');

// The part of a node that support/streams.js needs. This process is in the node's network already.
const node = {
    connect: (host, port) => new Promise((resolve, reject) => {
        const socket = net.connect({host, port, noDelay: true}, () => resolve(socket));
        socket.on('error', reject);
    }),
};

// ---- the channel by itself ----

// Starts a guest; {connection, end()} once its agent's port is connected. The greeting is sent at once.
async function startBare(work, words, {initrd, greeting} = {}) {
    const socket = path.join(work, 'bare.sock');
    fs.rmSync(socket, {force: true});
    const server = net.createServer();
    await new Promise((resolve) => server.listen(socket, resolve));
    const connected = new Promise((resolve, reject) => {
        server.on('connection', (connection) => {
            connection.on('error', () => {});
            if (greeting)
                connection.write(greeting);
            resolve(connection);
        });
        setTimeout(() => reject(new Error('bare QEMU did not connect in 60 s')), 60000).unref();
    });
    const qemu = spawn(words[0], bareArguments(words, socket, path.join(work, 'bare.console'), initrd),
                       {stdio: ['ignore', 'ignore', 'inherit']});
    const ended = new Promise((resolve) => qemu.on('exit', resolve));
    const end = async () => {
        qemu.kill('SIGKILL');
        await ended;
        server.close();
    };
    try {
        return {connection: await connected, pid: qemu.pid, end};
    } catch (error) {
        await end();
        throw error;
    }
}

const PIECE_BYTES = 31 << 10; // WIRE_OUTPUT_BYTES

// agent/wire/wire.h: the quick checksum.
function sumOf(payload) {
    const words = new BigUint64Array(Math.ceil(payload.length / 8));
    payload.copy(Buffer.from(words.buffer));
    let [a, b] = [1n, 0n];
    for (const word of words) {
        a = BigInt.asUintN(64, a + word);
        b = BigInt.asUintN(64, b + a);
    }
    const fold = (value) => Number((value ^ (value >> 32n)) & 0xffffffffn);
    return (fold(a) ^ (fold(b) << 16) ^ (fold(b) >>> 16)) >>> 0;
}

function frame(payload) {
    const header = Buffer.alloc(8);
    header.writeUInt32LE(payload.length, 0);
    header.writeUInt32LE(sumOf(payload), 4);
    return Buffer.concat([header, payload]);
}

const dataFrame = frame(Buffer.alloc(PIECE_BYTES, 'crivirt '));

// The milliseconds that so many bytes take.
async function channelOnce(connection, direction, bytes) {
    const frames = Math.ceil(bytes / PIECE_BYTES);
    const expected = direction === 'up' ? 9 : frames * dataFrame.length;
    let got = 0;
    const done = new Promise((resolve) => {
        const take = (data) => {
            got += data.length;
            if (got >= expected) {
                connection.off('data', take);
                resolve();
            }
        };
        connection.on('data', take);
    });
    const begin = now();
    const order = Buffer.alloc(5);
    order.write(direction[0]);
    order.writeUInt32LE(frames, 1);
    connection.write(frame(order));
    for (let i = 0; direction !== 'down' && i < frames; i++)
        if (!connection.write(dataFrame))
            await new Promise((resolve) => connection.once('drain', resolve));
    await done;
    return now() - begin;
}

// ---- crivirtd ----

async function execOnce(container, transport, direction) {
    const begin = now();
    const command = {down: ['/bin/cat', '/dev/shm/file'], up: 'exec cat > /dev/null', echo: ['/bin/cat']}[direction];
    const client = await exec(node, container, TRANSPORTS[transport], command, {stdin: direction !== 'down'});
    let got = 0;
    client.sink = (name, bytes) => { got += bytes.length; };
    if (direction !== 'down') {
        for (let i = 0; i < mib * 32; i++)
            await client.sendAll('stdin', piece);
        client.end();
    }
    const {code} = await client.outcome();
    if (code !== 0 || (direction !== 'up' && got !== mib << 20))
        throw new Error(`exec ${direction}: exit code ${code}, ${got} bytes`);
    return now() - begin;
}

async function forwardOnce(pod) {
    const forward = await Forward.open(node, pod, 'SPDY');
    const begin = now();
    const connection = forward.connect(8001);
    let got = 0;
    connection.sink = (bytes) => { got += bytes.length; };
    for (let i = 0; i < mib * 32; i++)
        await connection.sendAll(piece);
    connection.end();
    await connection.over;
    forward.close();
    if (got !== mib << 20)
        throw new Error(`port-forward: ${got} bytes; ${connection.error()}`);
    return now() - begin;
}

async function trueOnce(container, transport) {
    const begin = now();
    const {code} = await run(node, container, TRANSPORTS[transport], ['/bin/true']);
    if (code !== 0)
        throw new Error(`true ended with ${code}`);
    return now() - begin;
}

// crun_timer.c runs `crun exec` in the guest.
const timesOf = (file) => [...fs.readFileSync(file, 'utf8').matchAll(/^bench: exec (\d+) ([\d.]+)/gm)];
async function crunOnce(container, consoleFile) {
    const before = timesOf(consoleFile).length;
    await run(node, container, 'SPDY v4', ['/bin/touch', '/bench-exec']);
    while (timesOf(consoleFile).length === before)
        await sleep(50);
    const [, failed, ms] = timesOf(consoleFile)[before];
    if (failed !== '0')
        throw new Error(`crun exec in the guest ended with ${failed}`);
    return Number(ms);
}

// ---- all measurements ----

async function makePod() {
    const config = {metadata: {name: 'streams', uid: `uid${process.pid}`, namespace: 'bench', attempt: 0},
                    log_directory: path.join(work, 'log'), linux: {}};
    const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config});
    const {container_id} = await node.cri.call('CreateContainer', {
        pod_sandbox_id: id, sandbox_config: config, config: {
            metadata: {name: 'streams', attempt: 0}, image: {image: 'docker.io/library/busybox:latest'},
            command: ['/bin/sleep', '100000'], log_path: 'streams.log', linux: {}}});
    await node.cri.call('StartContainer', {container_id});
    const container = {id: container_id};
    await run(node, container, 'SPDY v4', `head -c ${mib << 20} /dev/zero > /dev/shm/file`);
    await node.cri.call('ExecSync', {container_id, cmd: [
        '/bin/sh', '-c', 'nc -ll -p 8001 -e /bin/cat >/dev/null 2>&1 </dev/null &'], timeout: 60});
    const vm = fs.readdirSync(path.join(runDir, 'vm')).find((name) => id.startsWith(name));
    return {id, container, console: path.join(runDir, 'vm', vm, 'console.log')};
}

async function measure() {
    node.cri = new Cri(path.join(runDir, 's.sock'));
    const pod = await makePod();
    const words = processes().map(cmdline).find((one) => one[0].includes('qemu-system') && one.join(' ').includes(pod.id));
    const bare = await startBare(work, words, {initrd: path.join(work, 'channel.img')});
    await new Promise((resolve) => bare.connection.once('data', resolve)); // it is there
    const result = {mib, channel: {}, exec: {}, forward: [], latency: {WebSocket: [], SPDY: [], crun: []}};
    for (const direction of DIRECTIONS)
        Object.assign(result.channel, {[direction]: []});
    for (const transport of Object.keys(TRANSPORTS))
        result.exec[transport] = Object.fromEntries(DIRECTIONS.map((direction) => [direction, []]));
    try {
        for (let i = 0; i < rounds; i++) {
            for (const direction of DIRECTIONS) {
                result.channel[direction].push(await channelOnce(bare.connection, direction, mib << 20));
                for (const transport of Object.keys(TRANSPORTS))
                    result.exec[transport][direction].push(await execOnce(pod.container, transport, direction));
            }
            result.forward.push(await forwardOnce(pod));
            for (let k = 0; k < 5; k++) {
                for (const transport of Object.keys(TRANSPORTS))
                    result.latency[transport].push(await trueOnce(pod.container, transport));
                result.latency.crun.push(await crunOnce(pod.container, pod.console));
            }
            say(`streams ${i + 1}: ` + DIRECTIONS.map((direction) => `${direction} ${result.channel[direction][i].toFixed(0)}:` +
                `${result.exec.WebSocket[direction][i].toFixed(0)}:${result.exec.SPDY[direction][i].toFixed(0)}`).join(' ') +
                ` forward ${result.forward[i].toFixed(0)} true ${result.latency.WebSocket.at(-1).toFixed(0)}:` +
                `${result.latency.crun.at(-1).toFixed(0)} ms`);
        }
    } finally {
        await bare.end();
    }
    await node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
    await node.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
    return result;
}

function print({exec, channel, forward, latency, mib: size}, row) {
    const speed = (times) => size * 1000 / median(times);
    const names = {down: 'cat of a file', up: 'cat into nothing', echo: 'cat there and back'};
    for (const [transport, times] of Object.entries(exec))
        for (const [direction, name] of Object.entries(names))
            row(`exec, ${transport}, ${name} : the channel`, speed(times[direction]), speed(channel[direction]), '>= 0.7', 'MB/s');
    row('forwarded port, there and back : the channel', speed(forward), speed(channel.echo), '>= 0.7', 'MB/s');
    for (const transport of Object.keys(exec))
        row(`exec true, ${transport} : crun exec in the guest`, median(latency[transport]), median(latency.crun), '<= 2', 'ms');
}

module.exports = {measure, print};
