// SPDX-License-Identifier: Apache-2.0
// The network between two pods, and files of volumes and of images, in turns with containerd's pods where it runs: pod_io.c, from
// within.
// Files are in the node's page cache when they are read; a pod reads each of them for the first time. run.sh measures it
// with each set of flags of BENCH_IO_FLAGS.
'use strict';
const fs = require('fs');
const path = require('path');
const {work, runDir, count, say, connect, podConfig, runPod, endPod, containerConfig, medianOf} = require('./lib');

const MIB = count('BENCH_IO_MIB', 32);       // of a file; as in the image, which run.sh makes
const FILES = count('BENCH_IO_FILES', 2000); // in a directory, and how often 4 KiB are read; likewise
const IMAGE = {image: 'bench.local/pod_io:1'};

const volume = () => path.join(work, 'io-volume'); // `work` is not set where results are printed only

async function podWith(call, command) {
    const config = podConfig();
    const id = await runPod(call, config);
    const mounts = [{container_path: '/volume', host_path: volume()}];
    const {container_id} = await call('CreateContainer', {
        pod_sandbox_id: id, sandbox_config: config, config: containerConfig({image: IMAGE, command, mounts}),
    });
    await call('StartContainer', {container_id});
    const {status: {network: {ip}}} = await call('PodSandboxStatus', {pod_sandbox_id: id});
    return {id, ip, container_id};
}

async function figure(call, pod, ...words) {
    const {stdout, stderr, exit_code: code} =
        await call('ExecSync', {container_id: pod.container_id, cmd: ['/pod_io', ...words.map(String)], timeout: 280});
    if (code)
        throw new Error(`pod_io ${words.join(' ')}: ${code} ${stderr}`);
    return Number(stdout.toString());
}

// Files that no pod has read yet, in the node's page cache.
function newFiles() {
    fs.rmSync(volume(), {recursive: true, force: true});
    fs.mkdirSync(path.join(volume(), 'many'), {recursive: true});
    for (const name of ['read', 'readat', 'map', 'writeat'])
        fs.writeFileSync(path.join(volume(), name), Buffer.alloc(MIB << 20, name));
}

async function once(call) {
    newFiles();
    const server = await podWith(call, ['/pod_io', 'serve']);
    const pod = await podWith(call, ['/pod_io', 'serve']);
    const seconds = count('BENCH_IO_SECONDS', 3);
    const works = [
        ['stream', 'stream', server.ip, seconds],
        ['ask', 'ask', server.ip, seconds],
        ['read', 'read', '/volume/read'],
        ['write', 'write', '/volume/written', MIB],
        ['readat', 'readat', '/volume/readat', FILES],
        ['writeat', 'writeat', '/volume/writeat', FILES],
        ['map', 'map', '/volume/map'],
        ['make', 'make', '/volume/many', FILES],
        ['stat', 'stat', '/volume/many', FILES],
        ['remove', 'remove', '/volume/many', FILES],
        ['imageRead', 'read', '/data/large'],
        ['imageMap', 'map', '/data/mapped'],
        ['imageTree', 'tree', '/data/many'],
        ['ownWrite', 'write', '/written', MIB],
        ['ownMake', 'make', '/', FILES],
    ];
    await figure(call, pod, 'ask', server.ip, 1); // the first packets resolve addresses, and emulated code is translated
    const result = {};
    const wanted = process.env.BENCH_IO_WORKS?.split(' ');
    for (const [key, ...words] of works.filter(([name]) => !wanted || wanted.includes(name))) {
        result[key] = await figure(call, pod, ...words);
        say(`  ${words.join(' ')}: ${result[key]}`);
    }
    await endPod(call, pod.id);
    await endPod(call, server.id);
    return result;
}

// Where containerd runs as well, the turns are theirs, too.
async function measure(call) {
    const socket = path.join(runDir, 'containerd.sock');
    const theirs = fs.existsSync(socket) ? connect(socket) : null;
    const result = {flags: process.env.BENCH_FLAGS || '', ours: [], theirs: []};
    for (let i = 0; i < count('BENCH_IO', 3); i++) {
        result.ours.push(await once(call));
        say(`io ${i + 1}`);
        if (theirs) {
            result.theirs.push(await once(theirs));
            say(`io ${i + 1}, containerd`);
        }
    }
    return result;
}

const ROWS = [
    ['stream', 'network: stream between two pods, bytes a second', ''],
    ['ask', '  request and answer of a byte, a second', ''],
    ['read', `volume: read ${MIB} MiB`, 'ms'],
    ['write', `  write ${MIB} MiB, fsync`, 'ms'],
    ['readat', `  read 4 KiB at random places, ${FILES} times`, 'ms'],
    ['writeat', `  write 4 KiB at random places, ${FILES} times, fsync`, 'ms'],
    ['map', `  map ${MIB} MiB and read each page`, 'ms'],
    ['make', `  create ${FILES} files of 100 bytes`, 'ms'],
    ['stat', '  stat them', 'ms'],
    ['remove', '  remove them', 'ms'],
    ['imageRead', `image: read ${MIB} MiB`, 'ms'],
    ['imageMap', `  map ${MIB} MiB and read each page`, 'ms'],
    ['imageTree', `  read ${FILES} files of 4 KiB`, 'ms'],
    ['ownWrite', `writable layer: write ${MIB} MiB, fsync`, 'ms'],
    ['ownMake', `  create ${FILES} files of 100 bytes`, 'ms'],
];

function print({flags, ours, theirs}, row) {
    console.log(`network and files, ${ours.length} turns, flags: ${flags || 'none'}`);
    for (const [key, title, unit] of ROWS.filter(([name]) => name in ours[0]))
        row(theirs.length ? `${title} : containerd` : title, medianOf(ours, key), theirs.length ? medianOf(theirs, key) : null, '', unit);
}

module.exports = {measure, print};
