// SPDX-License-Identifier: Apache-2.0
'use strict';
// A reload of the configuration by SIGHUP: what changes, what waits for a restart, and what a bad file does.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {root, programs} = require('./support/environment');
const {Node} = require('./support/node');
const {eventually, refused} = require('./support/kit');
const {processesOf} = require('./support/processes');

const config = `
[log]
level = "debug"
[handlers.small]
memory = "96MiB"
`;
let node;
before(async () => {
    node = new Node({config});
    // The flags of other tests would override the file.
    const words = node.daemonWords.bind(node);
    node.daemonWords = (more) => words(more).filter((word) => !/^--(log-level|registry-hosts-dir)=/.test(word));
    node.makeNetwork({});
    node.notifySocket = path.join(node.dir, 'notify');
    node.env = [`NOTIFY_SOCKET=${node.notifySocket}`];
    node.spawn([programs.serviceManager, 'notify', node.notifySocket], 'notify.log');
    await eventually('the service manager listens', () => fs.existsSync(node.notifySocket));
    await node.startDaemon();
    await node.loadBusybox();
});
after(() => node.end());

const daemonPid = () => processesOf(node).find(({words}) => words[0].endsWith('/crivirtd')).pid;
const notified = () => fs.readFileSync(path.join(node.dir, 'notify.log'), 'utf8').split('\n').slice(0, -1);
const inForce = async () => JSON.parse((await node.cri.call('Status', {verbose: true})).info.config);

// What the daemon logs of a reload with that configuration.
async function reload(text, dropIns = {}) {
    const directory = `${node.configFile}.d`;
    fs.writeFileSync(node.configFile, text);
    fs.rmSync(directory, {recursive: true, force: true});
    fs.mkdirSync(directory);
    for (const [name, content] of Object.entries(dropIns))
        fs.writeFileSync(path.join(directory, name), content);
    const logged = node.daemonLog().length;
    const messages = notified().length;
    process.kill(daemonPid(), 'SIGHUP');
    await eventually('the reload is over', () => notified().slice(messages).some((line) => line.startsWith('READY=1')));
    return node.daemonLog().slice(logged);
}

