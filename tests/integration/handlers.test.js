// SPDX-License-Identifier: Apache-2.0
'use strict';
// How [handlers.NAME] of the configuration and the io.crivirt annotations of a pod change its VM, as the guest sees it.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {guests} = require('./support/environment');
const {Node} = require('./support/node');
const {refused} = require('./support/kit');

const MIB = 1024 * 1024;
const config = `
[guest]
memory = "160MiB"

[handlers.big]
vcpus = 2
max_vcpus = 2
memory = "320MiB"
max_memory = "512MiB"
kernel_parameters = "crivirt_test=big"
annotations = ["vcpus", "memory", "kernel-parameters"]
pod_kernel_parameters = ["crivirt_pod"]

[handlers.stock]
kernel = "${path.join(guests.stock, 'kernel')}"
initrd = "${path.join(guests.stock, 'initrd.img')}"
memory = "256MiB"
accelerator = "tcg"

[handlers.broken]
kernel = "/nonexistent/kernel"

[handlers.panics]
kernel_parameters = "rdinit=/nonexistent"
`;
let node;
before(async () => { node = await Node.start({config}); });
after(() => node.end());

const annotated = (name, value) => ({annotations: {[`io.crivirt.${name}`]: value}});

// Runs and removes a pod; what its guest reports of itself.
async function inspect(handler, more) {
    const pod = await node.runPod(more, handler);
    const container = await node.runContainer(pod, {});
    const facts = {
        handler: (await node.podStatus(pod)).runtime_handler,
        cpus: Number(await node.output(container, 'nproc')),
        mib: Number(await node.output(container, "awk '/MemTotal/ {print $2}' /proc/meminfo")) / 1024,
        kernel: await node.output(container, 'uname -r'),
        words: (await node.output(container, 'cat /proc/cmdline')).split(' '),
    };
    await node.removePod(pod);
    return facts;
}

// The kernel keeps some of the memory for itself.
function assertMemory(facts, mib) {
    assert.ok(facts.mib <= mib && facts.mib > mib * 0.7, `the guest has ${facts.mib} MiB, not about ${mib}`);
}

test('a pod without a handler gets the default handler, which the options describe', async () => {
    const facts = await inspect('');
    assert.strictEqual(facts.handler, 'vm');
    assert.strictEqual(facts.cpus, 1);
    assertMemory(facts, 160);
    assert.ok(!facts.words.some((word) => word.startsWith('crivirt_')));
});

test('a handler has a VM size and kernel parameters of its own', async () => {
    const facts = await inspect('big');
    assert.strictEqual(facts.handler, 'big');
    assert.strictEqual(facts.cpus, 2);
    assertMemory(facts, 320);
    assert.ok(facts.words.includes('crivirt_test=big'));
});

test('a handler has a kernel of its own', async () => {
    const [own, other] = [await inspect('vm'), await inspect('stock')];
    assert.notStrictEqual(own.kernel, other.kernel);
    assert.doesNotMatch(other.kernel, /crivirt/);
});

test('annotations that the handler allows set processors, memory and kernel parameters', async () => {
    const facts = await inspect('big', {
        annotations: {
            'io.crivirt.vcpus': '1', 'io.crivirt.memory': '450Mi', 'io.crivirt.kernel-parameters': 'crivirt_pod=7',
            'example.org/io.crivirt': 'not ours',
        },
    });
    assert.strictEqual(facts.cpus, 1);
    assertMemory(facts, 450);
    assert.ok(facts.words.includes('crivirt_test=big') && facts.words.includes('crivirt_pod=7'));
});

test('a pod whose limits ask for more than the handler\'s maximum is refused', async () => {
    await refused(node.cri.call('RunPodSandbox', {
        config: node.podConfig({linux: {resources: {memory_limit_in_bytes: `${2048 * MIB}`}}}),
        runtime_handler: 'big',
    }), 'RESOURCE_EXHAUSTED', 'memory_limit_in_bytes', '512');
});

test('annotations that are not allowed, unknown or out of bounds are refused, and the message names them', async () => {
    const run = (runtime_handler, more) => node.cri.call(
        'RunPodSandbox', {config: node.podConfig(more), runtime_handler});
    const bad = (handler, name, value, ...words) =>
        refused(run(handler, annotated(name, value)), 'INVALID_ARGUMENT', `io.crivirt.${name}`, ...words);
    await bad('', 'vcpus', '1', 'handler "vm"', 'none');
    await bad('big', 'kernel', '/boot/vmlinux', 'io.crivirt.kernel-parameters');
    await bad('big', 'vcpus', '3', '1 to 2');
    await bad('big', 'vcpus', 'many', '1 to 2');
    await bad('big', 'memory', '513Mi', '64MiB to 512MiB');
    await bad('big', 'kernel-parameters', 'rdinit=/bin/sh', 'crivirt_pod');
    await refused(run('runc'), 'INVALID_ARGUMENT', 'runc', 'vm, big, stock, broken, panics');
    assert.deepStrictEqual((await node.cri.call('ListPodSandbox')).items, []);
});

test('a handler whose kernel is missing fails only its own pods', async () => {
    await refused(node.cri.call('RunPodSandbox', {config: node.podConfig(), runtime_handler: 'broken'}),
                  'INTERNAL', '/nonexistent/kernel');
    await node.removePod(await node.runPod());
});

test('a guest that panics before it serves its pod boots once more, and the failure has its last words', async () => {
    await refused(node.cri.call('RunPodSandbox', {config: node.podConfig(), runtime_handler: 'panics'}),
                  'UNAVAILABLE', "kernel panicked: No working init found", 'Kernel panic');
    assert.strictEqual(node.daemonLog().match(/the guest boots once more/g).length, 1);
    await node.removePod(await node.runPod());
});

test('Status lists every handler, and the default one also without a name', async () => {
    const {runtime_handlers: handlers} = await node.cri.call('Status');
    assert.deepStrictEqual(handlers.map(({name}) => name), ['', 'vm', 'big', 'stock', 'broken', 'panics']);
    for (const {features} of handlers)
        assert.deepStrictEqual(features, {recursive_read_only_mounts: true, user_namespaces: true});
});

test('--check-config names a handler whose files are missing and the line of an invalid value', async () => {
    const good = await node.run(...node.daemonWords(['--check-config']));
    assert.match(good.stdout, /warning: .*crivirt\.toml:\d+: handlers\.broken\.kernel: \/nonexistent\/kernel: No such file/);
    const file = path.join(node.dir, 'bad.toml');
    fs.writeFileSync(file, '[handlers.big]\nvcpus = 1\nmemory = "lots"\n');
    const bad = await node.run(...node.daemonWords([`--config=${file}`, '--check-config']));
    assert.strictEqual(bad.code, 2);
    assert.match(bad.stderr, /bad\.toml:3: handlers\.big\.memory: "lots" is not allowed; allowed: 64MiB to 16TiB/);
});

test('pods of a handler that was removed from the configuration run on and can be removed', async (t) => {
    t.after(async () => {
        fs.writeFileSync(node.configFile, config);
        await node.restartDaemon('SIGTERM');
    });
    const pod = await node.runPod({}, 'big');
    const container = await node.runContainer(pod, {});
    fs.writeFileSync(node.configFile, '[guest]\nmemory = "160MiB"\n');
    await node.restartDaemon('SIGTERM');
    assert.strictEqual(await node.output(container, 'nproc'), '2');
    await node.runContainer(pod, {});
    await refused(node.cri.call('RunPodSandbox', {config: node.podConfig(), runtime_handler: 'big'}),
                  'INVALID_ARGUMENT', '"big"');
    await node.removePod(pod);
});
