// SPDX-License-Identifier: Apache-2.0
'use strict';
// The QEMU of the pods: crivirt's own (deploy/qemu) where it is built, and Debian's, which the other tests do not use.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {qemu, programs} = require('./support/environment');
const {command, eventually, must, refused} = require('./support/kit');

const DEBIAN = 'debian';
const own = path.isAbsolute(qemu) && qemu;
const skip = !own && "crivirt's own QEMU is not built";
let node;

before(async () => {
    node = await Node.start({templates: true, flags: ['--guest-vm-pool-size=0']});
});
after(() => node.end());
afterEach(() => node.removeAllPods());

async function useQemu(wish) {
    node.flags = [...node.flags.filter((flag) => !flag.startsWith('--qemu=')), `--qemu=${wish}`];
    await node.restartDaemon();
}
const status = async () => JSON.parse((await node.cri.call('Status', {verbose: true})).info.qemu);
const program = (pod) => fs.readlinkSync(`/proc/${node.qemuPid(pod)}/exe`);
const templates = async () => JSON.parse((await node.cri.call('Status', {verbose: true})).info.templates);
const aTemplate = () => eventually('there is a template', async () => (await templates()).ready >= 1);
const startedHow = async (pod) =>
    JSON.parse((await node.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true})).info.start);

test('Status and doctor report which QEMU the pods get, and a pod runs with Debian\'s as well', async () => {
    await useQemu(DEBIAN);
    const {path: file, version, own: isOwn} = await status();
    assert.strictEqual(isOwn, false);
    assert.ok(must(file, '--version').startsWith(`QEMU emulator version ${version}\n`));
    const pod = await node.runPod();
    const container = await node.runContainer(pod);
    assert.strictEqual(program(pod), fs.realpathSync(file));
    assert.strictEqual(await node.output(container, 'echo it runs'), 'it runs');
    const config = path.join(node.dir, 'doctor.toml');
    fs.writeFileSync(config, '[hypervisor]\nqemu = "debian"\n');
    const {stdout} = await command(programs.crivirt, ['doctor', '--config', config]);
    assert.ok(stdout.includes(`QEMU: not crivirt's own: ${file}, version ${version}\n`), stdout);
});

test("crivirt's own QEMU has the devices of a guest and few others, and twelve libraries at most", {skip}, async () => {
    await useQemu(own);
    const {path: file, version, own: isOwn} = await status();
    assert.deepStrictEqual([file, isOwn], [own, true]);
    assert.match(version, /, crivirt [0-9a-f]{16}\)$/);
    const pod = await node.runPod();
    const pid = node.qemuPid(pod);
    assert.strictEqual(program(pod), fs.realpathSync(own));
    const maps = fs.readFileSync(`/proc/${pid}/maps`, 'utf8').match(/\S+\.so\S*/g);
    assert.ok(new Set(maps).size <= 12, [...new Set(maps)].join(' '));
    const devices = must(own, '-device', 'help').match(/^name "[^"]+"/gm).filter((name) => !name.endsWith('-cpu"'));
    for (const name of ['virtio-vga', 'e1000', 'usb-host', 'qxl', 'nvme', 'ivshmem-plain', 'tpm-tis', 'sdhci-pci', 'virtio-blk-pci', 'AC97'])
        assert.ok(!devices.includes(`name "${name}"`), name);
    assert.ok(devices.length <= 48, devices.join(' '));
});

test('a pod runs on, and is recovered, when the next daemon uses the other QEMU; new pods get that one', {skip}, async () => {
    for (const [first, second] of [[own, DEBIAN], [DEBIAN, own]]) {
        await useQemu(first);
        const pod = await node.runPod();
        const container = await node.runContainer(pod);
        const [pid, file] = [node.qemuPid(pod), program(pod)];
        await useQemu(second);
        assert.strictEqual(await node.output(container, 'echo on'), 'on');
        assert.deepStrictEqual([node.qemuPid(pod), program(pod)], [pid, file]);
        const another = await node.runContainer(pod); // attaches disks
        assert.strictEqual(await node.output(another, 'echo too'), 'too');
        const next = await node.runPod();
        assert.notStrictEqual(program(next), file);
        await node.removePod(pod);
        assert.ok(!fs.existsSync(`/proc/${pid}`));
    }
});

test('a pod is recovered although its QEMU is not installed any more', {skip}, async () => {
    const copy = path.join(node.dir, 'copy/lib/crivirt/qemu-system-x86_64');
    must('install', '-D', own, copy);
    fs.symlinkSync('/usr/share', path.join(node.dir, 'copy/share'));
    await useQemu(copy);
    const pod = await node.runPod();
    const container = await node.runContainer(pod);
    const pid = node.qemuPid(pod);
    fs.rmSync(copy);
    await useQemu(DEBIAN);
    assert.strictEqual(await node.output(container, 'echo on'), 'on');
    const another = await node.runContainer(pod);
    assert.strictEqual(await node.output(another, 'echo too'), 'too');
    await node.removePod(pod);
    assert.ok(!fs.existsSync(`/proc/${pid}`));
});

test('a template is of one QEMU, and a hibernated pod wakes only where the same one runs it', {skip}, async () => {
    await useQemu(own);
    await node.removePod(await node.runPod());
    await aTemplate();
    assert.strictEqual(await startedHow(await node.runPod()), 'restored');
    const pod = await node.runPod();
    const container = await node.runContainer(pod);
    await node.cri.call('HibernatePod', {pod_sandbox_id: pod.id});
    await useQemu(DEBIAN);
    assert.strictEqual(await startedHow(await node.runPod()), 'booted');
    await refused(node.cri.call('WakePod', {pod_sandbox_id: pod.id}), 'FAILED_PRECONDITION',
                  'it cannot go on here: versions: the saved memory has', '(crivirt)');
    await useQemu(own);
    assert.strictEqual(await node.output(container, 'echo awake'), 'awake');
});

test('a QEMU that cannot be used is refused at the start, by its name and the reason', async () => {
    const file = path.join(node.dir, 'qemu-system-x86_64');
    fs.writeFileSync(file, '#!/bin/sh\necho broken >&2\nexit 3\n', {mode: 0o755});
    for (const [wish, reason] of [['newest', '"newest" is not auto, debian or an absolute path'],
                                  ['/nonexistent/qemu-system-x86_64', 'cannot run /nonexistent/qemu-system-x86_64: No such file'],
                                  [file, `QEMU does not run: ${file} failed with exit code 3: broken`]]) {
        const [daemon, ...words] = node.daemonWords([`--qemu=${wish}`, '--check-config']);
        const {code, stdout, stderr} = await command(daemon, words, {});
        assert.notStrictEqual(code, 0);
        assert.ok((stdout + stderr).includes(`hypervisor.qemu: ${reason}`), stdout + stderr);
    }
});
