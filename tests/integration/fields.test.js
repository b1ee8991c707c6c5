// SPDX-License-Identifier: Apache-2.0
'use strict';
// The other fields of a container: resources, limits, defaults of the image, devices, shared files.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {BUSYBOX, makeImage} = require('./support/images');
const {eventually, refused} = require('./support/kit');

const IMAGE = 'docker.io/tests/configured:latest';

let node, pod, cdi;
before(async () => {
    cdi = fs.mkdtempSync('/tmp/crivirt-test-cdi-');
    node = await Node.start({flags: [`--cdi-spec-dirs=${cdi}`]});
    await node.cri.call('LoadImage', {path: makeImage(node, IMAGE, {
        Entrypoint: ['/bin/sh', '-c', 'echo "$0|$1|$WORD|$PWD"; trap "exit 42" USR1; while :; do sleep 0.1; done', 'zero'], Cmd: ['one'],
        Env: ['PATH=/bin', 'WORD=image'], WorkingDir: '/work', StopSignal: 'SIGUSR1', Volumes: {'/declared': {}},
    }, (dir) => {
        fs.mkdirSync(path.join(dir, 'declared'));
        fs.writeFileSync(path.join(dir, 'declared/seed'), 'seed');
    })});
    pod = await node.runPod({linux: {security_context: {}}});
});
after(async () => {
    await node.end();
    fs.rmSync(cdi, {recursive: true});
});

// The container's first process is number 1 in it.
const own = {security_context: {namespace_options: {pid: 'CONTAINER'}}};

const firstLine = (container) => node.firstLine(container);

test('the configuration of the image holds unless the container overrides it', async () => {
    const plain = await node.runContainer(pod, {image: {image: IMAGE}, command: undefined});
    assert.strictEqual(await firstLine(plain), 'zero|one|image|/work');
    assert.strictEqual((await node.containerStatus(plain)).stop_signal, 'SIGNAL_SIGUSR1');
    await node.cri.call('StopContainer', {container_id: plain.id, timeout: 60});
    assert.strictEqual((await node.containerStatus(plain)).exit_code, 42);
    const other = await node.runContainer(pod, {
        image: {image: IMAGE}, command: undefined, args: ['two'], working_dir: '/tmp', envs: [{key: 'WORD', value: Buffer.from('mine')}],
        stop_signal: 'SIGNAL_SIGKILL',
    });
    assert.strictEqual(await firstLine(other), 'zero|two|mine|/tmp');
    await node.cri.call('StopContainer', {container_id: other.id, timeout: 60});
    assert.strictEqual((await node.containerStatus(other)).exit_code, 137);
    await refused(node.create(pod, {envs: [{key: 'A=B', value: Buffer.from('')}]}), 'INVALID_ARGUMENT', 'A=B');
});

test('volumes that the image declares are writable, also with a read-only root file system', async () => {
    const container = await node.runContainer(pod, {
        image: {image: IMAGE}, command: ['/bin/sleep', '1000'], linux: {security_context: {readonly_rootfs: true}},
    });
    assert.strictEqual(await node.output(container, 'cat /declared/seed; echo more >/declared/x; cat /declared/x'), 'seedmore');
    assert.notStrictEqual((await node.exec(container, 'touch /work/x')).exit_code, 0);
    await node.remove(container);
});

