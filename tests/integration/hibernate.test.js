// SPDX-License-Identifier: Apache-2.0
// Hibernation: a pod gives its memory back to the node, and goes on where it was.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {processesOf} = require('./support/processes');
const {eventually, grows, must, numbersIn, refused, serial} = require('./support/kit');
const {Forward, attach, exec} = require('./support/streams');

// Counts in memory; each count is a line of the log and the content of a file on the pod's disk.
const COUNTER = 'n=0; while sleep 0.1; do n=$((n + 1)); echo $n; echo $n > /count; done';

const METRICS = '127.0.0.1:9116';

let node;
before(async () => {
    node = await Node.start({templates: true, flags: ['--guest-vm-pool-size=0', `--metrics-address=${METRICS}`]});
});
after(() => node.end());
afterEach(() => node.removeAllPods());

const hibernate = (pod, more = {}) => node.cri.call('HibernatePod', {pod_sandbox_id: pod.id, ...more});
const wake = (pod) => node.cri.call('WakePod', {pod_sandbox_id: pod.id});
const numbers = (container) => node.logTexts(container).map(Number);
// The directory with the pod's memory, which need not exist.
const saved = (pod) => {
    const pods = path.join(node.stateDir, 'pods');
    return path.join(pods, fs.readdirSync(pods).find((name) => pod.id.startsWith(name)) || 'none', 'hibernation');
};
const wakes = () => (node.daemonLog().match(/woken in/g) || []).length;

// Return: {pod, counter} of a pod that has counted.
async function countingPod(more) {
    const pod = await node.runPod(more);
    const counter = await node.runContainer(pod, COUNTER);
    await eventually('it counts', () => fs.existsSync(counter.log) && numbers(counter).length > 3);
    return {pod, counter};
}

// Asserts that the pod has no VM, and what the CRI shows of it.
async function asleep(pod, container) {
    assert.strictEqual(node.qemuPid(pod), undefined, 'QEMU has ended'); // that of a template may run
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_READY');
    const {state, reason} = await node.containerStatus(container);
    assert.deepStrictEqual([state, reason], ['CONTAINER_RUNNING', 'Hibernated']);
}

// Asserts that the counter goes on, and that its log has each number once.
async function counts(counter) {
    const length = numbers(counter).length;
    await eventually('it goes on counting', () => numbers(counter).length > length + 5);
    const counted = numbers(counter); // read once: it goes on
    assert.deepStrictEqual(counted, counted.map((_, i) => i + 1));
}

test('a pod gives its memory back, and goes on counting when it is woken, twice', async () => {
    const {pod, counter} = await countingPod();
    const {ip} = (await node.podStatus(pod)).network;
    const mac = await node.output(counter, 'cat /sys/class/net/eth0/address');
    for (let round = 0; round < 2; round++) {
        await hibernate(pod);
        await asleep(pod, counter);
        assert.strictEqual(fs.statSync(saved(pod)).mode & 0o777, 0o700);
        for (const file of ['ram', 'devices'])
            assert.strictEqual(fs.statSync(path.join(saved(pod), file)).mode & 0o777, 0o600);
        await hibernate(pod); // again changes nothing

        await wake(pod);
        await wake(pod);
        assert.ok(!fs.existsSync(saved(pod)), 'the files are gone');
        assert.strictEqual((await node.containerStatus(counter)).reason, '');
        await counts(counter);
        assert.strictEqual((await node.podStatus(pod)).network.ip, ip);
        assert.strictEqual(await node.output(counter, 'cat /sys/class/net/eth0/address'), mac);
    }
});

test('the first command wakes the pod, for all that come at once', async () => {
    const {pod, counter} = await countingPod();
    await hibernate(pod);
    await asleep(pod, counter);
    const earlier = wakes();
    const answers = await Promise.all([1, 2, 3].map((i) => node.output(counter, `echo ${i}; date +%s`)));
    answers.forEach((answer, i) => {
        const [number, time] = answer.split('\n').map(Number);
        assert.strictEqual(number, i + 1);
        assert.ok(Math.abs(time - Date.now() / 1000) < 5, 'the clock is right');
    });
    assert.strictEqual(wakes() - earlier, 1);
    await counts(counter);
});

test('a hibernated pod stays so when the daemon is restarted, also by kill -9, and wakes', async () => {
    const {pod, counter} = await countingPod();
    await hibernate(pod);
    await node.restartDaemon();
    await asleep(pod, counter);
    await wake(pod);
    await counts(counter);

    await hibernate(pod);
    await node.restartDaemon('SIGKILL');
    await asleep(pod, counter);
    assert.strictEqual(await node.output(counter, 'echo awake'), 'awake');
    await counts(counter);
});

