// SPDX-License-Identifier: Apache-2.0
'use strict';
// The bundle of deploy/bundle, on nodes that have nothing else: root directories with other libraries or with none, each with mount,
// network and process namespaces of its own (tests/bundle).
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {test, before, after} = require('node:test');
const {root, build, guests, qemu} = require('./support/environment');
const {command, must} = require('./support/kit');

const deploy = path.join(root, 'deploy');
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-bundle-test-'));
let output, name, version; // "crivirt-0.1.0-amd64", "0.1.0-amd64"

const sha256 = (file) => crypto.createHash('sha256').update(fs.readFileSync(file)).digest('hex');

async function make(directory, env) {
    const made = await command(path.join(deploy, 'bundle/make.sh'), [build, directory], {env});
    assert.strictEqual(made.code, 0, made.stderr);
    return path.basename(made.stdout.trim(), '.tar.zst');
}

function unpack(directory) {
    fs.mkdirSync(directory, {recursive: true});
    must('tar', '-C', directory, '--strip-components=1', '-xf', path.join(output, `${name}.tar.zst`));
    return directory;
}

// Every file and link below a directory, without the directory's name.
const files = (directory) => must('find', directory, '!', '-type', 'd', '-printf', '%P\n').trim().split('\n').sort();

before(async () => {
    fs.chmodSync(work, 0o755); // QEMU's user looks for its files
    fs.cpSync(guests.tuned, path.join(build, 'guest'), {recursive: true, verbatimSymlinks: true});
    if (path.isAbsolute(qemu))
        must('install', '-D', qemu, path.join(build, 'qemu/qemu-system-x86_64'));
    output = path.join(work, 'output');
    name = await make(output, {});
    version = name.replace('crivirt-', '');
});
after(() => fs.rmSync(work, {recursive: true, force: true}));

test('the same inputs give the same bytes, whatever the time, the directory and the settings of the shell are', async () => {
    const again = path.join(work, 'again');
    const temporary = path.join(work, 'temporary');
    fs.mkdirSync(temporary);
    await make(again, {TMPDIR: temporary, TZ: 'Asia/Tokyo', LC_ALL: 'C.UTF-8'});
    assert.strictEqual(fs.readFileSync(path.join(again, 'SHA256SUMS'), 'utf8'), fs.readFileSync(path.join(output, 'SHA256SUMS'), 'utf8'));
    must('sh', '-c', `cd ${output} && sha256sum --quiet -c SHA256SUMS`);
    fs.rmSync(again, {recursive: true});
});

test('the lists of the bundle have the digest of each file, and the version and source of each package', () => {
    const tree = unpack(path.join(work, 'lists'));
    must('sh', '-c', `cd ${tree} && sha256sum --quiet -c share/crivirt/SHA256SUMS`);
    const sbom = JSON.parse(fs.readFileSync(path.join(tree, 'share/crivirt/sbom.spdx.json')));
    const listed = new Map(sbom.files.map((file) => [file.fileName.slice(2), file.checksums[0].checksumValue]));
    const lists = ['share/crivirt/SHA256SUMS', 'share/crivirt/sbom.spdx.json'];
    const present = files(tree).filter((file) => !lists.includes(file) && !fs.lstatSync(path.join(tree, file)).isSymbolicLink());
    assert.deepStrictEqual([...listed.keys()].sort(), present);
    for (const file of present)
        assert.strictEqual(listed.get(file), sha256(path.join(tree, file)), file);
    for (const item of sbom.packages)
        assert.ok(item.versionInfo && item.licenseDeclared && /^source package \S+ \S+$/.test(item.sourceInfo), item.name);
    assert.strictEqual(sbom.packages.find((item) => item.name === 'libc6').versionInfo,
                       must('dpkg-query', '-W', '-f', '${Version}', 'libc6'));
    const explained = new Set(sbom.hasExtractedLicensingInfos.map((licence) => licence.licenseId));
    for (const reference of JSON.stringify(sbom.packages).match(/LicenseRef-[A-Za-z0-9.-]+/g))
        assert.ok(explained.has(reference), reference);
});

test('a bundle that lies elsewhere runs after relocate.sh, with its own loader and libraries', () => {
    const tree = unpack(path.join(work, 'elsewhere'));
    must('sh', path.join(tree, 'libexec/crivirt/relocate.sh'), tree);
    assert.match(must(path.join(tree, 'bin/crun'), '--version'), /^crun version/);
    assert.match(must(path.join(tree, 'bin/crivirtd'), '--print-config'), new RegExp(`kernel = "${tree}/lib/crivirt/guest/kernel"`));
    const program = ['lib/crivirt', 'bin'].map((folder) => path.join(tree, folder, 'qemu-system-x86_64')).filter((file) => fs.existsSync(file));
    assert.strictEqual(program.length, 1, "crivirt's own QEMU is there instead of Debian's");
    const loaded = must('env', 'LD_TRACE_LOADED_OBJECTS=1', program[0]);
    assert.deepStrictEqual(loaded.split('\n').filter((line) => line.includes('/') && !line.includes(tree)), []);
});

