// SPDX-License-Identifier: Apache-2.0
// Starts and removes pods with a container, several at a time, in two rounds. At the end nothing is left of them on the node, and
// the daemon uses as much memory after the second round as after the first. The rate is compared with that of QEMU alone, of
// which as many are booted and killed at a time.
'use strict';
const {execFileSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const {
    work, runDir, daemonPid, count, now, sleep, say, podConfig, runPod, endPod, containerConfig, cmdline, processes, kib, bareBoot,
    atOnce,
} = require('./lib');
const {warmUp} = require('./starts');

// ---- things on the node ----

function files(directory) {
    let entries;
    try {
        entries = fs.readdirSync(directory, {withFileTypes: true});
    } catch {
        return []; // it went meanwhile
    }
    return entries.flatMap((entry) => {
        const file = path.join(directory, entry.name);
        return entry.isDirectory() && !entry.isSymbolicLink() ? [file, ...files(file)] : [file];
    });
}

const output = (file, ...words) => execFileSync(file, words, {encoding: 'utf8'}).split('\n').filter(Boolean);

function rows() {
    const database = `file:${path.join(work, 'state/state.db')}?mode=ro`;
    return ['pods', 'containers', 'pod_disks'].flatMap((table) => output('sqlite3', database, `SELECT '${table}', * FROM ${table}`));
}

// The number of things of each kind. The VMs of the pool and the template exist before and after.
function inventory() {
    const ours = (text) => text.includes(work) || text.includes(runDir);
    return {
        processes: processes().filter((pid) => pid !== process.pid && ours(cmdline(pid).join(' '))).length,
        mounts: output('cat', '/proc/self/mountinfo').filter(ours).length,
        'network namespaces': files(path.join(runDir, 'netns')).length,
        interfaces: output('ip', '-o', 'link').length,
        'packet filter rules': output('sh', '-c', 'iptables-save | grep -v "^[#:]"; true').length,
        addresses: files(path.join(work, 'ipam')).length,
        cgroups: files('/sys/fs/cgroup').filter((file) => /crivirt-[0-9a-f]{12}[^/]*$/.test(file)).length,
        'loop devices': output('losetup', '-a').filter(ours).length,
        'files of state': files(path.join(work, 'state')).length,
        'files of run': files(runDir).length,
        'rows of state': rows().length,
    };
}

const difference = (before, afterwards) => Object.fromEntries(
    Object.keys(before).map((key) => [key, afterwards[key] - before[key]]).filter(([, n]) => n !== 0));

// The pool is filled in the background.
async function settled(before) {
    let left;
    for (let i = 0; i < 60; i++) {
        left = difference(before, inventory());
        if (Object.keys(left).length === 0)
            break;
        await sleep(500);
    }
    return left;
}

// ---- the rounds ----

async function podOnce(call) {
    const config = podConfig();
    const id = await runPod(call, config);
    const {container_id} =
        await call('CreateContainer', {pod_sandbox_id: id, config: containerConfig(), sandbox_config: config});
    await call('StartContainer', {container_id});
    await endPod(call, id);
}

async function rate(n, workers, work) {
    const begin = now();
    await atOnce(n, workers, work);
    return n / (now() - begin) * 1000;
}

const size = () => ({
    rss: kib(daemonPid, 'status', 'VmRSS') / 1024, anonymous: kib(daemonPid, 'status', 'RssAnon') / 1024,
    descriptors: fs.readdirSync(`/proc/${daemonPid}/fd`).length, threads: kib(daemonPid, 'status', 'Threads'),
});

async function measure(call) {
    const workers = count('BENCH_CHURN_AT_ONCE', 4);
    const n = Math.ceil(count('BENCH_CHURN', 100) / 2);
    const words = await warmUp(call, 'restored');
    await atOnce(2 * workers, workers, () => podOnce(call));
    await sleep(3000);
    const before = inventory();
    say(`before: ${JSON.stringify(before)}`);
    const rounds = [];
    const sizes = [size()];
    const bare = [await rate(2 * workers, workers, () => bareBoot(words))];
    for (let round = 0; round < 2; round++) {
        rounds.push(await rate(n, workers, () => podOnce(call)));
        sizes.push(size());
        say(`churn ${round + 1}: ${rounds[round].toFixed(2)} pods/s, crivirtd ${JSON.stringify(sizes[round + 1])}`);
    }
    bare.push(await rate(2 * workers, workers, () => bareBoot(words)));
    return {n: 2 * n, workers, rounds, bare, sizes, left: await settled(before)};
}

function print({n, workers, rounds, bare, sizes, left}, row) {
    const average = (list) => list.reduce((sum, value) => sum + value, 0) / list.length;
    const leaks = Object.entries(left).map(([kind, number]) => `${kind} ${number > 0 ? '+' : ''}${number}`).join(', ');
    row(`${n} pods with a container made and removed, ${workers} at a time`, average(rounds), average(bare), '', '/s', 2);
    row('  RSS of crivirtd after the second half : after the first', sizes[2].rss, sizes[1].rss, '1.0', 'MiB', 1);
    row('    of which its own', sizes[2].anonymous, sizes[1].anonymous, '1.0', 'MiB', 1);
    row('  descriptors of crivirtd', sizes[2].descriptors, sizes[1].descriptors, '1.0', '');
    console.log(`  left behind: ${leaks || 'nothing'}`);
}

module.exports = {measure, print};
