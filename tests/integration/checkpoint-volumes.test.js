// SPDX-License-Identifier: Apache-2.0
// CheckpointPod and RestorePod of pods with volumes of the node: what they have open there goes on.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const checkpoints = require('./support/checkpoints');
const {BUSYBOX} = require('./support/images');
const {eventually, grows, must, numbersIn, refused, serial} = require('./support/kit');

let node;
before(async () => {
    node = await Node.start({templates: true, config: '[handlers.never]\nvolume_cache = "never"\n'});
});
after(() => node.end());
afterEach(() => node.removeAllPods());

const directory = (name = 'directory') => {
    const made = path.join(node.dir, `${name}${serial()}`);
    fs.mkdirSync(made, {recursive: true});
    return made;
};
const kubelets = (pod, kind, name) => directory(`kubelet/pods/${pod.config.metadata.uid}/volumes/kubernetes.io~${kind}/${name}`);

const checkpoint = (...words) => checkpoints.checkpoint(node, ...words);

// Restores and starts the containers, with their volumes at other places: {path of one: path of another}.
async function restore(checkpoint_path, containers, places = {}) {
    const restored = await checkpoints.restore(node, checkpoint_path, containers, {
        container: ({mounts}) => ({mounts: mounts.map((mount) => ({...mount, host_path: places[mount.host_path] || mount.host_path}))}),
    });
    for (const {id: container_id} of restored.containers)
        await node.cri.call('StartContainer', {container_id});
    return restored;
}

const copyOf = (place) => {
    const copy = directory('copy');
    must('cp', '-a', `${place}/.`, copy);
    return copy;
};
const ascending = (numbers) => assert.deepStrictEqual(numbers, numbers.map((_, i) => numbers[0] + i));

// What a container does at the end: it reads from its descriptor 3 and lists its working directory.
const LATER = 'while ! [ -e /tmp/go ]; do sleep 0.1; done; cat <&3; ls; echo over';
const finish = async (container) => {
    await node.output(container, 'touch /tmp/go');
    await eventually('it has ended', () => node.logTexts(container).includes('over'));
    return node.logTexts(container);
};
const WRITER = 'exec 3>>/volume/log; i=0; while sleep 0.05; do i=$((i+1)); echo $i >&3; done';

test('files and directories that are open in volumes go on, in the saved pod and in the restored one at other places', async () => {
    const pod = await node.runPod();
    const data = directory('data');
    const kept = kubelets(pod, 'empty-dir', 'kept');
    for (const name of ['dir/one', 'long'])
        (fs.mkdirSync(path.dirname(path.join(data, name)), {recursive: true}), fs.writeFileSync(path.join(data, name), `${name}\n`));
    const settings = path.join(directory('file'), 'settings');
    fs.writeFileSync(settings, 'first');
    const mounts = [{container_path: '/volume', host_path: data}, {container_path: '/kept', host_path: kept},
        {container_path: '/settings', host_path: settings, readonly: true}];
    const writer = await node.runContainer(pod, {command: ['/bin/sh', '-c', WRITER], mounts});
    const reader = await node.runContainer(pod, {command: ['/bin/sh', '-c', `exec 3</volume/long; cd /volume/dir; echo word > /kept/word; ${LATER}`], mounts});
    await eventually('they have begun', () => fs.existsSync(path.join(data, 'log')) && fs.existsSync(path.join(kept, 'word')));
    const saved = await checkpoint(pod, [writer, reader]);
    assert.deepStrictEqual(fs.readdirSync(saved).sort(), ['devices', 'disk', 'manifest.json', 'ram', 'request', 'volumes']);
    assert.strictEqual(fs.statSync(path.join(saved, 'volumes')).mode & 0o777, 0o600);
    await grows(path.join(data, 'log'));
    const places = {[data]: copyOf(data), [kept]: copyOf(kept), [settings]: path.join(directory('file'), 'settings')};
    fs.writeFileSync(places[settings], 'second');
    fs.truncateSync(path.join(places[data], 'log'));
    const {pod: second, containers: [copy, other]} = await restore(saved, [writer, reader], places);
    await eventually('it writes', () => fs.statSync(path.join(places[data], 'log')).size > 30);
    assert.deepStrictEqual(await finish(other), ['long', 'one', 'over']);
    assert.strictEqual(await node.output(copy, 'cat /settings /kept/word; echo more > /kept/more'), 'secondword');
    assert.ok(!fs.existsSync(path.join(kept, 'more')));
    assert.strictEqual((await node.exec(copy, 'touch /settings')).exit_code, 1);
    // A later container of the restored pod has the same volumes.
    const later = await node.runContainer(second, {mounts: copy.config.mounts});
    assert.strictEqual(await node.output(later, 'cat /kept/more'), 'more');
    await node.removePod(second);
    ascending(numbersIn(path.join(places[data], 'log')));
    // The saved pod has noticed nothing.
    assert.deepStrictEqual(await finish(reader), ['long', 'one', 'over']);
    await grows(path.join(data, 'log'));
    assert.deepStrictEqual(node.logTexts(writer), []);
    await node.removePod(pod);
    const written = numbersIn(path.join(data, 'log'));
    assert.strictEqual(written[0], 1);
    ascending(written);
    await node.noLeaks();
});

