// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {BUSYBOX} = require('./support/images');
const {eventually, failure, must, refused} = require('./support/kit');

let node, pod, long;
before(async () => {
    node = await Node.start();
    pod = await node.runPod({
        hostname: 'pod-one',
        dns_config: {servers: ['192.0.2.53'], searches: ['tests.example'], options: ['ndots:3']},
        linux: {sysctls: {'net.ipv4.ip_unprivileged_port_start': '80'}},
    });
    long = await node.runContainer(pod);
});
after(() => node.end());

const list = async (filter) => (await node.cri.call('ListContainers', {filter})).containers.map(({id}) => id);

test('ContainerStatus of a created container has its image, its labels, and only the time of its creation', async () => {
    const labels = {role: 'test'}, annotations = {why: 'because'};
    const spec = {image: BUSYBOX, user_specified_image: 'busybox', annotations: {'for': 'the image'}};
    const container = await node.create(pod, {labels, annotations, image: spec});
    const {image_ref: imageId} = await node.cri.call('PullImage', {image: {image: BUSYBOX}}).catch(() => ({}));
    const {image} = await node.cri.call('ImageStatus', {image: {image: BUSYBOX}});
    const status = await node.containerStatus(container);
    assert.strictEqual(status.state, 'CONTAINER_CREATED');
    assert.deepStrictEqual(status.metadata, container.config.metadata);
    // The name in the status is what the user wrote.
    assert.strictEqual(status.image.image, 'busybox');
    assert.deepStrictEqual(status.image.annotations, spec.annotations);
    assert.strictEqual(status.image_ref, image.id);
    assert.strictEqual(status.image_id, image.id);
    assert.ok(imageId === undefined || imageId === image.id);
    assert.deepStrictEqual([status.labels, status.annotations], [labels, annotations]);
    assert.ok(BigInt(status.created_at) > 0n);
    assert.deepStrictEqual([status.started_at, status.finished_at], ['0', '0']);
    assert.strictEqual(status.log_path, container.log);
    assert.deepStrictEqual(await list({state: {state: 'CONTAINER_CREATED'}, pod_sandbox_id: pod.id}), [container.id]);
    assert.deepStrictEqual(await list({label_selector: labels}), [container.id]);
    assert.deepStrictEqual(await list({id: long.id, label_selector: labels}), []);
    assert.strictEqual((await node.create(pod, {metadata: container.config.metadata})).id, container.id);
    await node.cri.call('RemoveContainer', {container_id: container.id});
    await refused(node.containerStatus(container), 'NOT_FOUND');
});

test('a running container has a start time, and StartContainer refuses it', async () => {
    const status = await node.containerStatus(long);
    assert.strictEqual(status.state, 'CONTAINER_RUNNING');
    assert.ok(BigInt(status.started_at) >= BigInt(status.created_at));
    assert.strictEqual(status.finished_at, '0');
    await refused(node.cri.call('StartContainer', {container_id: long.id}), 'FAILED_PRECONDITION', 'running');
});

test('CreateContainer refuses a second container of the same name and attempt, and accepts the next attempt', async () => {
    const metadata = long.config.metadata;
    await refused(node.create(pod, {metadata}), 'ALREADY_EXISTS', metadata.name);
    await node.remove(await node.create(pod, {metadata: {...metadata, attempt: 1}}));
});

test('ContainerStatus reports exit code and reason of a container that has ended', async () => {
    for (const [script, code, reason] of [['exit 0', 0, 'Completed'], ['exit 3', 3, 'Error'], ['kill -9 $$', 137, 'Error']]) {
        const container = await node.runContainer(pod, script);
        const status = await node.ended(container);
        assert.deepStrictEqual([status.exit_code, status.reason], [code, reason], script);
        assert.ok(BigInt(status.finished_at) >= BigInt(status.started_at));
        await node.remove(container);
    }
});

