// SPDX-License-Identifier: Apache-2.0
'use strict';
// What the daemon's children get instead of what the daemon has: common/children.def. The daemon of this file has a score of
// the OOM killer that none of its children may have. Where the kernel allows it, that is the one of its unit.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {programs} = require('./support/environment');
const {Node} = require('./support/node');
const {eventually, listing} = require('./support/kit');
const {processesOf} = require('./support/processes');

const OWN = '/proc/self/oom_score_adj';
const scoreOf = (pid) => Number(fs.readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8'));
// Whether a process may have transparent huge pages, "1" or "0".
const hugePagesOf = (status) => /^THP_enabled:\s+([01])$/m.exec(status)[1];
const statusOf = (pid) => fs.readFileSync(`/proc/${pid}/status`, 'utf8');
// Where guests may have them, the daemon leaves the kernel's choice alone.
const SHMEM = '/sys/kernel/mm/transparent_hugepage/shmem_enabled';
const givesUpHugePages = !fs.existsSync(SHMEM) || /\[(never|deny)\]/.test(fs.readFileSync(SHMEM, 'utf8'));
const nameOf = (pid) => fs.readFileSync(`/proc/${pid}/comm`, 'utf8').trim();

function takeScore(score) {
    try {
        fs.writeFileSync(OWN, `${score}`);
        return true;
    } catch {
        return false; // without CAP_SYS_RESOURCE
    }
}

const ownBefore = scoreOf('self');
const isProtected = takeScore(-999);
const DAEMON = isProtected ? -999 : 345;
fs.writeFileSync(OWN, `${ownBefore}`);
// Without CAP_SYS_RESOURCE the daemon cannot protect anything.
const lowered = (score) => isProtected || score >= 0 ? score : 0;

let node, plugins;
const flags = ['--host-pods=always', `--host-agent=${programs.agent}`];
before(async () => {
    fs.writeFileSync(OWN, `${DAEMON}`); // which the daemon inherits
    try {
        node = new Node({flags, env: ['NOTIFY_SOCKET=/run/nobody']});
        plugins = path.join(node.dir, 'plugins');
        fs.mkdirSync(plugins);
        fs.writeFileSync(path.join(plugins, 'witness'), `#!/bin/bash
config=$(cat)
cat /proc/self/oom_score_adj > ${plugins}/score
echo "$NOTIFY_SOCKET" > ${plugins}/notify
[ "$CNI_COMMAND" != ADD ] || jq .prevResult <<<"$config"
`, {mode: 0o755});
        node.flags.push(`--cni-plugin-dirs=${plugins},/opt/cni/bin,/usr/lib/cni`);
        node.makeNetwork({plugins: ['witness']});
        await node.startDaemon();
    } finally {
        fs.writeFileSync(OWN, `${ownBefore}`);
    }
    await node.loadBusybox();
});
after(() => node.end());

const daemonPid = () => processesOf(node).find(({words}) => words[0].endsWith('/crivirtd')).pid;
// The processes of a pod's VM by name. Those of fsguard and virtiofsd are two each.
const processesOfVm = (pod) => processesOf(node).filter(({words}) => words.join(' ').includes(pod.id.slice(0, 20)))
    .map(({pid}) => pid).filter((pid) => !/^(crivirtd|crivirt-agent|crun|conmon)/.test(nameOf(pid)));
const scoresOfVm = (pod) => {
    const scores = {};
    for (const pid of processesOfVm(pod))
        (scores[nameOf(pid).replace(/-.*/, '')] ||= new Set()).add(scoreOf(pid));
    return Object.fromEntries(Object.entries(scores).map(([name, set]) => [name, [...set]]));
};
// All processes that the daemon has started, and those that they have started.
function descendants(pid) {
    return listing(`/proc/${pid}/task`).flatMap((task) => {
        try {
            return fs.readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
        } catch {
            return []; // it has ended
        }
    }).flatMap((child) => [child, ...descendants(child)]);
}

const withScore = (oom_score_adj, more = {}) => ({linux: {resources: {oom_score_adj}}, ...more});
const volume = () => {
    const dir = path.join(node.dir, 'volume');
    fs.mkdirSync(dir, {recursive: true});
    return {mounts: [{host_path: dir, container_path: '/volume'}]};
};

test('no child of the daemon has the daemon\'s score; the VM and its file server have the lowest of its containers\', and fsguard is spared', async () => {
    assert.strictEqual(scoreOf(daemonPid()), DAEMON);
    const pod = await node.runPod();
    assert.deepStrictEqual(scoresOfVm(pod), {qemu: [0]});
    await node.runContainer(pod, withScore(900, volume()));
    await eventually('fsguard has its standby', () => processesOfVm(pod).length >= 5);
    assert.deepStrictEqual(scoresOfVm(pod), {crivirt: [lowered(-998)], fsguard: [lowered(-998)], qemu: [900], virtiofsd: [900]});
    const second = await node.runContainer(pod, withScore(700, volume()));
    const first = await node.output(second, 'cat /proc/self/oom_score_adj');
    assert.strictEqual(first, '700');
    const {qemu, virtiofsd} = scoresOfVm(pod);
    assert.deepStrictEqual({qemu, virtiofsd}, {qemu: [700], virtiofsd: [700]});
    const children = descendants(daemonPid());
    assert.ok(children.length >= 5, `${children}`);
    assert.deepStrictEqual(children.filter((pid) => scoreOf(pid) === DAEMON).map(nameOf), []);
    await node.removePod(pod);
});

test('a VM has the score of its sandbox where the client gives one, and is never protected as the daemon is', async () => {
    const pod = await node.runPod(withScore(444));
    await node.runContainer(pod, withScore(900));
    assert.deepStrictEqual(scoresOfVm(pod), {qemu: [444]});
    await node.removePod(pod);
    const lowest = await node.runPod(withScore(-1000));
    assert.deepStrictEqual(scoresOfVm(lowest), {qemu: [lowered(-998)]});
    await node.removePod(lowest);
});

test('a VM follows UpdateContainerResources, and a restarted daemon gives it its score again', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod, withScore(800, volume()));
    await node.cri.call('UpdateContainerResources', {container_id: container.id, linux: {oom_score_adj: 600}});
    assert.deepStrictEqual(scoresOfVm(pod).qemu, [600]);
    assert.deepStrictEqual(scoresOfVm(pod).virtiofsd, [600]);
    fs.writeFileSync(OWN, `${DAEMON}`);
    try {
        const {code} = await node.stopDaemon();
        assert.strictEqual(code, 0);
        for (const pid of processesOfVm(pod))
            fs.writeFileSync(`/proc/${pid}/oom_score_adj`, '1000');
        await node.startDaemon();
    } finally {
        fs.writeFileSync(OWN, `${ownBefore}`);
    }
    assert.deepStrictEqual(scoresOfVm(pod).qemu, [600]);
    assert.deepStrictEqual(scoresOfVm(pod).virtiofsd, [600]);
    await node.removePod(pod);
});