test('the saved pod keeps its locks and its deleted files; for the restored one a deleted file is stale, and no other', async () => {
    const pod = await node.runPod();
    const data = directory('data');
    for (const name of ['deleted', 'locked'])
        fs.writeFileSync(path.join(data, name), `${name}\n`);
    const mounts = [{container_path: '/volume', host_path: data}, node.toolMount()];
    const holder = await node.runContainer(pod, {command: ['/bin/sh', '-c', 'sleep 100000 | /tool hold-posix /volume/locked'], mounts});
    const reader = await node.runContainer(pod, {command: ['/bin/sh', '-c', `cd /volume; exec 3<deleted; rm deleted; ${LATER}`], mounts});
    const far = await node.runContainer(await node.runPod(), {mounts});
    await eventually('they have begun', () => node.logTexts(holder).includes('got') && !fs.existsSync(path.join(data, 'deleted')));
    const saved = await checkpoint(pod, [holder, reader]);
    assert.strictEqual(await node.output(far, '/tool try-posix /volume/locked'), 'busy');
    const places = {[data]: copyOf(data)};
    const {containers: [, other]} = await restore(saved, [holder, reader], places);
    assert.match((await finish(other)).join(' '), /Stale file handle.* locked over/);
    assert.deepStrictEqual(await finish(reader), ['deleted', 'locked', 'over']);
    assert.strictEqual(await node.output(far, '/tool try-posix /volume/locked'), 'busy');
    await node.remove(holder);
    assert.strictEqual(await node.output(far, '/tool try-posix /volume/locked'), 'got');
});

test('a pod with volumes is saved under load, again and again, and its twins write to volumes of their own', async () => {
    const pod = await node.runPod();
    const data = directory('data');
    const writer = await node.runContainer(pod, {command: ['/bin/sh', '-c', WRITER], mounts: [{container_path: '/volume', host_path: data}]});
    const churner = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'cd /volume; while :; do mkdir d; echo x > d/x; cat d/x; rm -r d; stat log; done >/dev/null'],
        mounts: [{container_path: '/volume', host_path: data}],
    });
    await eventually('it writes', () => fs.existsSync(path.join(data, 'log')));
    let saved;
    for (let i = 0; i < 3; i++) {
        saved = await checkpoint(pod, [writer, churner]);
        await grows(path.join(data, 'log'));
    }
    for (let i = 0; i < 2; i++) {
        const places = {[data]: directory('copy')};
        fs.writeFileSync(path.join(places[data], 'log'), '');
        await restore(saved, [writer, churner], places);
        await eventually('it writes', () => fs.statSync(path.join(places[data], 'log')).size > 30);
        ascending(numbersIn(path.join(places[data], 'log')));
    }
    // The file server gets to know memory that the saved pod has got since.
    await node.cri.call('UpdatePodSandboxResources', {pod_sandbox_id: pod.id, resources: {memory_limit_in_bytes: 600 << 20}});
    await node.output(writer, 'head -c 120000000 /dev/urandom >/tmp/big && cp /tmp/big /volume && cmp /tmp/big /volume/big');
    ascending(numbersIn(path.join(data, 'log')));
    assert.deepStrictEqual(node.logTexts(churner), []);
    assert.deepStrictEqual(node.logTexts(writer), []);
});

test('a restored pod with volumes survives a new daemon and the death of its file server, and is saved again', async () => {
    const pod = await node.runPod();
    const data = directory('data');
    const writer = await node.runContainer(pod, {command: ['/bin/sh', '-c', WRITER], mounts: [{container_path: '/volume', host_path: data}]});
    await eventually('it writes', () => fs.existsSync(path.join(data, 'log')));
    const saved = await checkpoint(pod, [writer]);
    await node.removePod(pod);
    const {pod: second, containers: [copy]} = await restore(saved, [writer]);
    await grows(path.join(data, 'log'));
    await node.restartDaemon('SIGKILL');
    await grows(path.join(data, 'log'));
    process.kill(node.fileServerPid(second), 'SIGKILL');
    const again = await checkpoint(second, [copy]);
    await node.removePod(second);
    const {pod: third} = await restore(again, [copy]);
    await grows(path.join(data, 'log'));
    await node.removePod(third);
    await node.noLeaks();
});

