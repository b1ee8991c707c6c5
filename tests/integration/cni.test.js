'use strict';
// A CNI plugin that fails, is killed, or hangs: nothing waits for it without a bound, and what it owes is done later.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Machine} = require('./support/machine');
const {eventually, refused, must} = require('./support/kit');

let machine, plugins;
before(async () => {
    machine = new Machine({flags: ['--cni-timeout=8s']});
    plugins = path.join(machine.dir, 'plugins');
    fs.mkdirSync(plugins);
    // Does as the file says ("hang ADD"); passes the network on.
    fs.writeFileSync(path.join(plugins, 'moody'), `#!/bin/bash
config=$(cat)
case "$(cat ${plugins}/mood 2>/dev/null)" in
"hang $CNI_COMMAND") touch ${plugins}/hangs; sleep 86399 ;;
"fail $CNI_COMMAND") echo '{"cniVersion": "1.0.0", "code": 100, "msg": "not in the mood"}'; exit 1 ;;
"die $CNI_COMMAND") kill -9 $$ ;;
esac
[ "$CNI_COMMAND" != ADD ] || jq .prevResult <<<"$config"
`, {mode: 0o755});
    machine.flags.push(`--cni-plugin-dirs=${plugins},/opt/cni/bin,/usr/lib/cni`);
    machine.makeNetwork();
    const file = path.join(machine.cniDir, '10-test.conflist');
    const network = JSON.parse(fs.readFileSync(file, 'utf8'));
    network.plugins.push({type: 'moody'});
    machine.writeCni(JSON.stringify(network));
    await machine.startDaemon();
    await machine.loadBusybox();
});
after(() => machine.end());
afterEach(() => mood(''));

const mood = (text) => {
    fs.rmSync(path.join(plugins, 'hangs'), {force: true});
    fs.writeFileSync(path.join(plugins, 'mood'), text);
};
const hangs = () => eventually('the plugin hangs', () => fs.existsSync(path.join(plugins, 'hangs')));
const sleepers = () => must('sh', '-c', 'pgrep -fx "sleep 86399" || true').trim();
const podIds = async () => (await machine.cri.call('ListPodSandbox')).items.map(({id}) => id);
const nothingIsLeft = async () => {
    await eventually('nothing is listed', async () => (await podIds()).length === 0);
    await eventually('no plugin is left', () => sleepers() === '');
    await eventually('no stray is left', () => machine.strays([]).length === 0).catch(() => {});
    assert.deepStrictEqual(machine.strays([]), []);
    await machine.noLeaks();
};

for (const [name, words] of [['fail ADD', ['moody', 'not in the mood']], ['die ADD', ['moody', '137']]])
    test(`a plugin told to "${name}" fails the sandbox, by its name, and leaves nothing`, async () => {
        mood(name);
        const error = await machine.runPod().then(() => null, (thrown) => thrown);
        for (const word of words)
            assert.ok(error.details.includes(word), error.details);
        await nothingIsLeft();
    });

test('a plugin that hangs in ADD is killed with what it started after network.cni_timeout, and named', async () => {
    mood('hang ADD');
    await refused(machine.runPod(), 'DEADLINE_EXCEEDED', 'moody', 'ADD');
    await nothingIsLeft();
});

test('a client that gives up while a plugin hangs in ADD has it ended, and gets its sandbox later', async () => {
    mood('hang ADD');
    const config = machine.podConfig();
    await refused(machine.cri.call('RunPodSandbox', {config}, 3000), 'DEADLINE_EXCEEDED');
    await eventually('no plugin is left', () => sleepers() === '');
    mood('');
    const {pod_sandbox_id: id} = await machine.cri.call('RunPodSandbox', {config});
    assert.deepStrictEqual(await podIds(), [id]);
    await machine.removePod({id});
    await nothingIsLeft();
});

test('a daemon killed while a plugin hangs in ADD leaves neither plugin nor network', async () => {
    mood('hang ADD');
    const config = machine.podConfig();
    const running = machine.cri.call('RunPodSandbox', {config}).catch(() => {});
    await hangs();
    await machine.stopDaemon('SIGKILL');
    await running;
    mood('');
    await machine.startDaemon();
    await nothingIsLeft();
});

for (const name of ['fail DEL', 'die DEL', 'hang DEL'])
    test(`a plugin told to "${name}" leaves the sandbox listed as not ready until a later Remove ends it`, async () => {
        const pod = await machine.runPod();
        const container = await machine.runContainer(pod);
        mood(name);
        await assert.rejects(machine.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id}),
                             ({details}) => details.includes('moody') && details.includes('DEL'));
        assert.strictEqual((await machine.podStatus(pod)).state, 'SANDBOX_NOTREADY');
        assert.strictEqual((await machine.containerStatus(container)).state, 'CONTAINER_EXITED');
        await assert.rejects(machine.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id}));
        await machine.restartDaemon('SIGKILL'); // serves, whatever the plugin does
        assert.deepStrictEqual(await podIds(), [pod.id]);
        assert.strictEqual((await machine.podStatus(pod)).state, 'SANDBOX_NOTREADY');
        mood('');
        await machine.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
        await nothingIsLeft();
    });

test('a daemon told to stop does not wait for a plugin that hangs', async () => {
    const pod = await machine.runPod();
    mood('hang DEL');
    await assert.rejects(machine.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id}));
    mood('hang DEL');
    await machine.restartDaemon('SIGKILL'); // tries again by itself
    await hangs();
    assert.strictEqual((await machine.stopDaemon()).code, 0);
    mood('');
    await machine.startDaemon();
    await machine.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
    await nothingIsLeft();
});

test('at its start the daemon tells plugins of CNI 1.1 what is in use, so that they give up the rest', async () => {
    const pod = await machine.runPod();
    const file = path.join(machine.cniDir, '10-test.conflist');
    const before = fs.readFileSync(file, 'utf8');
    const told = path.join(plugins, 'told');
    fs.writeFileSync(path.join(plugins, 'keeper'), `#!/bin/bash
config=$(cat)
[ "$CNI_COMMAND" != GC ] || echo "$config" >${told}
`, {mode: 0o755});
    await machine.stopDaemon();
    machine.writeCni(JSON.stringify({cniVersion: '1.1.0', name: 'kept', plugins: [{type: 'keeper'}]}));
    await machine.startDaemon();
    assert.deepStrictEqual(JSON.parse(fs.readFileSync(told, 'utf8'))['cni.dev/valid-attachments'],
                           [{containerID: pod.id, ifname: 'eth0'}]);
    machine.writeCni(before);
    await machine.removePod(pod);
    await nothingIsLeft();
});
