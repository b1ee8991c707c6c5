// SPDX-License-Identifier: Apache-2.0
// The scripts that install, upgrade and remove crivirt, on a directory as the node's root.
'use strict';
const assert = require('assert');
const fs = require('fs');
const {test, beforeEach, afterEach} = require('node:test');
const {Scratch} = require('./support/scratch');

const ONE = '0.1.0-amd64';
const TWO = '0.2.0-amd64';
let node, one, two;
beforeEach(() => {
    node = new Scratch();
    one = node.bundle(ONE);
    two = node.bundle(TWO);
});
afterEach(() => node.end());

const install = (bundle, ...config) => node.script(bundle, 'install.sh', node.directory, ...config);
const link = (name) => fs.readlinkSync(node.at('opt/crivirt', name));
const units = () => fs.readdirSync(node.at('etc/systemd/system')).sort();

async function installed(bundle, ...config) {
    const {code, output} = await install(bundle, ...config);
    assert.strictEqual(code, 0, output);
    return node.calls();
}

test('a first installation puts tree, units and configuration, and starts the daemon before it runs a pod', async () => {
    node.write('config.toml', '[log]\nlevel = "debug"\n');
    const calls = await installed(one, node.at('config.toml'));
    assert.strictEqual(link('current'), `versions/${ONE}`);
    assert.deepStrictEqual(units(), ['crivirt-check.service', 'crivirt-switch.service', 'crivirt-switch.timer', 'crivirtd.service']);
    assert.deepStrictEqual(calls, ['daemon-reload', 'enable crivirtd.service crivirt-switch.timer', 'restart crivirtd.service',
        'start crivirt-check.service', 'start crivirt-switch.timer']);
    assert.match(node.read('etc/systemd/system/crivirt-switch.service'),
                 /^ExecStart=\/opt\/crivirt\/current\/bin\/busybox sh \/opt\/crivirt\/current\/lib\/crivirt\/node\/switch\.sh$/m);
    assert.strictEqual(node.read('etc/crivirt/crivirt.toml.d/50-cluster.toml'), '[log]\nlevel = "debug"\n');
    assert.ok(node.exists('etc/crivirt/crivirt.toml'));
    assert.ok(!fs.readdirSync(node.at('opt/crivirt')).some((name) => name.startsWith('.')));
});

test('an installation of what runs changes nothing', async () => {
    await installed(one);
    assert.deepStrictEqual(await installed(one), ['is-active -q crivirtd.service']);
});