test('the RPM installs the bundle as its digests say, the unit and the configuration, and its removal leaves nothing', async () => {
    const made = await command(path.join(deploy, 'bundle/rpm.sh'), [path.join(output, `${name}.tar.zst`), path.join(work, 'rpm')]);
    assert.strictEqual(made.code, 0, made.stderr);
    const file = made.stdout.trim();
    const directory = path.join(work, 'rpm-root');
    const rpm = (...words) => must('rpm', `--root=${directory}`, '--dbpath=/db', ...words);
    fs.mkdirSync(directory);
    assert.match(must('rpm', '-qp', '--requires', file), /^systemd$/m);
    assert.doesNotMatch(must('rpm', '-qp', '--requires', '--provides', file), /\.so/);
    assert.strictEqual(must('rpm', '-qp', '--configfiles', file), '/etc/crivirt/crivirt.toml\n');
    rpm('-i', '--nodeps', '--noscripts', file);
    must('sh', '-c', `cd ${directory}/opt/crivirt/current && sha256sum --quiet -c share/crivirt/SHA256SUMS`);
    assert.strictEqual(fs.readlinkSync(path.join(directory, 'usr/bin/crivirt')), '/opt/crivirt/current/bin/crivirt');
    fs.accessSync(path.join(directory, 'usr/lib/systemd/system/crivirtd.service'));
    rpm('-e', '--noscripts', 'crivirt');
    assert.deepStrictEqual(files(directory).filter((left) => !left.startsWith('db/')), []);
});

test('the unit starts programs of the bundle, and no shell of the node', () => {
    const tree = path.join(work, 'lists');
    const unit = fs.readFileSync(path.join(tree, 'share/crivirt/crivirtd.service'), 'utf8');
    const named = unit.match(/^(Exec|Documentation).*$/gm).join(' ').match(/\/[a-z]\S*/g).filter((word) => !/^\/(etc|dev)\//.test(word));
    for (const word of named) {
        assert.match(word, /^\/opt\/crivirt\/current\//);
        fs.accessSync(path.join(tree, word.replace('/opt/crivirt/current/', '')));
    }
    for (const setting of ['Type=notify', 'KillMode=process', 'Delegate=yes'])
        assert.ok(unit.includes(`\n${setting}\n`), setting);
});

// A node of that kind, on which a pod runs the image.
async function node(kind, image, imageName) {
    const directory = path.join(work, kind);
    must(path.join(root, 'tests/bundle/root.sh'), kind, directory);
    unpack(path.join(directory, `opt/crivirt/versions/${version}`));
    fs.symlinkSync(`versions/${version}`, path.join(directory, 'opt/crivirt/current'));
    fs.copyFileSync(image, path.join(directory, 'image.tar'));
    fs.writeFileSync(path.join(directory, 'image-name'), imageName);
    const ran = await command(path.join(root, 'tests/bundle/in-root.sh'), [directory, path.join(root, 'tests/bundle/pod.sh')]);
    assert.strictEqual(ran.code, 0, ran.stdout + ran.stderr);
    return ran.stdout;
}

function checkNode(text) {
    assert.match(text, /^configuration: good$/m);
    assert.match(text, /^Server: crivirt$/m);
    assert.match(text, /^guest: .*-crivirt$/m);
    assert.match(text, /^volume: from the volume$/m);
    assert.match(text, /^network: .*10\.88\.0\./m);
    assert.match(text, /^port: from the pod$/m);
    assert.ok(text.includes(`\nhost pod: ${os.release()}\n`), text);
    assert.match(text, /^stopped$/m);
    const mapped = text.match(/^mapped by \S+: .*$/gm).map((line) => /^mapped by (\S+): (.*)$/.exec(line).slice(1));
    for (const program of ['crivirtd', 'qemu-system-x86_64', 'virtiofsd', 'crivirt-fsguard'])
        assert.ok(mapped.some(([who, file]) => who === program && file.endsWith('/libc.so.6')), `${program} runs`);
    assert.deepStrictEqual(mapped.filter(([, file]) => /\.so/.test(file) && !file.startsWith(`/opt/crivirt/versions/${version}/`)), []);
}

test('on a node that has a kernel and nothing else, a pod runs in a VM; its image is that of the bundle', async () => {
    checkNode(await node('empty', path.join(output, `${name}.oci.tar`), `crivirt.io/crivirt:${version.split('-')[0]}`));
});

for (const [kind, title] of [['debian13', 'a node of Debian 13'], ['musl', "a node whose only C library is musl"]])
    test(`on ${title}, a pod runs, and no program of the bundle has a library of the node`, async () => {
        const image = path.join(work, 'image.tar');
        must(path.join(deploy, 'busybox-archive.sh'), image, 'docker.io/node/busybox:1');
        checkNode(await node(kind, image, 'docker.io/node/busybox:1'));
    });