test('a reload changes options and handlers, and names each change', async () => {
    const log = await reload(`
[log]
level = "info"
[guest]
memory = "160MiB"
[images]
max_parallel_layers = 5
[registry]
hosts_dir = "${node.dir}/other.d"
[handlers.large]
memory = "192MiB"
`);
    assert.match(log, /log\.level changes from \\"debug\\" to \\"info\\"/);
    assert.match(log, /guest\.memory changes from .*256MiB.* to .*160MiB/);
    assert.match(log, /handlers\.vm\.memory changes/);
    assert.match(log, /new handler: handlers\.large/);
    assert.match(log, /no longer has handlers\.small/);
    assert.match(log, /read again: 7 changes apply"/);
    const {guest, images, registry, handlers} = await inForce();
    assert.deepStrictEqual([guest.memory, images.max_parallel_layers, registry.hosts_dir, Object.keys(handlers)],
                           ['160MiB', 5, `${node.dir}/other.d`, ['vm', 'large']]);
    const names = (await node.cri.call('Status')).runtime_handlers.map(({name}) => name);
    assert.deepStrictEqual(names, ['', 'vm', 'large']);
    const length = node.daemonLog().length;
    await node.cri.call('Version');
    assert.doesNotMatch(node.daemonLog().slice(length), /level=debug/);
});

test('an option that needs a restart is named, and stays as it is until the restart', async () => {
    const log = await reload('[server]\npod_workers = 7\n[guest]\nmemory = "128MiB"\n');
    assert.match(log, /level=warning .*sets server\.pod_workers to 7, which needs a restart of crivirtd; 64 stays in force/);
    assert.match(log, /a restart is needed for server\.pod_workers"/);
    assert.deepStrictEqual([(await inForce()).server.pod_workers, (await inForce()).guest.memory], [64, '128MiB']);
    await node.restartDaemon();
    assert.strictEqual((await inForce()).server.pod_workers, 7);
});

test('a bad file changes nothing, and its error names the file, the line and the key', async () => {
    await reload('[guest]\nmemory = "160MiB"\n');
    const log = await reload('[guest]\nmemory = "192MiB"\n\nvcpus = 0\n');
    assert.match(log, /level=error .*stays as it was: .*crivirt\.toml:4: guest\.vcpus: \\"0\\" is not allowed; allowed: 1 to 512/);
    assert.strictEqual((await inForce()).guest.memory, '160MiB');
    assert.match(notified().at(-1), /^READY=1\|STATUS=the last reload failed: .*crivirt\.toml:4: guest\.vcpus/);
});

test('a drop-in overrides the file, and its errors name it', async () => {
    await reload('[guest]\nmemory = "160MiB"\n', {'10-a.toml': '[guest]\nmemory = "192MiB"\n', 'no.txt': 'nonsense'});
    assert.strictEqual((await inForce()).guest.memory, '192MiB');
    const log = await reload('', {'10-a.toml': '[guest]\nmemroy = "192MiB"\n'});
    assert.match(log, /crivirt\.toml\.d\/10-a\.toml:2.*memroy/);
    assert.strictEqual((await inForce()).guest.memory, '192MiB');
});

test('the service manager is told that the daemon reloads, since when, and that it is ready again', async () => {
    await reload('');
    const [begin, end] = notified().slice(-2);
    assert.match(begin, /^RELOADING=1\|MONOTONIC_USEC=[0-9]+$/);
    assert.match(end, /^READY=1\|STATUS=the configuration was read again: /);
});

test('a pull after a reload uses the new directory of registries', async () => {
    const directory = path.join(node.dir, 'hosts.d');
    fs.mkdirSync(path.join(directory, '_default'), {recursive: true});
    fs.writeFileSync(path.join(directory, '_default', 'hosts.toml'), 'server = 5\n');
    await reload(`[registry]\nhosts_dir = "${directory}"\n`);
    const error = await node.cri.call('PullImage', {image: {image: 'registry.test/a:1'}}).catch((one) => one);
    assert.match(error.details, /hosts\.d\/_default\/hosts\.toml/);
});

test('an image that images.pinned names is reported as pinned from the reload on', async () => {
    const busybox = 'docker.io/library/busybox:latest';
    const pinned = async () => [(await node.cri.call('ListImages')).images[0].pinned,
                                (await node.cri.call('ImageStatus', {image: {image: busybox}})).image.pinned];
    await reload('');
    assert.deepStrictEqual(await pinned(), [false, false]);
    await reload('[images]\npinned = ["registry.test/other:1", "busybox"]\n');
    assert.deepStrictEqual(await pinned(), [true, true]);
    const checked = await node.run(...node.daemonWords(['--check-config', '--images-pinned=no name']));
    assert.match(checked.stdout, /^warning: images\.pinned: .*no name/m);
});

test('pods keep running while their handler goes away, and new pods get the new handlers', async () => {
    await reload('[handlers.first]\nkernel_parameters = "crivirt_test=first"\n');
    const old = await node.runPod({}, 'first');
    await reload('[handlers.second]\nkernel_parameters = "crivirt_test=second"\n');
    const container = await node.runContainer(old, {});
    assert.match(await node.output(container, 'cat /proc/cmdline'), /crivirt_test=first/);
    await refused(node.runPod({}, 'first'), 'INVALID_ARGUMENT', 'first', 'second');
    const fresh = await node.runPod({}, 'second');
    assert.match(await node.output(await node.runContainer(fresh, {}), 'cat /proc/cmdline'), /crivirt_test=second/);
    await node.removePod(old);
    await node.removePod(fresh);
});

test('calls during many reloads see one configuration each', async () => {
    const wanted = [['96MiB', 3], ['128MiB', 4]];
    let over = false;
    const seen = [];
    const reader = (async () => {
        while (!over) {
            const {guest, handlers, images} = await inForce();
            assert.strictEqual(handlers.vm.memory, guest.memory);
            seen.push(`${guest.memory} ${images.max_parallel_layers}`);
        }
    })();
    for (let i = 0; i < 40; i++) {
        const [memory, layers] = wanted[i % 2];
        await reload(`[guest]\nmemory = "${memory}"\n[images]\nmax_parallel_layers = ${layers}\n`);
    }
    over = true;
    await reader;
    const possible = ['256MiB 3', ...wanted.map((pair) => pair.join(' '))];
    assert.deepStrictEqual([...new Set(seen)].filter((one) => !possible.includes(one)), []);
});

test('the unit reloads by SIGHUP after it has checked the file', () => {
    const unit = fs.readFileSync(path.join(root, 'deploy/crivirtd.service'), 'utf8');
    assert.match(unit, /^ExecReload=.*--print-config.*\nExecReload=\/bin\/kill -HUP \$MAINPID$/m);
});