test('a hibernated pod is stopped and removed without being woken', async () => {
    const {pod, counter} = await countingPod();
    await hibernate(pod);
    await node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    const {state, exit_code, reason} = await node.containerStatus(counter);
    assert.deepStrictEqual([state, exit_code, reason], ['CONTAINER_EXITED', 137, 'Error']);
    assert.ok(!fs.existsSync(saved(pod)));
    await node.removePod(pod);
    const {pod: other} = await countingPod();
    await hibernate(other);
    await node.cri.call('RemovePodSandbox', {pod_sandbox_id: other.id});
    await node.noLeaks();
});

// ---- the calls ----

test('open sessions refuse hibernation by their number, and --force ends them', async () => {
    const {pod, counter} = await countingPod();
    const client = await exec(node, counter, 'WebSocket v5', 'echo begun; exec sleep 100000');
    await client.shows('begun');
    await refused(hibernate(pod), 'FAILED_PRECONDITION', '1 sessions of exec, attach or port-forward');
    await counts(counter);
    await hibernate(pod, {force: true});
    assert.match((await client.outcome()).message, /hibernated/);
    await asleep(pod, counter);
    await wake(pod);
    await counts(counter);
});

test('attach and port-forward wake the pod, and a program that is stopped gets its signal', async () => {
    const pod = await node.runPod();
    const server = await node.runContainer(pod, `
        trap 'echo asked to end; exit 7' TERM; (while :; do echo served | nc -l -p 8080; done) & while :; do sleep 0.1; echo here; done`);
    await eventually('it runs', () => fs.existsSync(server.log) && node.logTexts(server).length > 2);
    await hibernate(pod);
    const attached = await attach(node, server, 'WebSocket v5');
    await attached.shows('here');
    attached.destroy();
    await attached.closed;

    await eventually('it is hibernated', () => hibernate(pod).then(() => true, () => false));
    await asleep(pod, server);
    const forward = await Forward.open(node, pod, 'SPDY');
    const connection = forward.connect(8080);
    await eventually('it serves', () => connection.bytes().toString() === 'served\n');
    forward.close();

    await eventually('it is hibernated', () => hibernate(pod).then(() => true, () => false));
    await asleep(pod, server);
    await node.cri.call('StopContainer', {container_id: server.id, timeout: 20});
    assert.strictEqual((await node.containerStatus(server)).exit_code, 7);
    assert.strictEqual(node.logTexts(server).at(-1), 'asked to end');
});