test('StartContainer of a program that does not exist fails and names the program', async () => {
    const labels = {test: 'no-program'};
    const container = await node.create(pod, {command: ['/no/such/program']});
    const refusal = await failure(node.cri.call('StartContainer', {container_id: container.id}));
    assert.ok(refusal.details.includes('/no/such/program'), refusal.details);
    const status = await node.containerStatus(container);
    assert.deepStrictEqual([status.state, status.reason, status.exit_code], ['CONTAINER_EXITED', 'StartError', 128]);
    assert.ok(status.message.includes('/no/such/program'), status.message);
    await node.cri.call('RemoveContainer', {container_id: container.id});
});

test('a program gets its command, arguments, environment, directory and user', async () => {
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'echo "$0 $1|$GREETING|$PWD|$(id -u):$(id -g)|$(id -G)"; sleep 1000'],
        args: ['zero', 'one two'], envs: [{key: 'GREETING', value: Buffer.from('hello = world')}], working_dir: '/var/new',
        linux: {security_context: {run_as_user: {value: 1000}, run_as_group: {value: 2000}, supplemental_groups: [3000]}},
    });
    assert.strictEqual(await node.firstLine(container),
                       'zero one two|hello = world|/var/new|1000:2000|2000 3000');
    const {user} = await node.containerStatus(container);
    assert.deepStrictEqual([user.linux.uid, user.linux.gid], ['1000', '2000']);
    await node.remove(container);
});

test('a container with tty has a terminal, whose output is all logged as stdout', async () => {
    const container = await node.runContainer(pod, {command: ['/bin/sh', '-c', 'tty; echo error >&2'], tty: true});
    await node.ended(container);
    const lines = node.logLines(container);
    assert.match(lines[0].text, /^\/dev\/(pts\/\d+|console)/);
    assert.deepStrictEqual([...new Set(lines.map(({stream}) => stream))], ['stdout']);
    await node.remove(container);
});

test('StopContainer sends the stop signal and waits for the grace period', async () => {
    const container = await node.runContainer(pod, 'trap "echo bye; exit 7" TERM; echo up; while :; do sleep 0.1; done');
    await node.firstLine(container);
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 120});
    const status = await node.containerStatus(container);
    assert.deepStrictEqual([status.state, status.exit_code], ['CONTAINER_EXITED', 7]);
    assert.deepStrictEqual(node.logTexts(container), ['up', 'bye']);
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 120});
    await node.remove(container);
});

test('StopContainer kills a container that ignores the signal when the grace period is over', async () => {
    for (const timeout of [0, 1]) {
        const container = await node.runContainer(pod, 'trap "" TERM; echo up; while :; do sleep 0.1; done');
        await node.firstLine(container);
        await node.cri.call('StopContainer', {container_id: container.id, timeout});
        assert.strictEqual((await node.containerStatus(container)).exit_code, 137);
        await node.remove(container);
    }
});

test('UpdateContainerResources does not wait for the grace period of a StopContainer', async () => {
    const container = await node.runContainer(pod, 'trap "echo term" TERM; echo ready; while :; do sleep 0.2; done');
    await node.firstLine(container);
    const stop = node.cri.call('StopContainer', {container_id: container.id, timeout: 3600});
    await eventually('it has the stop signal', () => node.logTexts(container).includes('term'));
    await node.cri.call('UpdateContainerResources', {container_id: container.id, linux: {cpu_shares: 512}});
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await node.remove(container);
    await stop;
});

test('RemoveContainer removes a running container', async () => {
    const container = await node.runContainer(pod);
    await node.cri.call('RemoveContainer', {container_id: container.id});
    await refused(node.containerStatus(container), 'NOT_FOUND');
});

// What the guest has of containers, by their ids.
const inGuest = async () => (await node.cli('shell', pod.config.metadata.name, 'ls', '/proc/1/root/run/crivirt/c')).stdout;
const goneInGuest = ({id}) => eventually(`container ${id} is gone in the guest`, async () => !(await inGuest()).includes(id));

async function endedContainer() {
    const volume = node.directory(`volume-of-ended-${Date.now()}`);
    const container = await node.runContainer(pod, {mounts: [{container_path: '/v', host_path: volume}]});
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 0});
    assert.match(await inGuest(), new RegExp(container.id));
    return container;
}