test('QEMU, virtiofsd and fsguard are in the cgroup of their pod, and leave no core files', async () => {
    const cgroup_parent = `/${node.name}`;
    const pod = await node.runPod({linux: {cgroup_parent}});
    await node.runContainer(pod, volume());
    await eventually('fsguard has its standby', () => processesOfVm(pod).length >= 5);
    for (const pid of processesOfVm(pod)) {
        const cgroups = fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
        assert.ok(cgroups.some((line) => line.includes(`${cgroup_parent}/crivirt-`)), `${nameOf(pid)}: ${cgroups}`);
        assert.match(fs.readFileSync(`/proc/${pid}/limits`, 'utf8'), /^Max core file size +0 /m, nameOf(pid));
        if (nameOf(pid).startsWith('qemu'))
            assert.match(fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8'), /dump-guest-core=off/);
    }
    await node.removePod(pod);
    for (const hierarchy of listing('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}${cgroup_parent}`))
        if (fs.existsSync(hierarchy))
            fs.rmdirSync(hierarchy);
    if (fs.existsSync(`/sys/fs/cgroup${cgroup_parent}`))
        fs.rmdirSync(`/sys/fs/cgroup${cgroup_parent}`);
});

test('a CNI plugin has no score of the daemon, and does not learn where the daemon reports to its service manager', async () => {
    const pod = await node.runPod();
    assert.strictEqual(fs.readFileSync(path.join(plugins, 'score'), 'utf8'), '0\n');
    assert.strictEqual(fs.readFileSync(path.join(plugins, 'notify'), 'utf8'), '\n');
    await node.removePod(pod);
});

test('QEMU, virtiofsd and fsguard have no huge pages, which would make QEMU 20 MiB larger; containers of host pods may have them', async () => {
    const pod = await node.runPod();
    await node.runContainer(pod, volume());
    await eventually('fsguard has its standby', () => processesOfVm(pod).length >= 5);
    for (const pid of [daemonPid(), ...processesOfVm(pod)])
        assert.strictEqual(hugePagesOf(statusOf(pid)), givesUpHugePages ? '0' : '1', nameOf(pid));
    await node.removePod(pod);
    const linux = {security_context: {namespace_options: {network: 'NODE', pid: 'NODE', ipc: 'NODE'}}};
    const onNode = await node.runPod({linux});
    const container = await node.runContainer(onNode, {linux});
    assert.strictEqual(hugePagesOf(await node.output(container, 'cat /proc/self/status')), '1');
    await node.removePod(onNode);
});

test('the agent of a host pod is protected less than the daemon, its containers have the scores that the client gives', async () => {
    const namespace_options = {network: 'NODE', pid: 'NODE', ipc: 'NODE'};
    const linux = {security_context: {namespace_options}};
    const pod = await node.runPod({linux});
    const container = await node.runContainer(pod, {linux: {...linux, resources: {oom_score_adj: 300}}});
    const plain = await node.runContainer(pod, {linux});
    const agent = processesOf(node).find(({words}) => words[0] === programs.agent && words.join(' ').includes(pod.id.slice(0, 24)));
    assert.strictEqual(scoreOf(agent.pid), lowered(-998));
    assert.doesNotMatch(fs.readFileSync(`/proc/${agent.pid}/environ`, 'utf8'), /NOTIFY_SOCKET/);
    assert.strictEqual(await node.output(container, 'cat /proc/self/oom_score_adj'), '300');
    assert.strictEqual(await node.output(plain, 'cat /proc/self/oom_score_adj'), '0');
    assert.strictEqual(scoreOf(agent.pid), lowered(-998)); // also after it has started crun
    await node.removePod(pod);
});

test('the VM of a template and those of the pool are killed before those of pods', async () => {
    fs.writeFileSync(OWN, `${DAEMON}`);
    let one;
    try {
        one = await Node.start({templates: true, image: false, cni: false, flags: ['--guest-vm-pool-size=1']});
    } finally {
        fs.writeFileSync(OWN, `${ownBefore}`);
    }
    try {
        const qemus = () => processesOf(one).filter(({words}) => /qemu-system/.test(words[0])).map(({pid}) => pid);
        const report = async () => JSON.parse((await one.cri.call('Status', {verbose: true})).info.templates);
        const seen = new Set();
        await eventually('the VM pool is full', async () => {
            for (const pid of qemus())
                seen.add(scoreOf(pid));
            return (await report()).vmPool === 1;
        });
        assert.deepStrictEqual(qemus().map(scoreOf), [1000]);
        assert.ok(!seen.has(DAEMON), `${[...seen]}`);
    } finally {
        await one.end();
    }
});
