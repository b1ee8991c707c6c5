// SPDX-License-Identifier: Apache-2.0
'use strict';
// Orphans, which are what is on the node for pods that the daemon has no record of. `crivirt gc` and the start of a daemon
// remove them and nothing else.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {must, hierarchies} = require('./support/kit');

const ID = '0123456789abcdef'.repeat(4);
const SHORT = ID.slice(0, 24);
let node, pod, container, volume, precious;
before(async () => {
    node = await Node.start();
    volume = path.join(node.dir, 'volume');
    precious = path.join(volume, 'precious');
    fs.mkdirSync(volume);
    fs.writeFileSync(precious, 'data');
    pod = await node.runPod();
    container = await node.runContainer(pod, {mounts: [{container_path: '/v', host_path: volume}]});
});
after(() => node.end());

// Makes orphans as a lost state database would leave them. A volume is mounted in the share.
function leave() {
    const at = (...parts) => path.join(...parts);
    const orphans = {
        vm: at(node.runDir, 'vm', SHORT), share: at(node.runDir, 'share', SHORT),
        netns: at(node.runDir, 'netns', SHORT), pods: at(node.stateDir, 'pods', SHORT),
        log: at(node.stateDir, 'libvirt/log/qemu', `${ID}.log`), server: at(node.runDir, `${ID.slice(0, 20)}.fs.log`),
        half: at(node.runDir, 'share', `${SHORT}.server.abcdef`),
    };
    for (const directory of [orphans.vm, orphans.pods, at(orphans.share, ID, '0')])
        fs.mkdirSync(directory, {recursive: true});
    fs.writeFileSync(at(orphans.pods, 'upper.ext4'), '');
    must('mount', '--bind', orphans.share, orphans.share);
    must('mount', '--bind', volume, at(orphans.share, ID, '0'));
    for (const file of [orphans.netns, orphans.log, orphans.server, orphans.half])
        fs.writeFileSync(file, '');
    must('unshare', `--net=${orphans.netns}`, 'true');
    return Object.values(orphans);
}

// A tap that was created and not yet moved carries the owner tag of the daemon that created it.
const tap = `cv${ID.slice(0, 12)}`;
const othersTap = `cv${ID.slice(4, 16)}`;
function leaveTap(name, tag) {
    must('ip', '-n', node.netns, 'tuntap', 'add', 'dev', name, 'mode', 'tap');
    must('ip', '-n', node.netns, 'link', 'set', name, 'alias', tag);
    return `interface ${name}`;
}
const leaveOurTap = () => leaveTap(tap, fs.readFileSync(path.join(node.stateDir, 'owner'), 'utf8'));
const leaveOthersTap = () => leaveTap(othersTap, `crivirt-${ID.slice(0, 16)}`);
const interfaces = () => JSON.parse(must('ip', '-n', node.netns, '-j', 'link')).map(({ifname}) => ifname);
function onlyOthersTapIsLeft() {
    assert.ok(!interfaces().includes(tap));
    assert.ok(interfaces().includes(othersTap));
    must('ip', '-n', node.netns, 'link', 'del', othersTap);
}

// Files whose names are not those of the daemon's things.
function foreign() {
    const files = [path.join(node.runDir, 'vm', 'notes'), path.join(node.stateDir, 'pods', 'README'),
                   path.join(node.runDir, 'netns', 'cafe')];
    for (const file of files)
        fs.writeFileSync(file, '');
    return files;
}

async function untouched(others) {
    for (const file of [...others, precious])
        assert.ok(fs.existsSync(file), `${file} is gone`);
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_READY');
    assert.strictEqual(await node.output(container, 'cat /v/precious'), 'data');
}

test('crivirt gc --dry-run lists the orphans, and crivirt gc removes them and nothing else', async () => {
    const orphans = leave();
    const interfaceOfOurs = leaveOurTap();
    leaveOthersTap();
    const others = foreign();
    const shown = await node.cli('gc', '--dry-run');
    assert.strictEqual(shown.code, 0, shown.stderr);
    for (const file of orphans) {
        assert.ok(shown.stdout.includes(`would remove ${file}`), `${file} is not shown: ${shown.stdout}`);
        assert.ok(fs.existsSync(file));
    }
    assert.ok(shown.stdout.includes(`would remove ${interfaceOfOurs},`));
    for (const name of [...others, othersTap])
        assert.ok(!shown.stdout.includes(name));
    assert.ok(!shown.stdout.includes(pod.id.slice(0, 20)), shown.stdout);
    const done = await node.cli('gc', '--json');
    assert.strictEqual(done.code, 0, done.stderr);
    assert.deepStrictEqual(JSON.parse(done.stdout).orphans.sort(), [...orphans, interfaceOfOurs].sort());
    onlyOthersTapIsLeft();
    for (const file of orphans)
        assert.ok(!fs.existsSync(file), `${file} is still there`);
    await untouched(others);
    assert.deepStrictEqual(JSON.parse((await node.cli('gc', '--json')).stdout).orphans, []);
    for (const file of others)
        fs.rmSync(file);
});

test('a daemon removes orphans at its start', async () => {
    await node.stopDaemon();
    const orphans = leave();
    leaveOurTap();
    leaveOthersTap();
    const others = foreign();
    await node.startDaemon();
    onlyOthersTapIsLeft();
    for (const file of orphans)
        assert.ok(!fs.existsSync(file), `${file} is still there`);
    await untouched(others);
    for (const file of others)
        fs.rmSync(file);
});

test('a daemon that lost the rows of a pod removes everything of that pod', async () => {
    const parent = `/crivirt-test-gc-${process.pid}`;
    const cgroups = (name) => hierarchies().map((root) => `${root}${parent}/${name}`);
    const lost = await node.runPod({linux: {cgroup_parent: parent}});
    for (const directory of cgroups(`crivirt-${SHORT}`)) // without an owner tag
        fs.mkdirSync(directory);
    await node.runContainer(lost, {mounts: [{container_path: '/v', host_path: volume}]});
    await node.stopDaemon('SIGKILL');
    const database = path.join(node.stateDir, 'state.db');
    must('sqlite3', database, `DELETE FROM containers WHERE pod_id = '${lost.id}'; DELETE FROM pod_disks WHERE pod_id = '${lost.id}'; DELETE FROM pods WHERE id = '${lost.id}'`);
    await node.startDaemon();
    assert.deepStrictEqual((await node.cri.call('ListPodSandbox')).items.map(({id}) => id), [pod.id]);
    assert.ok(!node.qemuPid(lost));
    assert.deepStrictEqual(node.orphans([pod.id]), []);
    await untouched([]);
    for (const directory of cgroups(`crivirt-${lost.id.slice(0, 24)}`))
        assert.ok(!fs.existsSync(directory), `${directory} is still there`);
    for (const directory of [...cgroups(`crivirt-${SHORT}`), ...cgroups('')])
        fs.rmdirSync(directory);
});
