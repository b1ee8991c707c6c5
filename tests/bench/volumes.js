// SPDX-License-Identifier: Apache-2.0
// Files of a volume (pod_io.c, from within) with each mode of guest.volume_cache, beside the same directory without a VM: bound
// into a pod of containerd where that runs, else by a process of the node. All are in turns, in an order that rotates, and each
// turn has new files, which are in the node's page cache. "Again" is a second run over the same files.
'use strict';
const {execFileSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const {work, runDir, count, say, connect, podConfig, runPod, endPod, containerConfig, medianOf} = require('./lib');

const MIB = count('BENCH_IO_MIB', 32);       // of a file
const FILES = count('BENCH_IO_FILES', 2000); // in a directory, and how often 4 KiB are read
const MODES = ['auto', 'always', 'never'];   // handlers, which run.sh configures

const root = () => path.join(work, 'modes'); // `work` is not set where results are printed only

// [key, title, words for pod_io in the directory of a turn]
const WORKS = [
    ['read', `read ${MIB} MiB`, ['read', 'one']],
    ['readAgain', '  again', ['read', 'one']],
    ['write', `write ${MIB} MiB, fsync`, ['write', 'written', MIB]],
    ['readat', `read 4 KiB at random places, ${FILES} times`, ['readat', 'two', FILES]],
    ['readatAgain', '  again', ['readat', 'two', FILES]],
    ['writeat', `write 4 KiB at random places, ${FILES} times, fsync`, ['writeat', 'two', FILES]],
    ['map', `map ${MIB} MiB and read each page`, ['map', 'three']],
    ['mapAgain', '  again', ['map', 'three']],
    ['make', `create ${FILES} files of 100 bytes`, ['make', 'many', FILES]],
    ['stat', '  stat them', ['stat', 'many', FILES]],
    ['tree', '  list and read them', ['tree', 'many']],
    ['treeAgain', '  again', ['tree', 'many']],
    ['statAgain', '  stat them again', ['stat', 'many', FILES]],
    ['remove', '  remove them', ['remove', 'many', FILES]],
];

async function podPlace(call, name, handler) {
    const config = podConfig();
    const id = await runPod(call, config, handler);
    const mounts = [{container_path: '/volume', host_path: path.join(root(), name)}];
    const {container_id} = await call('CreateContainer', {
        pod_sandbox_id: id, sandbox_config: config,
        config: containerConfig({image: {image: 'bench.local/pod_io:1'}, command: ['/pod_io', 'serve'], mounts}),
    });
    await call('StartContainer', {container_id});
    const run = async (words) => {
        const {stdout, stderr, exit_code: code} = await call('ExecSync', {container_id, cmd: ['/pod_io', ...words], timeout: 280});
        if (code)
            throw new Error(stderr.toString());
        return stdout.toString();
    };
    return {name, where: '/volume', run, end: () => endPod(call, id)};
}

const nodePlace = (name) => ({
    name, where: path.join(root(), name), end: () => {},
    run: async (words) => execFileSync(path.join(work, 'pod_io'), words, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']}),
});

async function once(place, turn) {
    const directory = path.join(root(), place.name, turn);
    fs.mkdirSync(path.join(directory, 'many'), {recursive: true});
    for (const name of ['one', 'two', 'three'])
        fs.writeFileSync(path.join(directory, name), Buffer.alloc(MIB << 20, name));
    const result = {};
    for (const [key, , [what, name, ...more]] of WORKS) {
        const words = [what, path.join(place.where, turn, name), ...more.map(String)];
        // Without a cache there are no shared mappings.
        if (place.name === 'never' && what === 'map')
            continue;
        result[key] = Number(await place.run(words));
    }
    fs.rmSync(directory, {recursive: true});
    return result;
}

async function measure(call) {
    const socket = path.join(runDir, 'containerd.sock');
    const peer = fs.existsSync(socket) ? 'containerd' : 'the node itself';
    for (const name of [...MODES, 'peer'])
        fs.mkdirSync(path.join(root(), name), {recursive: true});
    const places = [peer === 'containerd' ? await podPlace(connect(socket), 'peer', '') : nodePlace('peer')];
    for (const mode of MODES)
        places.push(await podPlace(call, mode, mode));
    const turns = [];
    for (const place of places)
        await once(place, 'warm-up'); // emulated code is translated
    for (let i = 0; i < count('BENCH_IO', 3); i++) {
        const turn = {};
        for (let j = 0; j < places.length; j++) {
            const place = places[(i + j) % places.length];
            turn[place.name] = await once(place, `turn${i}`);
        }
        turns.push(turn);
        say(`volumes, turn ${i + 1}`);
    }
    for (const place of places)
        await place.end();
    return {peer, turns};
}

function print({peer, turns}) {
    const of = (mode, key) => key in turns[0][mode] ? medianOf(turns, (turn) => turn[mode][key]) : null;
    const show = (value, unit, digits) => (value === null ? '-' : `${value.toFixed(digits)}${unit}`).padStart(11);
    console.log(`volumes by guest.volume_cache, ${turns.length} turns; bind: in ${peer}`);
    console.log(['', 'bind', 'auto', 'auto:bind', 'always:auto', 'never:auto'].map((text, i) => i ? text.padStart(11) : text.padEnd(58)).join(' '));
    for (const [key, title] of WORKS) {
        const bind = of('peer', key), auto = of('auto', key), never = of('never', key);
        console.log([title.padEnd(58), show(bind, ' ms', 1), show(auto, ' ms', 0), show(auto / bind, '', 0), show(of('always', key) / auto, '', 2),
                     show(never === null ? null : never / auto, '', 2)].join(' '));
    }
}

module.exports = {measure, print};
