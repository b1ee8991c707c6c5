// SPDX-License-Identifier: Apache-2.0
'use strict';
// The option cpu: guests whose processor is a level of x86-64 (docs/cpu.md), here emulated. The test of two nodes has KVM.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const checkpoints = require('./support/checkpoints');
const {programs} = require('./support/environment');
const {Node} = require('./support/node');
const {command, eventually, refused} = require('./support/kit');

const config = `
[hypervisor]
accelerator = "tcg"

[handlers.two]
cpu = "x86-64-v2"

[handlers.three]
cpu = "x86-64-v3"

[handlers.four]
cpu = "x86-64-v4"
`;
const AVX512 = 'avx512f, avx512bw, avx512cd, avx512dq, avx512vl';

// The features of each level and those that protect guests, in the kernel's words, as emulation has them.
const V1 = ['apic', 'clflush', 'cmov', 'cx8', 'de', 'fpu', 'fxsr', 'lm', 'mca', 'mce', 'mmx', 'msr', 'mtrr', 'nx', 'pae', 'pat', 'pge',
            'pse', 'pse36', 'sep', 'sse', 'sse2', 'syscall', 'tsc'];
const V2 = [...V1, 'cx16', 'lahf_lm', 'pni', 'popcnt', 'rdtscp', 'sse4_1', 'sse4_2', 'ssse3'];
const V3 = [...V2, 'abm', 'aes', 'avx', 'avx2', 'bmi1', 'bmi2', 'f16c', 'fma', 'fsgsbase', 'movbe', 'pclmulqdq', 'xsave', 'xsaveopt'];
const PROTECTIONS = ['rdrand', 'smap', 'smep', 'umip'];
// What kernels say of every guest, or of every processor of AMD, whatever its features are.
const NOT_FEATURES = ['3dnowprefetch', 'cpuid', 'extd_apicid', 'hypervisor', 'nopl', 'rep_good', 'vmmcall'];

let node;
before(async () => { node = await Node.start({templates: true, config}); });
after(() => node.end());
afterEach(() => node.removeAllPods());

async function run(handler) {
    const pod = await node.runPod({}, handler);
    return {pod, container: await node.runContainer(pod, 'n=0; while sleep 0.1; do n=$((n + 1)); echo $n; echo $n > /count; done')};
}

async function processor(handler) {
    const {container} = await run(handler);
    const lines = (await node.output(container, 'cat /proc/cpuinfo')).split('\n').map((line) => line.split(/\s*:\s*/));
    return Object.fromEntries(lines);
}

for (const [handler, level, flags] of [['two', 'x86-64-v2', V2], ['three', 'x86-64-v3', V3]]) {
    test(`a guest of ${level} has the features of the level and those that protect it, and no others`, async () => {
        const facts = await processor(handler);
        assert.strictEqual(facts['model name'], level);
        assert.strictEqual(facts.vendor_id, 'AuthenticAMD');
        assert.strictEqual(`${facts['cpu family']} ${facts.model} ${facts.stepping}`, '15 107 1');
        const seen = facts.flags.split(' ').filter((flag) => !NOT_FEATURES.includes(flag));
        assert.deepStrictEqual(seen.sort(), [...flags, ...PROTECTIONS].sort());
    });
}

const inputs = (saved) => JSON.parse(fs.readFileSync(path.join(saved, 'manifest.json'))).vm.inputs;
const count = async (container) => Number(await node.output(container, 'cat /count 2>/dev/null || echo 0'));

async function save(handler) {
    const {pod, container} = await run(handler);
    await eventually('it counts', async () => await count(container) > 3);
    const saved = await checkpoints.checkpoint(node, pod, [container]);
    return {container, saved, counted: await count(container)};
}

const restore = ({saved, container}, handler) =>
    checkpoints.restore(node, saved, [container], {request: {runtime_handler: handler}});