test('lists, status and statistics do not wake the pod', async () => {
    const {pod, counter} = await countingPod();
    await hibernate(pod);
    const earlier = wakes();
    for (const [method, request] of [
        ['ListPodSandbox'], ['ListContainers'], ['ListContainerStats'], ['ListPodSandboxStats'], ['ListPodSandboxMetrics'],
        ['PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true}], ['PodSandboxStats', {pod_sandbox_id: pod.id}],
        ['ContainerStatus', {container_id: counter.id, verbose: true}], ['ContainerStats', {container_id: counter.id}],
        ['ReopenContainerLog', {container_id: counter.id}], ['Status', {verbose: true}],
    ])
        await node.cri.call(method, request);
    await asleep(pod, counter);
    assert.strictEqual(wakes(), earlier);
});

test('a wake that fails leaves the pod hibernated, its caller gets the reason, and the next one tries again', async () => {
    const {pod, counter} = await countingPod();
    await hibernate(pod);
    const ram = path.join(saved(pod), 'ram');
    fs.renameSync(ram, `${ram}.away`);
    for (const call of [() => wake(pod), () => node.exec(counter, 'true')])
        await assert.rejects(call(), ({details}) => /cannot wake sandbox .*ram/.test(details));
    await asleep(pod, counter);
    fs.renameSync(`${ram}.away`, ram);
    assert.strictEqual(await node.output(counter, 'echo awake'), 'awake');
    await counts(counter);
});

test('an administrator sees that a pod is hibernated, how often pods were, and why one does not wake', async () => {
    const {pod, counter} = await countingPod();
    const crivirt = async (...args) => {
        const {code, stdout, stderr} = await node.cli(...args);
        assert.strictEqual(code, 0, stderr);
        return stdout;
    };
    const podState = async () => JSON.parse(await crivirt('pods', '--json')).find(({id}) => id === pod.id).state;
    const containerState = async () => JSON.parse(await crivirt('ps', '--json')).find(({id}) => id === counter.id).state;
    const facts = async () => JSON.parse((await node.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id, verbose: true})).info.hibernation);
    const figure = async (name) => {
        const page = (await node.run('curl', '-s', `http://${METRICS}/metrics`)).stdout;
        const line = page.split('\n').find((one) => one.replace('{}', '').startsWith(`${name} `));
        return line === undefined ? 0 : Number(line.split(' ').at(-1)); // one that was never counted has no line
    };
    const counted = () => Promise.all(['crivirt_pods_hibernated', 'crivirt_hibernations_total{result="ok"}', 'crivirt_hibernations_total{result="failed"}',
                                       'crivirt_wakes_total{cause="call",result="ok"}', 'crivirt_wakes_total{cause="call",result="failed"}', 'crivirt_wake_seconds_count'].map(figure));
    const begin = await counted();
    const rises = async (expected) => assert.deepStrictEqual((await counted()).map((value, i) => value - begin[i]), expected);
    const shows = async (inPods, inPs, states) => {
        assert.match((await crivirt('pods')).split('\n').find((line) => line.startsWith(pod.id.slice(0, 12))), inPods);
        assert.match((await crivirt('ps')).split('\n').find((line) => line.startsWith(counter.id.slice(0, 12))), inPs);
        assert.deepStrictEqual([await podState(), await containerState()], states);
    };
    await shows(/ Ready /, /Up [^(]* {2}/, ['ready', 'running']);
    assert.deepStrictEqual(await facts(), {hibernated: false, wakeProblem: ''});

    await hibernate(pod);
    await hibernate(pod); // is not counted
    await shows(/ Hibernated /, /Up .*\(Hibernated\)/, ['hibernated', 'hibernated']);
    await rises([1, 1, 0, 0, 0, 0]);
    assert.deepStrictEqual(await facts(), {hibernated: true, wakeProblem: ''});

    fs.renameSync(path.join(saved(pod), 'ram'), path.join(saved(pod), 'ram.away'));
    await assert.rejects(wake(pod));
    await rises([1, 1, 0, 0, 1, 0]);
    assert.match((await facts()).wakeProblem, /cannot wake sandbox .*ram/);
    fs.renameSync(path.join(saved(pod), 'ram.away'), path.join(saved(pod), 'ram'));
    await wake(pod);
    await wake(pod);
    await rises([0, 1, 0, 1, 1, 1]);
    await shows(/ Ready /, /Up [^(]* {2}/, ['ready', 'running']);
    assert.deepStrictEqual(await facts(), {hibernated: false, wakeProblem: ''});

    const client = await exec(node, counter, 'WebSocket v5', 'echo begun; exec sleep 100000');
    await client.shows('begun');
    await refused(hibernate(pod), 'FAILED_PRECONDITION', '1 sessions');
    await rises([0, 1, 1, 1, 1, 1]);
    await hibernate(pod, {force: true});
    await node.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
    assert.strictEqual(await podState(), 'notready');
    await rises([0, 2, 1, 1, 1, 1]);
});

test('a wake into another VM than the saved one is refused by the name of the difference, and works once that is undone', async () => {
    const {pod, counter} = await countingPod();
    await hibernate(pod);
    const {flags} = node;
    node.flags = [...flags, '--guest-passthrough-ports=3'];
    await node.restartDaemon();
    await refused(wake(pod), 'FAILED_PRECONDITION', 'it cannot go on here: machine: the saved memory has');
    await asleep(pod, counter);
    node.flags = flags;
    await node.restartDaemon();

    const file = path.join(saved(pod), 'inputs');
    const inputs = fs.readFileSync(file, 'latin1');
    assert.doesNotMatch(inputs, /crivirt \d/, 'another crivirt may wake it');
    for (const [from, to, name] of [[/versions=QEMU \d+/, 'versions=QEMU 1', 'versions'], [/accelerator=\w+/, 'accelerator=other', 'accelerator'],
                                    [/processor=[^\0]*/, 'processor=other', 'processor'], [/^[^]*$/, '', 'format: the saved memory has "none"']]) {
        assert.match(inputs, from);
        fs.writeFileSync(file, inputs.replace(from, to), 'latin1');
        await refused(wake(pod), 'FAILED_PRECONDITION', `it cannot go on here: ${name}`);
    }
    await asleep(pod, counter);
    fs.writeFileSync(file, inputs, 'latin1');
    await wake(pod);
    await counts(counter);
});

test('a full state directory refuses hibernation, which leaves no file there, and the pod runs on', async () => {
    const pods = path.join(node.stateDir, 'pods');
    const {mode, uid, gid} = fs.statSync(pods);
    must('mount', '-t', 'tmpfs', '-o', `size=24m,mode=${(mode & 0o7777).toString(8)},uid=${uid},gid=${gid}`, 'crivirt-test', pods);
    node.mounts.push(pods);
    try {
        const {pod, counter} = await countingPod();
        await node.output(counter, 'head -c 40000000 /dev/urandom > /dev/shm/big; md5sum < /dev/shm/big > /sum');
        for (let round = 0; round < 2; round++) {
            await assert.rejects(hibernate(pod), ({code, details}) =>
                code === 8 && details.includes(saved(pod)) && /No space left on device/.test(details));
            assert.ok(!fs.existsSync(saved(pod)));
            assert.notStrictEqual(node.qemuPid(pod), undefined);
            await counts(counter);
        }
        await node.output(counter, 'md5sum < /dev/shm/big | cmp - /sum');

        must('mount', '-o', 'remount,size=400m', pods);
        await hibernate(pod);
        await asleep(pod, counter);
        await node.output(counter, 'md5sum < /dev/shm/big | cmp - /sum');
        await counts(counter);
    } finally {
        await node.removeAllPods();
        must('umount', pods);
        node.mounts.pop();
    }
});

// ---- what goes on ----

// A pod with a volume and a memory volume, in which a shell has all kinds of things open: a file that it appends to, a file
// that was deleted, a lock, a working directory, a child, a timer, and a socket that listens.
async function statefulPod() {
    const pod = await node.runPod();
    const data = node.directory(`data${serial()}`);
    const scratch = node.directory(`kubelet/pods/${pod.config.metadata.uid}/volumes/kubernetes.io~empty-dir/scratch`);
    fs.mkdirSync(path.join(data, 'dir'));
    fs.writeFileSync(path.join(data, 'locked'), '');
    const mounts = [{container_path: '/volume', host_path: data}, {container_path: '/scratch', host_path: scratch},
        node.toolMount()];
    const container = await node.runContainer(pod, {mounts, command: ['/bin/sh', '-c', `
        echo $$ > /pid; exec 3>>/volume/log; echo kept > /scratch/deleted; exec 4<>/scratch/deleted; rm /scratch/deleted; cd /volume/dir
        sleep 100000 | /tool hold-posix /volume/locked &
        (while :; do echo served | nc -l -p 8080; done) &
        head -c 20000000 /dev/urandom > /dev/shm/big; md5sum < /dev/shm/big > /sum
        i=0; while sleep 0.05; do i=$((i+1)); echo $i >&3; echo $i; [ ! -e /ask ] || { cat <&4 2>&1; rm /ask; } ; done`]});
    await eventually('it has begun', () => fs.existsSync(container.log) && node.logTexts(container).length > 6);
    const locked = async () => {
        const far = await node.runContainer(await node.runPod(), {mounts});
        return node.output(far, '/tool try-posix /volume/locked');
    };
    return {pod, container, data, locked};
}

// Wakes the pod by a command.
async function goesOn({container, data}) {
    assert.strictEqual(await node.output(container, 'readlink /proc/$(cat /pid)/cwd'), '/volume/dir');
    await grows(path.join(data, 'log'));
    const written = numbersIn(path.join(data, 'log'));
    assert.deepStrictEqual(written, written.map((_, i) => i + 1), 'no number is missing, none comes twice');
    const logged = node.logTexts(container).filter((text) => /^\d+$/.test(text)).map(Number);
    assert.deepStrictEqual(logged, logged.map((_, i) => i + 1));
    assert.strictEqual(await node.output(container, 'md5sum < /dev/shm/big | cmp - /sum && nc -w 5 127.0.0.1 8080 < /dev/null'), 'served');
}

test('memory, files on volumes, locks, children and servers go on, twice and over restarts', async () => {
    const stateful = await statefulPod();
    const {pod, container} = stateful;
    for (const restart of [false, true]) {
        await hibernate(pod);
        if (restart)
            await node.restartDaemon('SIGKILL');
        await asleep(pod, container);
        // They would keep the memory of the VM.
        assert.deepStrictEqual(processesOf(node).filter(({words}) => /virtiofsd|fsguard/.test(words[0])), []);
        await goesOn(stateful);
    }
    assert.strictEqual(await stateful.locked(), 'busy');
    await node.output(container, 'touch /ask');
    await eventually('a deleted file is stale', () => node.logTexts(container).some((text) => /Stale|error/.test(text)));
    await node.removeAllPods();
    await node.noLeaks();
});

test('a connection to another pod goes on', async () => {
    const server = await node.runPod();
    const serving = await node.runContainer(server, {
        command: ['/bin/sh', '-c', 'sleep 100000 | nc -l -p 7000 > /received'],
    });
    const {ip} = (await node.podStatus(server)).network;
    const pod = await node.runPod();
    const container = await node.runContainer(pod, `
        i=0; (while sleep 0.1; do i=$((i+1)); echo $i; done) | nc ${ip} 7000; echo ended`);
    const received = async () => (await node.output(serving, 'cat /received')).split('\n').map(Number);
    await eventually('it is connected', async () => (await received()).length > 5);
    await hibernate(pod);
    const before = await received();
    await wake(pod);
    await eventually('the peer receives more', async () => (await received()).length > before.length + 5);
    const all = await received();
    assert.deepStrictEqual(all, all.map((_, i) => i + 1));
    assert.deepStrictEqual(node.logTexts(container), []);
});