test('RemoveContainer of an ended container does not wait for a guest that stands still, and gives its volumes back', async () => {
    const container = await endedContainer();
    const bound = () => fs.readFileSync('/proc/self/mountinfo', 'utf8').includes(container.id);
    const qemu = node.qemuPid(pod);
    process.kill(qemu, 'SIGSTOP');
    try {
        await node.cri.call('RemoveContainer', {container_id: container.id});
        await refused(node.containerStatus(container), 'NOT_FOUND');
        assert.ok(!bound());
    } finally {
        process.kill(qemu, 'SIGCONT');
    }
    await goneInGuest(container);
});

test('an ended container that only the guest still has is removed there when the daemon connects to it', async () => {
    const container = await endedContainer();
    await node.stopDaemon('SIGKILL');
    must('sqlite3', path.join(node.stateDir, 'state.db'), `DELETE FROM containers WHERE id = '${container.id}'`);
    await node.startDaemon();
    await goneInGuest(container);
    assert.match(await inGuest(), new RegExp(long.id));
    assert.strictEqual((await node.containerStatus(long)).state, 'CONTAINER_RUNNING');
});

test('a shorter grace period takes effect while an earlier StopContainer waits out a longer one', async () => {
    const stubborn = 'trap "echo term" TERM; echo ready; while :; do sleep 0.2; done';
    const overtakes = {
        shorter: (container) => node.cri.call('StopContainer', {container_id: container.id, timeout: 1}),
        none: (container) => node.cri.call('StopContainer', {container_id: container.id, timeout: 0}),
        removed: (container) => node.cri.call('RemoveContainer', {container_id: container.id}),
    };
    for (const [name, overtake] of Object.entries(overtakes)) {
        const container = await node.runContainer(pod, stubborn);
        await eventually('it handles signals', () => node.logTexts(container).includes('ready'));
        const first = node.cri.call('StopContainer', {container_id: container.id, timeout: 3600});
        await eventually('it has the stop signal', () => node.logTexts(container).includes('term'));
        await overtake(container);
        await first; // an hour of grace is over as soon as the container is
        if (name !== 'removed') {
            const status = await node.containerStatus(container);
            assert.deepStrictEqual([status.state, status.exit_code], ['CONTAINER_EXITED', 137], name);
            assert.strictEqual(node.logTexts(container).filter((text) => text === 'term').length, 1, name);
            await node.remove(container);
        }
    }
    const last = await node.runPod();
    const container = await node.runContainer(last, stubborn);
    await eventually('it handles signals', () => node.logTexts(container).includes('ready'));
    const first = node.cri.call('StopContainer', {container_id: container.id, timeout: 3600});
    await eventually('it has the stop signal', () => node.logTexts(container).includes('term'));
    await node.removePod(last);
    await first;
});

test('StopContainer and RemoveContainer of an unknown container succeed, and ContainerStatus fails with NOT_FOUND', async () => {
    const container_id = 'f'.repeat(64);
    await node.cri.call('StopContainer', {container_id, timeout: 1});
    await node.cri.call('RemoveContainer', {container_id});
    await refused(node.cri.call('ContainerStatus', {container_id}), 'NOT_FOUND');
    await refused(node.cri.call('StartContainer', {container_id}), 'NOT_FOUND');
});

test('CreateContainer refuses an invalid field with INVALID_ARGUMENT and its name, an unknown image or pod with NOT_FOUND', async () => {
    const before = await list();
    await refused(node.create(pod, {metadata: {name: ''}}), 'INVALID_ARGUMENT', 'metadata.name');
    await refused(node.create(pod, {image: null}), 'INVALID_ARGUMENT', 'image');
    await refused(node.create(pod, {log_path: '../../outside'}), 'INVALID_ARGUMENT', 'log_path');
    await refused(node.create(pod, {linux: {security_context: {run_as_group: {value: 1}}}}), 'INVALID_ARGUMENT',
                  'run_as_group');
    await refused(node.create(pod, {image: {image: 'no/such:image'}}), 'NOT_FOUND', 'no/such:image');
    await refused(node.create({...pod, id: 'f'.repeat(64)}), 'NOT_FOUND');
    assert.deepStrictEqual(await list(), before);
});

