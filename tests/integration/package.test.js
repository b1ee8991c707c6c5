// SPDX-License-Identifier: Apache-2.0
'use strict';
// The Debian package of a build, installed into a directory. Nothing else on this machine changes, because the package's
// scripts get that directory as DPKG_ROOT.
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {test, before, after} = require('node:test');
const {build, qemu} = require('./support/environment');
const {must} = require('./support/kit');

const root = path.join(__dirname, '../..');
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-package-'));
let deb, installed; // the latter is only read

// A directory that dpkg takes for the root of a node. The packages that crivirt depends on are not in it.
class Root {
    constructor() {
        this.directory = fs.mkdtempSync(path.join(work, 'root-'));
        for (const directory of ['info', 'updates', 'triggers'])
            fs.mkdirSync(this.at(`var/lib/dpkg/${directory}`), {recursive: true});
        fs.writeFileSync(this.at('var/lib/dpkg/status'), '');
        this.dpkg('-i', deb);
    }

    at(name) {
        return path.join(this.directory, name);
    }

    dpkg(...args) {
        must('dpkg', `--root=${this.directory}`, '--force-depends', '--force-script-chrootless', '--force-confdef', '--force-confold',
             '--log=/dev/null', ...args);
    }
}

before(() => {
    must('cpack', '-G', 'DEB', '--config', path.join(build, 'CPackConfig.cmake'), '-B', work);
    deb = path.join(work, fs.readdirSync(work).find((name) => name.endsWith('.deb')));
    installed = new Root();
});
after(() => fs.rmSync(work, {recursive: true, force: true}));

test('the package depends on what a node needs, and on no more', () => {
    const runtime = must(path.join(root, 'deploy/packages.sh'), '--list', 'runtime').trim().split('\n');
    const depends = must('dpkg-deb', '-f', deb, 'Depends').trim().split(', ');
    assert.deepStrictEqual(depends.sort(), [...runtime, 'passwd'].sort());
});

test('the installed programs run, and accept the installed configuration, which is the default one', () => {
    const at = (name) => installed.at(name);
    const daemon = at('usr/sbin/crivirtd');
    const config = at('etc/crivirt/crivirt.toml');
    assert.match(must(daemon, '--version'), /^crivirtd [0-9.]+\n$/);
    assert.strictEqual(fs.readFileSync(config, 'utf8'), must(daemon, '--dump-default'));
    assert.match(must(daemon, '--config', config, '--print-config'), /state_dir = "\/var\/lib\/crivirt"/);
    assert.match(must(at('usr/bin/crivirt'), '--help'), /Usage/i);
    for (const name of ['usr/lib/crivirt/crivirt-agent', 'usr/lib/crivirt/crivirt-fsguard'])
        fs.accessSync(at(name), fs.constants.X_OK);
});

const own = path.isAbsolute(qemu) && 'usr/lib/crivirt/qemu-system-x86_64';

test("the package has crivirt's own QEMU, which its daemon would use, with the name of its source", {skip: !own}, () => {
    const at = (name) => installed.at(name);
    assert.strictEqual(must(at(own), '--version'), must(qemu, '--version'));
    assert.match(fs.readFileSync(at('usr/share/doc/crivirt/qemu/source'), 'utf8'), /^qemu 1:7\.2\+\S+\n$/);
    for (const name of ['build.sh', 'devices.mak', 'features', 'patches/x86-no-device-tree.patch'])
        fs.accessSync(at(`usr/share/doc/crivirt/qemu/${name}`));
});

test('every program is position-independent, bound at its start, and has no writable code', () => {
    const at = (name) => installed.at(name);
    for (const name of ['usr/sbin/crivirtd', 'usr/bin/crivirt', 'usr/lib/crivirt/crivirt-fsguard', ...own ? [own] : []]) {
        const text = must('readelf', '-hldW', at(name));
        assert.match(text, /Type:\s+DYN/, name);
        assert.match(text, /GNU_RELRO/, name);
        assert.match(text, /BIND_NOW|Flags:.*NOW/, name);
        assert.match(text, /GNU_STACK.* RW /, name);
        assert.doesNotMatch(text, /LOAD.* RWE /, name);
    }
});

test('the unit starts programs of the package, and the manual page is one', () => {
    const at = (name) => installed.at(name);
    const unit = fs.readFileSync(at('usr/lib/systemd/system/crivirtd.service'), 'utf8');
    const [, program, config] = /^ExecStart=(\S+) --config (\S+)$/m.exec(unit);
    fs.accessSync(at(program), fs.constants.X_OK);
    fs.accessSync(at(config));
    assert.ok(fs.existsSync(at(/^Documentation=file:(\S+)$/m.exec(unit)[1])));
    assert.match(fs.readFileSync(at('usr/share/man/man1/crivirt.1'), 'utf8'), /^\.TH /m);
});

test('an upgrade keeps a configuration that was changed', () => {
    const node = new Root();
    const config = node.at('etc/crivirt/crivirt.toml');
    fs.writeFileSync(config, '# ours\n');
    node.dpkg('-i', deb);
    assert.strictEqual(fs.readFileSync(config, 'utf8'), '# ours\n');
});

test('removing the package keeps configuration, images and state, and purging it leaves nothing', () => {
    const node = new Root();
    const at = (name) => node.at(name);
    fs.mkdirSync(at('var/lib/crivirt/images'), {recursive: true});
    node.dpkg('-r', 'crivirt');
    assert.ok(fs.existsSync(at('etc/crivirt/crivirt.toml')) && fs.existsSync(at('var/lib/crivirt/images')));
    assert.ok(!fs.existsSync(at('usr/sbin/crivirtd')));
    node.dpkg('-P', 'crivirt');
    assert.deepStrictEqual(must('find', node.directory, '-name', '*crivirt*').trim(), '');
});

test('cmake --install keeps a configuration that exists', () => {
    const destination = path.join(work, 'destination');
    const config = path.join(destination, 'etc/crivirt/crivirt.toml');
    const install = () => must('env', `DESTDIR=${destination}`, 'cmake', '--install', build);
    install();
    fs.writeFileSync(config, '# ours\n');
    install();
    assert.strictEqual(fs.readFileSync(config, 'utf8'), '# ours\n');
});

test('/etc/crictl.yaml is that of the package where there was none, and an administrator\'s own is kept', () => {
    const fresh = new Root();
    assert.match(fs.readFileSync(fresh.at('etc/crictl.yaml'), 'utf8'), /^runtime-endpoint: unix:\/\/\/run\/crivirt\/crivirtd\.sock$/m);
    fs.writeFileSync(fresh.at('etc/crictl.yaml'), 'runtime-endpoint: unix:///run/other.sock\n');
    fresh.dpkg('-i', deb);
    fresh.dpkg('-r', 'crivirt');
    assert.match(fs.readFileSync(fresh.at('etc/crictl.yaml'), 'utf8'), /other\.sock/);
    const removed = new Root();
    removed.dpkg('-r', 'crivirt');
    assert.ok(!fs.existsSync(removed.at('etc/crictl.yaml')));
});

test('the package has the units that switch a kubelet, with its own paths', () => {
    const unit = fs.readFileSync(installed.at('usr/lib/systemd/system/crivirt-switch.service'), 'utf8');
    const [, script] = /^ExecStart=\/bin\/sh (\S+)$/m.exec(unit);
    fs.accessSync(installed.at(script), fs.constants.X_OK);
    fs.accessSync(installed.at('usr/lib/systemd/system/crivirt-switch.timer'));
    fs.accessSync(installed.at('usr/share/crivirt/check.tar'));
});