test('a restored pod, and one that is woken, has the volume_cache that it was saved with, whatever is configured', async (context) => {
    const mode = (pod) => fs.readFileSync(`/proc/${node.fileServerPid(pod)}/cmdline`, 'utf8').split('\0').find((word) => word.startsWith('cache='));
    const pod = await node.runPod({}, 'never');
    const data = directory('data');
    const writer = await node.runContainer(pod, {command: ['/bin/sh', '-c', WRITER], mounts: [{container_path: '/volume', host_path: data}]});
    await eventually('it writes', () => fs.existsSync(path.join(data, 'log')));
    assert.strictEqual(mode(pod), 'cache=none');
    const saved = await checkpoint(pod, [writer]);
    assert.strictEqual(JSON.parse(fs.readFileSync(path.join(saved, 'manifest.json'), 'utf8')).vm.volume_cache, 'never');
    await node.removePod(pod);
    const {pod: second, containers: [copy]} = await checkpoints.restore(node, saved, [writer], {request: {runtime_handler: 'vm'}});
    await node.cri.call('StartContainer', {container_id: copy.id});
    assert.strictEqual(mode(second), 'cache=none');
    await grows(path.join(data, 'log'));
    await node.cri.call('HibernatePod', {pod_sandbox_id: second.id});
    await node.stopDaemon();
    const before = fs.readFileSync(node.configFile);
    context.after(async () => {
        fs.writeFileSync(node.configFile, before);
        await node.restartDaemon();
    });
    fs.writeFileSync(node.configFile, '[guest]\nvolume_cache = "always"\nvolume_locks = false\n');
    await node.startDaemon();
    const server = node.fileServerPid(second);
    await node.output(copy, 'true');
    assert.notStrictEqual(node.fileServerPid(second), server);
    assert.strictEqual(mode(second), 'cache=none');
    await grows(path.join(data, 'log'));
    await node.removePod(second);
    await node.noLeaks();
});

// Asserts that a container that comes later shares sockets and a FIFO on their emptyDir with an earlier one.
async function joins(pod, earlier) {
    const later = await node.runContainer(pod, {mounts: earlier.config.mounts});
    assert.strictEqual(await node.output(later, '/tool connect /joint/socket'), 'hello');
    await node.output(later, 'echo through the FIFO > /joint/fifo');
    await eventually('the FIFO passes it on', () => node.logTexts(earlier).includes('through the FIFO'));
    assert.strictEqual(await node.output(later, 'stat -c %i /joint/fifo'), await node.output(earlier, 'stat -c %i /joint/fifo'));
    // What is made later, by the later one.
    const server = await node.runContainer(pod, {command: ['/tool', 'listen', '/joint/second'], mounts: earlier.config.mounts});
    await eventually('it listens', async () => (await node.exec(earlier, 'test -S /joint/second')).exit_code === 0);
    assert.strictEqual(await node.output(earlier, '/tool connect /joint/second'), 'hello');
    await node.remove(server);
    await node.remove(later);
    await node.output(earlier, 'rm /joint/second');
}

test('containers of a restored or woken pod that come later share sockets and FIFOs with those that were saved', async () => {
    const pod = await node.runPod();
    const joint = kubelets(pod, 'empty-dir', 'joint');
    const mounts = [{container_path: '/joint', host_path: joint}, node.toolMount()];
    const container = await node.runContainer(pod, {mounts, command: ['/bin/sh', '-c', `
        mkfifo /joint/fifo; /tool listen /joint/socket & while :; do cat /joint/fifo; done`]});
    await eventually('it has begun', () => fs.existsSync(path.join(joint, 'socket')) && fs.existsSync(path.join(joint, 'fifo')));
    await joins(pod, container);
    await node.cri.call('HibernatePod', {pod_sandbox_id: pod.id});
    await joins(pod, container);
    await joins(pod, container);
    const saved = await checkpoint(pod, [container]);
    await node.removePod(pod);
    const elsewhere = kubelets(pod, 'empty-dir', 'elsewhere');
    const {pod: second, containers: [copy]} = await restore(saved, [container]);
    await joins(second, copy);
    await node.restartDaemon('SIGKILL');
    await joins(second, copy);
    await node.removePod(second);
    must('cp', '-a', `${joint}/.`, elsewhere);
    const {pod: third, containers: [other]} = await restore(saved, [container], {[joint]: elsewhere});
    await joins(third, other);
});