test('an upgrade keeps the version before it', async () => {
    await installed(one);
    await installed(two);
    assert.strictEqual(link('current'), `versions/${TWO}`);
    assert.strictEqual(link('previous'), `versions/${ONE}`);
    assert.match(node.read('etc/systemd/system/crivirtd.service'), /# 0\.2\.0/);
});

for (const failure of ['restart-crivirtd.service', 'start-crivirt-check.service'])
    test(`an upgrade goes back to the version before it, with its units and configuration, when this fails: ${failure}`, async () => {
        node.write('old.toml', 'old = 1\n');
        node.write('new.toml', 'new = 1\n');
        await installed(one, node.at('old.toml'));
        node.write(`fails/${failure}`, '');
        const {code, output} = await install(two, node.at('new.toml'));
        assert.strictEqual(code, 1);
        assert.match(output, /going back to 0\.1\.0-amd64/);
        assert.match(output, /0\.2\.0-amd64 was not installed: its daemon did not start, or could run no pod/);
        assert.strictEqual(link('current'), `versions/${ONE}`);
        assert.match(node.read('etc/systemd/system/crivirtd.service'), /# 0\.1\.0/);
        assert.strictEqual(node.read('etc/crivirt/crivirt.toml.d/50-cluster.toml'), 'old = 1\n');
    });

test('a first installation that fails leaves no unit, no link and no drop-in', async () => {
    node.write('fails/start-crivirt-check.service', '');
    node.write('config.toml', 'bad = 1\n');
    assert.strictEqual((await install(one, node.at('config.toml'))).code, 1);
    assert.deepStrictEqual(units(), []);
    assert.ok(!node.exists('opt/crivirt/current'));
    assert.ok(!node.exists('etc/crivirt/crivirt.toml.d/50-cluster.toml'));
    assert.ok(node.calls().includes('disable --now crivirtd.service crivirt-switch.timer'));
});

test('a damaged bundle is refused before anything is changed', async () => {
    await installed(one);
    node.write(`${two}/bin/crivirt`, 'damaged');
    const {code, output} = await install(two);
    assert.strictEqual(code, 1);
    assert.match(output, /the bundle 0\.2\.0-amd64 is damaged/);
    assert.strictEqual(link('current'), `versions/${ONE}`);
    assert.deepStrictEqual(node.calls(), []);
});

test('a version on the node that is damaged is replaced', async () => {
    await installed(one);
    node.write(`opt/crivirt/versions/${ONE}/bin/busybox`, 'damaged');
    await installed(one);
    assert.strictEqual((await node.run('cmp', [node.at(one, 'bin/busybox'), node.at(`opt/crivirt/versions/${ONE}/bin/busybox`)])).code, 0);
});

test('a changed configuration restarts the daemon, and is undone when no pod runs with it', async () => {
    node.write('config.toml', 'first = 1\n');
    await installed(one, node.at('config.toml'));
    node.write('config.toml', 'second = 1\n');
    assert.ok((await installed(one, node.at('config.toml'))).includes('restart crivirtd.service'));
    assert.strictEqual(node.read('etc/crivirt/crivirt.toml.d/50-cluster.toml'), 'second = 1\n');
    node.write('config.toml', 'third = 1\n');
    node.write('fails/start-crivirt-check.service', '');
    assert.strictEqual((await install(one, node.at('config.toml'))).code, 1);
    assert.strictEqual(node.read('etc/crivirt/crivirt.toml.d/50-cluster.toml'), 'second = 1\n');
    assert.strictEqual(link('current'), `versions/${ONE}`);
});

test('a bundle that was unpacked on the node installs itself', async () => {
    const {code, output} = await node.script(node.bundle(ONE, `opt/crivirt/versions/${ONE}`), 'install.sh', node.directory);
    assert.strictEqual(code, 0, output);
    assert.strictEqual(link('current'), `versions/${ONE}`);
});

test('prune.sh removes only versions that nothing uses', async () => {
    await installed(one);
    await installed(two);
    node.bundle('0.0.9-amd64', 'opt/crivirt/versions/0.0.9-amd64');
    const {code, output} = await node.chrooted('prune.sh');
    assert.strictEqual(code, 0, output);
    assert.deepStrictEqual(fs.readdirSync(node.at('opt/crivirt/versions')).sort(), [ONE, TWO]);
});

test('uninstall.sh leaves no unit, and fails when the node refuses', async () => {
    await installed(one);
    node.write('fails/start-crivirt-remove.service', '');
    assert.strictEqual((await node.script(one, 'uninstall.sh', node.directory)).code, 1);
    assert.ok(units().includes('crivirtd.service'));
    node.remove('fails/start-crivirt-remove.service');
    const {code, output} = await node.script(one, 'uninstall.sh', node.directory);
    assert.strictEqual(code, 0, output);
    assert.deepStrictEqual(units(), []);
});

test('remove.sh ends pods and daemon, and leaves no file', async () => {
    await installed(one);
    node.write('pods/_run_crivirt_crivirtd.sock', 'pod1\npod2\n');
    node.write('var/lib/crivirt/state.db', '');
    const {code, output} = await node.chrooted('remove.sh');
    assert.strictEqual(code, 0, output);
    const calls = node.calls();
    assert.ok(calls.indexOf('crivirt rmp -f pod1 pod2') > 0);
    assert.ok(calls.indexOf('disable --now crivirtd.service') > calls.indexOf('crivirt rmp -f pod1 pod2'));
    for (const name of ['opt/crivirt', 'etc/crivirt', 'var/lib/crivirt', 'var/lib/crivirt-switch'])
        assert.ok(!node.exists(name), `${name} is left`);
    assert.deepStrictEqual(fs.readdirSync(node.at('run')), []);
});

test('remove.sh refuses while the kubelet uses crivirt', async () => {
    await installed(one);
    node.write('var/lib/crivirt-switch/runtime', 'crivirt\n');
    node.calls();
    const {code, output} = await node.chrooted('remove.sh');
    assert.strictEqual(code, 1);
    assert.match(output, /remove the node's label crivirt\.io\/switch/);
    assert.deepStrictEqual(node.calls(), []);
    assert.ok(node.exists('opt/crivirt/current'));
});