test('every resource limit is set in the cgroup of the container in the guest', async () => {
    const resources = {
        cpu_shares: 2048, cpu_quota: 30000, cpu_period: 60000, cpuset_cpus: '0', cpuset_mems: '0', memory_limit_in_bytes: 64 << 20,
        memory_swap_limit_in_bytes: 64 << 20, oom_score_adj: 500, hugepage_limits: [{page_size: '2MB', limit: 2 << 20}],
        unified: {'memory.high': String(48 << 20), 'pids.max': '77', 'memory.swap.max': '0', 'memory.oom.group': '1'},
    };
    const container = await node.runContainer(pod, {linux: {...own, resources}}).catch((error) => error);
    assert.ok(container.id, container.details);
    // cpuset_cpus and cpuset_mems name those of the node (resize.test.js).
    const read = (files) => node.output(container, `cd /sys/fs/cgroup; for f in ${files}; do cat $f; done`).then((text) => text.split('\n'));
    assert.deepStrictEqual(await read('cpu.max cpuset.cpus cpuset.mems memory.max memory.high pids.max hugetlb.2MB.max'),
                           ['30000 60000', '', '', String(64 << 20), String(48 << 20), '77', String(2 << 20)]);
    const [weight] = await read('cpu.weight');
    assert.ok(Number(weight) > 50 && Number(weight) < 110, weight);
    assert.strictEqual(await node.output(container, 'cat /proc/1/oom_score_adj /proc/self/oom_score_adj'), '500\n500');
    // The kubelet sends memory.swap.max with each container on cgroup v2, also when it updates one; a guest has no swap.
    assert.deepStrictEqual(await read('memory.oom.group'), ['1']);
    await node.cri.call('UpdateContainerResources', {
        container_id: container.id, linux: {...resources, memory_swap_limit_in_bytes: 0, unified: {'memory.swap.max': '0', 'pids.max': '78'}}});
    assert.deepStrictEqual(await read('pids.max'), ['78']);
    await refused(node.create(pod, {linux: {resources: {unified: {'memory.swap.max': 'little'}}}}), 'INVALID_ARGUMENT', 'memory.swap.max');
    await node.remove(container);
    // What no kernel takes is clamped; disks are limited by the numbers that the guest has for them.
    const clamped = await node.runContainer(pod, {linux: {...own, resources: {oom_score_adj: 5000, unified: {'io.max': '8:0 rbps=1048576'}}}});
    assert.strictEqual(await node.output(clamped, 'cat /proc/1/oom_score_adj; grep rbps /sys/fs/cgroup/io.max'),
                       '1000\n8:0 rbps=1048576 wbps=max riops=max wiops=max');
    await node.remove(clamped);
    const bad = (more) => node.create(pod, {linux: {resources: more}});
    // The guest's kernel shares its disks without weights; the message names what it does not have.
    assert.match((await bad({unified: {'io.weight': 'default 200'}}).catch((error) => error)).details, /io\.weight/);
    await refused(bad({unified: {'../escape': '1'}}), 'INVALID_ARGUMENT', '../escape');
    await refused(bad({memory_limit_in_bytes: 64 << 20, memory_swap_limit_in_bytes: 32 << 20}), 'INVALID_ARGUMENT', 'swap');
    await refused(bad({hugepage_limits: [{page_size: '3MB', limit: 1}]}), 'INVALID_ARGUMENT', '3MB');
});

test('a container has the same rlimits as it would have on a node', async () => {
    const container = await node.runContainer(pod, {linux: own});
    const lines = (await node.output(container, 'cat /proc/1/limits')).split('\n').slice(1);
    const limits = Object.fromEntries(lines.map((line) => [line.slice(4, 26).trim(), line.slice(26, 68).trim().split(/\s+/)]));
    assert.deepStrictEqual(limits, {
        'cpu time': ['unlimited', 'unlimited'], 'file size': ['unlimited', 'unlimited'], 'data size': ['unlimited', 'unlimited'],
        'stack size': ['8388608', 'unlimited'], 'core file size': ['0', 'unlimited'], 'resident set': ['unlimited', 'unlimited'],
        processes: ['unlimited', 'unlimited'], 'open files': ['1024', '524288'], 'locked memory': ['8388608', '8388608'],
        'address space': ['unlimited', 'unlimited'], 'file locks': ['unlimited', 'unlimited'],
        'pending signals': ['unlimited', 'unlimited'], 'msgqueue size': ['819200', '819200'], 'nice priority': ['0', '0'],
        'realtime priority': ['0', '0'], 'realtime timeout': ['unlimited', 'unlimited'],
    });
    // An exec has them, too, but for its mark, by which it is killed with all that it started (agent/guest/process_tree.h).
    const ofExec = await node.output(container, 'cat /proc/self/limits');
    assert.match(ofExec, /^Max realtime timeout +46116860184273\d+ +unlimited/m);
    assert.strictEqual(ofExec.replace(/(realtime timeout +)(\d+)/, (all, name, mark) => name + 'unlimited'.padEnd(mark.length)),
                       await node.output(container, 'cat /proc/1/limits'));
    // The kernel, which boots small, allows as many as a large one.
    const [threads, pids] = (await node.output(container, 'cat /proc/sys/kernel/threads-max /proc/sys/kernel/pid_max')).split('\n').map(Number);
    assert.ok(threads >= 32768 && pids >= 32768, `${threads} ${pids}`);
    await node.remove(container);
});