test('a container has the hostname, the hosts file and the resolv.conf of its pod', async () => {
    const {network: {ip}} = await node.podStatus(pod);
    assert.strictEqual(await node.output(long, 'hostname'), 'pod-one');
    assert.strictEqual(await node.output(long, 'cat /etc/resolv.conf'),
                       'search tests.example\nnameserver 192.0.2.53\noptions ndots:3');
    assert.match(await node.output(long, 'cat /etc/hosts'), /^127\.0\.0\.1\s+localhost/m);
    assert.strictEqual(await node.output(long, 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start'), '80');
    assert.ok((await node.output(long, 'ip -4 addr show eth0')).includes(`inet ${ip}/`));
});

test('resource limits hold in the guest, and ContainerStatus reports them', async () => {
    const resources = {memory_limit_in_bytes: 50 << 20, cpu_period: 100000, cpu_quota: 50000, cpu_shares: 512};
    const container = await node.runContainer(pod, {linux: {resources}});
    assert.strictEqual(await node.output(container, 'cat /sys/fs/cgroup/memory.max'), String(50 << 20));
    assert.strictEqual(await node.output(container, 'cat /sys/fs/cgroup/cpu.max'), '50000 100000');
    const {resources: {linux}} = await node.containerStatus(container);
    assert.strictEqual(linux.memory_limit_in_bytes, String(50 << 20));
    await node.remove(container);
});

test('a container that uses more memory than its limit is OOMKilled', async () => {
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'exec dd if=/dev/zero of=/dev/null bs=64M count=9'],
        linux: {resources: {memory_limit_in_bytes: 16 << 20}},
    });
    const status = await node.ended(container);
    assert.deepStrictEqual([status.exit_code, status.reason], [137, 'OOMKilled']);
    await node.remove(container);
});

test('changes of a volume are seen on both sides, and a read-only volume cannot be written', async () => {
    const rw = path.join(node.dir, 'volume-rw'), ro = path.join(node.dir, 'volume-ro');
    for (const directory of [rw, ro]) {
        fs.mkdirSync(directory);
        fs.writeFileSync(path.join(directory, 'host'), 'one\n');
    }
    const missing = path.join(node.dir, 'missing/volume');
    const container = await node.runContainer(pod, {mounts: [
        {container_path: '/rw', host_path: rw}, {container_path: '/ro', host_path: ro, readonly: true},
        {container_path: '/missing', host_path: missing},
        {container_path: '/one-file', host_path: path.join(ro, 'host'), readonly: true},
    ]});
    assert.strictEqual(await node.output(container, 'cat /rw/host /ro/host /one-file'), 'one\none\none');
    await node.output(container, 'echo guest > /rw/guest; echo made > /missing/file');
    assert.strictEqual(fs.readFileSync(path.join(rw, 'guest'), 'utf8'), 'guest\n');
    assert.strictEqual(fs.readFileSync(path.join(missing, 'file'), 'utf8'), 'made\n');
    assert.notStrictEqual((await node.exec(container, 'echo no > /ro/guest')).exit_code, 0);
    assert.deepStrictEqual(fs.readdirSync(ro), ['host']);
    fs.writeFileSync(path.join(ro, 'later'), 'two\n');
    await eventually('the guest sees the new file', async () =>
        (await node.exec(container, 'cat /ro/later')).stdout === 'two\n');
    await node.remove(container);
    assert.deepStrictEqual(fs.readdirSync(rw).sort(), ['guest', 'host']);
});

test('containers of a pod share its network but not their files', async () => {
    const other = await node.runContainer(pod);
    await node.output(long, 'touch /tmp/mine; (echo from the first | nc -l -p 7777) >/dev/null 2>&1 &');
    assert.notStrictEqual((await node.exec(other, 'ls /tmp/mine')).exit_code, 0);
    await eventually('the first answers', async () =>
        (await node.exec(other, 'nc -w 5 127.0.0.1 7777 </dev/null')).stdout.trim() === 'from the first');
    await node.remove(other);
});