test('a checkpoint names the level and not the node, goes on with it, and is refused with another by its name', async () => {
    const two = await save('two');
    const host = await save('');
    assert.strictEqual(inputs(two.saved).processor, 'x86-64-v2, emulated, with rdrand smep smap umip');
    assert.match(inputs(two.saved).time_stamp, /^\d+ kHz$/);
    await refused(restore(two, 'three'), 'FAILED_PRECONDITION', 'processor: the checkpoint has "x86-64-v2, emulated',
                  'this node has "x86-64-v3, emulated');
    await refused(restore(two, ''), 'FAILED_PRECONDITION', 'processor: the checkpoint has "x86-64-v2', 'this node has "emulated"');
    await refused(restore(host, 'two'), 'FAILED_PRECONDITION', 'processor: the checkpoint has "emulated"', 'x86-64-v2');

    const {containers: [restored]} = await restore(two, 'two');
    await node.cri.call('StartContainer', {container_id: restored.id});
    await eventually('it goes on', async () => await count(restored) > two.counted);
    assert.strictEqual(await node.output(restored, 'grep -c avx /proc/cpuinfo || true'), '0');
});

test('a checkpoint is refused where the time stamp counter of emulated guests has another rate', async () => {
    const two = await save('two');
    const file = path.join(two.saved, 'manifest.json');
    const manifest = JSON.parse(fs.readFileSync(file));
    const khz = parseInt(manifest.vm.inputs.time_stamp, 10);
    const claim = (factor) => fs.writeFileSync(file, JSON.stringify({...manifest, vm: {
        ...manifest.vm, inputs: {...manifest.vm.inputs, time_stamp: `${Math.round(khz * factor)} kHz`},
    }}));
    claim(1.01);
    await refused(restore(two, 'two'), 'FAILED_PRECONDITION', 'time_stamp: the checkpoint has');
    claim(1.0001);
    await restore(two, 'two');
});

test('a pod that is older than a change of its handler keeps its processor and accelerator, saved and hibernated', async () => {
    const {pod, container} = await run('two');
    const sleeper = await run('two');
    await node.cri.call('HibernatePod', {pod_sandbox_id: sleeper.pod.id});
    fs.writeFileSync(node.configFile, config.replace(
        '[handlers.two]\ncpu = "x86-64-v2"', '[handlers.two]\naccelerator = "kvm"\ncpu = "x86-64-v3"'));
    await node.restartDaemon();
    const saved = await checkpoints.checkpoint(node, pod, [container]);
    assert.match(inputs(saved).processor, /^x86-64-v2,/);
    assert.strictEqual(inputs(saved).accelerator, 'tcg');
    await node.cri.call('WakePod', {pod_sandbox_id: sleeper.pod.id});
    assert.match(fs.readFileSync(`/proc/${node.qemuPid(sleeper.pod)}/cmdline`, 'latin1'), /x86_64-cpu\.model-id=x86-64-v2/);
    fs.writeFileSync(node.configFile, config);
    await node.restartDaemon();
    await restore({saved, container}, 'two');
});

test('each processor has a template of its own, which names it', async () => {
    const directory = path.join(node.stateDir, 'templates');
    const processors = () => fs.readdirSync(directory).filter((name) => !name.includes('.')).map((key) =>
        JSON.parse(fs.readFileSync(path.join(directory, key, 'manifest.json'))).inputs.processor);
    await run('two');
    await eventually('there is a template for it', () => processors().includes('x86-64-v2, emulated, with rdrand smep smap umip'));
    assert.strictEqual(new Set(processors()).size, processors().length);
    const {pod} = await run('two');
    const {info} = await node.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true});
    assert.strictEqual(JSON.parse(info.start), 'restored');
    await node.restartDaemon();
    assert.ok(processors().some((text) => text.startsWith('x86-64-v2')), 'a restart keeps it');
});

test('a level that the node does not have is refused by the names of the features', async () => {
    await refused(node.runPod({}, 'four'), 'FAILED_PRECONDITION', 'cpu: x86-64-v4', AVX512);
    assert.match(node.daemonLog(), new RegExp(`handler four: cpu: x86-64-v4 .*: ${AVX512}`));

    const words = node.daemonWords(['--guest-cpu=x86-64-v4']);
    const checked = await node.run(...words, '--check-config');
    assert.match(checked.stdout, new RegExp(`error: guest.cpu: x86-64-v4 .*: ${AVX512}`));
    await node.stopDaemon();
    const started = await node.run(...words);
    assert.notStrictEqual(started.code, 0);
    assert.match(started.stderr, new RegExp(`handler vm: cpu: x86-64-v4 .*: ${AVX512}`));
    await node.startDaemon();

    const doctor = await command(programs.crivirt, ['doctor', '--config', node.configFile]);
    assert.match(doctor.stdout, new RegExp(`handler four: x86-64-v4 .*: ${AVX512}`));
    assert.match(doctor.stdout, /handler three: x86-64-v3, emulated/);
});