test('one container of a pod with volumes is saved as an archive, and the others do not come back with it', async () => {
    const pod = await node.runPod();
    const data = directory('data');
    const mounts = [{container_path: '/volume', host_path: data}];
    const writer = await node.runContainer(pod, {command: ['/bin/sh', '-c', WRITER], mounts});
    await node.runContainer(pod, {command: ['/bin/sh', '-c', 'exec 3>>/volume/other; cd /volume; sleep 100000'], mounts});
    await eventually('they have begun', () => fs.existsSync(path.join(data, 'log')) && fs.existsSync(path.join(data, 'other')));
    const location = path.join(directory(), 'archive.tar');
    await node.cri.call('CheckpointContainer', {container_id: writer.id, location});
    const places = {[data]: copyOf(data)};
    fs.truncateSync(path.join(places[data], 'log'));
    const {pod: second} = await restore(location, [writer], places);
    await eventually('it writes', () => fs.statSync(path.join(places[data], 'log')).size > 30);
    ascending(numbersIn(path.join(places[data], 'log')));
    const {containers} = await node.cri.call('ListContainers', {filter: {pod_sandbox_id: second.id}});
    assert.strictEqual(containers.length, 1);
});

test('RestorePod refuses volumes that were one and are two, and a changed table of open files', async () => {
    const pod = await node.runPod();
    const joint = kubelets(pod, 'empty-dir', 'joint');
    const mounts = [{container_path: '/one', host_path: joint}, {container_path: '/two', host_path: joint}];
    const container = await node.runContainer(pod, {mounts});
    const saved = await checkpoint(pod, [container]);
    const config = node.podConfig();
    const other = {...container.config, mounts: [mounts[0], {...mounts[1], host_path: directory()}]};
    const ask = (one) => node.cri.call('RestorePod', {checkpoint_path: saved, config, container_configs: [one]});
    await refused(ask(other), 'FAILED_PRECONDITION', 'mounts[1]');
    const file = path.join(saved, 'volumes');
    const bytes = fs.readFileSync(file);
    bytes[bytes.length - 1] ^= 1;
    fs.writeFileSync(file, bytes);
    await refused(ask(container.config), 'DATA_LOSS', 'volumes');
    assert.deepStrictEqual((await node.cri.call('ListPodSandbox')).items.map(({id}) => id), [pod.id]);
});

test('crivirt restore lists the paths of the node in a checkpoint, and gives the pod those that are allowed', async () => {
    const logs = directory('logs');
    const crivirt = async (...words) => {
        const {code, stdout, stderr} = await node.cli('--log-dir', logs, ...words);
        assert.strictEqual(code, 0, stderr);
        return stdout.trim();
    };
    const [data, settings] = [directory('data'), directory('settings')];
    const saved = path.join(node.dir, `by-command${serial()}`);
    await crivirt('run', '-d', '--name', 'saved', '-v', `${data}:/volume`, '-v', `${settings}:/settings:ro`, BUSYBOX, 'sh', '-c', WRITER);
    await eventually('it writes', () => fs.existsSync(path.join(data, 'log')));
    await crivirt('checkpoint', 'saved', saved);
    await crivirt('rm', '-f', 'saved');
    const copy = copyOf(data);

    const first = await node.cli('restore', '--name', 'restored', saved);
    assert.strictEqual(first.code, 1);
    for (const line of [`  ${data} at /volume of container saved, writable\n`, `  ${settings} at /settings of container saved, read-only\n`,
        '--allow-node-paths', '--volume OLD=NEW'])
        assert.ok(first.stderr.includes(line), first.stderr);
    const second = await node.cli('restore', '--name', 'restored', '-v', `${data}=${copy}`, saved);
    assert.strictEqual(second.code, 1);
    assert.ok(!second.stderr.includes(data) && second.stderr.includes(settings), second.stderr);
    assert.deepStrictEqual(await node.listedPodIds(), []);

    await crivirt('restore', '--name', 'restored', '-v', `${data}=${copy}`, '--volume', `${settings}=${settings}`, saved);
    await grows(path.join(copy, 'log'));
    await crivirt('rm', '-f', 'restored');
    const {size} = fs.statSync(path.join(copy, 'log'));
    await crivirt('restore', '--name', 'again', '--allow-node-paths', saved);
    await grows(path.join(data, 'log'));
    await crivirt('rm', '-f', 'again');
    assert.strictEqual(fs.statSync(path.join(copy, 'log')).size, size);

    await node.cri.call('RemoveImage', {image: {image: BUSYBOX}});
    const third = await node.cli('restore', '--allow-node-paths', saved);
    await node.loadBusybox();
    assert.match(third.stderr, /image \S+ is not on this node: pull it first \(crivirt pull \S*busybox\S*\)/);
});