test('fields that are documented as ignored change nothing', async () => {
    const data = path.join(node.dir, 'ignored');
    fs.mkdirSync(data);
    const container = await node.runContainer(pod, {
        image: {image: BUSYBOX, runtime_handler: 'elsewhere'},
        windows: {resources: {cpu_shares: '7'}, security_context: {run_as_username: 'ContainerUser'}},
        mounts: [{container_path: '/data', host_path: data, selinux_relabel: true}],
        linux: {security_context: {apparmor_profile: 'localhost/none', seccomp_profile_path: 'localhost/none'}},
    });
    assert.strictEqual(await node.output(container, 'id -u; echo x >/data/x; grep Seccomp: /proc/self/status; cat /sys/fs/cgroup/cpu.weight'),
                       '0\nSeccomp:\t0\n100');
    assert.strictEqual(fs.readFileSync(path.join(data, 'x'), 'utf8'), 'x\n');
    await node.remove(container);
});

test('environment, mounts and devices of a CDI specification reach the container, and its hooks are refused', async () => {
    const shared = path.join(node.dir, 'cdi-volume');
    fs.mkdirSync(shared);
    fs.writeFileSync(path.join(shared, 'x'), 'from cdi');
    fs.writeFileSync(path.join(cdi, 'vendor.json'), JSON.stringify({
        cdiVersion: '0.6.0', kind: 'vendor.example/thing', containerEdits: {env: ['ALL=1']},
        devices: [
            {name: 'one', containerEdits: {
                env: ['THING=one'], mounts: [{hostPath: shared, containerPath: '/thing', options: ['ro']}],
                deviceNodes: [{path: '/dev/thing', hostPath: '/dev/fuse', permissions: 'rw'}],
            }},
            {name: 'hooked', containerEdits: {hooks: [{hookName: 'createRuntime', path: '/bin/true'}]}},
        ],
    }));
    const with_ = (name) => ({CDI_devices: [{name}]});
    const container = await node.runContainer(pod, with_('vendor.example/thing=one'));
    assert.strictEqual(await node.output(container, 'echo $ALL $THING $(cat /thing/x) $(stat -c %t:%T /dev/thing)'), '1 one from cdi a:e5');
    assert.notStrictEqual((await node.exec(container, 'touch /thing/y')).exit_code, 0);
    await node.remove(container);
    await refused(node.create(pod, with_('vendor.example/thing=hooked')), 'UNIMPLEMENTED', 'hooks');
    await refused(node.create(pod, with_('vendor.example/thing=two')), 'NOT_FOUND', 'vendor.example/thing=two');
    await refused(node.create(pod, with_('nonsense')), 'INVALID_ARGUMENT', 'nonsense');
});

test('devices that the guest has are given to the container, and PCI devices need an IOMMU', async () => {
    const container = await node.runContainer(pod, {devices: [{container_path: '/dev/my-tun', host_path: '/dev/net/tun', permissions: 'rw'}]});
    assert.strictEqual(await node.output(container, 'stat -c "%F %t:%T" /dev/my-tun'), 'character special file a:c8');
    await node.remove(container);
    await refused(node.create(pod, {devices: [{container_path: '/dev/x', host_path: '/dev/ttyS9', permissions: 'rw'}]}), 'UNIMPLEMENTED', '/dev/ttyS9');
    if (!fs.existsSync('/sys/kernel/iommu_groups') || fs.readdirSync('/sys/kernel/iommu_groups').length === 0)
        await refused(node.create(pod, {devices: [{container_path: '/dev/vfio/7', host_path: '/dev/vfio/7', permissions: 'rw'}]}),
                      'FAILED_PRECONDITION', 'IOMMU', '/dev/vfio/7');
});
