// SPDX-License-Identifier: Apache-2.0
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, afterEach} = require('node:test');
const {Node} = require('./support/node');
const {BUSYBOX, busyboxArchive, bigImage, makeImage} = require('./support/images');
const {startRegistry, push} = require('./support/registry');
const {eventually, refused, must} = require('./support/kit');

let node, registry, name, digest;
before(async () => {
    node = await Node.start({image: false});
    registry = await startRegistry(node);
    name = `${registry.host}/tests/busybox:one`;
    digest = push(node, `oci-archive:${busyboxArchive(node)}`, name);
});
after(() => node.end());
afterEach(async () => {
    for (const {id} of await list())
        await remove(id);
});

const pull = async (image, auth) => (await node.cri.call('PullImage', {image: {image}, auth})).image_ref;
const find = async (image) => (await node.cri.call('ImageStatus', {image: {image}})).image;
const list = async () => (await node.cri.call('ListImages')).images;
const remove = (image) => node.cri.call('RemoveImage', {image: {image}});
const byDigest = () => `${registry.host}/tests/busybox@${digest}`;
const usage = async () => (await node.cri.call('ImageFsInfo')).image_filesystems[0];

test('ImageStatus and RemoveImage of an unknown image succeed', async () => {
    assert.strictEqual(await find('no.such/image:at-all'), null);
    await remove('no.such/image:at-all');
    assert.deepStrictEqual(await list(), []);
});

test('an image call that names a handler which does not exist is refused, and any that exists is accepted', async () => {
    await pull(name);
    for (const method of ['PullImage', 'ImageStatus', 'RemoveImage'])
        await refused(node.cri.call(method, {image: {image: name, runtime_handler: 'no-such'}}), 'INVALID_ARGUMENT',
                      'image.runtime_handler', 'no-such', 'vm');
    for (const handler of ['', 'vm'])
        assert.ok((await node.cri.call('ImageStatus', {image: {image: name, runtime_handler: handler}})).image);
});

test('PullImage by tag returns the id that every other call reports', async () => {
    const id = await pull(name);
    assert.match(id, /^(sha256:)?[0-9a-f]{64}$/);
    const image = await find(name);
    assert.strictEqual(image.id, id);
    assert.deepStrictEqual(image.repo_tags, [name]);
    assert.deepStrictEqual(image.repo_digests, [byDigest()]);
    assert.ok(BigInt(image.size) > 0n);
    assert.deepStrictEqual((await list()).map((one) => one.id), [id]);
    assert.strictEqual((await find(id)).id, id);
    assert.strictEqual((await find(byDigest())).id, id);
    assert.strictEqual(await pull(name), id);
});

// An image that takes a while to pull; it is made once.
let pushedBig;
function bigName() {
    if (!pushedBig) {
        pushedBig = `${registry.host}/tests/big:latest`;
        push(node, bigImage(node, 120), pushedBig);
    }
    return pushedBig;
}

test('ImageFsInfo reports the space that images use', async () => {
    await pull(name);
    const {timestamp, fs_id: fsId, used_bytes: used, inodes_used: inodes} = await usage();
    assert.ok(BigInt(timestamp) > 0n && BigInt(used.value) > 0n && BigInt(inodes.value) > 0n);
    assert.ok(fs.existsSync(fsId.mountpoint), fsId.mountpoint);
});

test('RemoveImage frees the space of the image', async () => {
    await pull(name);
    await remove(name);
    assert.strictEqual(await find(name), null);
    assert.deepStrictEqual(await list(), []);
    assert.strictEqual(Number((await usage()).used_bytes.value) < 100000, true);
});

test('an image that is pulled by digest has no tag', async () => {
    const id = await pull(byDigest());
    const [image] = await list();
    assert.deepStrictEqual([image.id, image.repo_tags, image.repo_digests], [id, [], [byDigest()]]);
    await remove(id);
});

test('RemoveImage by one of two tags removes the image with both', async () => {
    const other = `${registry.host}/tests/busybox:two`;
    push(node, `oci-archive:${busyboxArchive(node)}`, other);
    assert.strictEqual(await pull(name), await pull(other));
    assert.deepStrictEqual((await find(name)).repo_tags.sort(), [name, other].sort());
    await remove(other);
    assert.deepStrictEqual(await list(), []);
});

test('PullImage fails with NOT_FOUND for an unknown name or tag and with INVALID_ARGUMENT for an invalid one', async () => {
    await refused(pull(`${registry.host}/tests/busybox:none`), 'NOT_FOUND', 'tests/busybox:none');
    await refused(pull(`${registry.host}/no/such/image`), 'NOT_FOUND', 'no/such/image');
    await refused(pull('Not A Name'), 'INVALID_ARGUMENT', 'Not A Name');
    await refused(pull(''), 'INVALID_ARGUMENT', 'image');
    await assert.rejects(pull('127.0.0.1:1/no/registry:here'), ({details}) => details.includes('127.0.0.1:1'));
    assert.deepStrictEqual(await list(), []);
});

test('PullImage sends a registry the credentials of the request, and without valid ones fails with UNAUTHENTICATED', async () => {
    // bcrypt of "secret"
    const htpasswd = 'tester:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n';
    const closed = await startRegistry(node, {port: 5001, htpasswd});
    const image = `${closed.host}/tests/private:1`;
    push(node, `oci-archive:${busyboxArchive(node)}`, image, 'tester:secret');
    for (const auth of [undefined, {username: 'tester', password: 'wrong'}])
        await refused(pull(image, auth), 'UNAUTHENTICATED', closed.host);
    const id = await pull(image, {username: 'tester', password: 'secret'});
    assert.strictEqual(await pull(image, {auth: Buffer.from('tester:secret').toString('base64')}), id);
    // What is on the node is no consent: the registry is asked for tags and digests of every call.
    const [own] = (await find(image)).repo_digests;
    for (const reference of [image, own])
        for (const auth of [undefined, {username: 'tester', password: 'wrong'}])
            await refused(pull(reference, auth), 'UNAUTHENTICATED', closed.host);
    assert.strictEqual(await pull(own, {username: 'tester', password: 'secret'}), id);
    await refused(pull(own.replace('tests/private', 'tests/false'), {username: 'tester', password: 'secret'}), 'NOT_FOUND',
                  'tests/false');
    const digest = own.slice(own.indexOf('@'));
    await refused(pull(`${registry.host}/tests/false${digest}`), 'NOT_FOUND', 'tests/false');
    assert.deepStrictEqual((await find(image)).repo_digests, [own]);
    await remove(image);
    assert.deepStrictEqual(await list(), []);
});

test('crivirt login keeps credentials that the registry takes for pulls of its user, until logout', async () => {
    const htpasswd = 'tester:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n'; // bcrypt of "secret"
    const closed = await startRegistry(node, {port: 5002, htpasswd});
    const image = `${closed.host}/tests/private:1`;
    push(node, `oci-archive:${busyboxArchive(node)}`, image, 'tester:secret');
    const file = path.join(node.dir, 'auth', 'auth.json');
    const cli = (input, ...words) => node.cliWith({input, env: {REGISTRY_AUTH_FILE: file}}, ...words);
    const login = (password) => cli(password, 'login', '-u', 'tester', '--password-stdin', closed.host);
    const wrong = await login('wrong');
    assert.strictEqual(wrong.code, 1);
    assert.match(wrong.stderr, /cannot log in: 127\.0\.0\.1:5002: /);
    assert.ok(!fs.existsSync(file));
    assert.notStrictEqual((await cli('', 'pull', '-q', image)).code, 0);
    const good = await login('secret\n');
    assert.deepStrictEqual([good.code, good.stderr], [0, '']);
    assert.strictEqual(fs.statSync(file).mode & 0o777, 0o600);
    assert.deepStrictEqual(JSON.parse(fs.readFileSync(file, 'utf8')),
                           {auths: {[closed.host]: {auth: Buffer.from('tester:secret').toString('base64')}}});
    assert.strictEqual((await cli('', 'pull', '-q', image)).code, 0);
    // skopeo reads the same file.
    node.inNetwork('skopeo', 'inspect', '--authfile', file, '--tls-verify=false', `docker://${image}`);
    await remove(image);
    assert.strictEqual((await cli('', 'logout', closed.host)).code, 0);
    assert.notStrictEqual((await cli('', 'pull', '-q', image)).code, 0);
    assert.match((await cli('', 'logout', closed.host)).stderr, /has no credentials for 127\.0\.0\.1:5002/);
    assert.match((await cli('x', 'login', '-u', 'tester', '--password-stdin', 'team/app')).stderr, /is not the name of a registry/);
    assert.deepStrictEqual(await list(), []);
});

test('LoadImage imports OCI archives and archives of docker save', async () => {
    const docker = path.join(node.dir, 'docker.tar');
    must('skopeo', 'copy', '-q', '--insecure-policy', `oci-archive:${busyboxArchive(node)}`,
         `docker-archive:${docker}:docker.io/tests/saved:1`);
    const {images: [first]} = await node.cri.call('LoadImage', {path: busyboxArchive(node)});
    assert.deepStrictEqual(first.tags, [BUSYBOX]);
    const {images: [second]} = await node.cri.call('LoadImage', {path: docker});
    assert.ok(second.tags.includes('docker.io/tests/saved:1'), second.tags.join());
    assert.strictEqual(second.id, first.id); // the same configuration
    assert.strictEqual((await find('tests/saved:1')).id, second.id);
    assert.strictEqual((await find('busybox')).id, first.id);
    await remove(first.id);
    assert.deepStrictEqual(await list(), []);
    await refused(node.cri.call('LoadImage', {path: 'relative.tar'}), 'INVALID_ARGUMENT', 'path');
    await assert.rejects(node.cri.call('LoadImage', {path: `${node.dir}/none.tar`}),
                         ({details}) => details.includes('none.tar'));
});

test('a container sees a layer applied to the layers below it', async () => {
    const image = 'tests.example/applied:1';
    const {images: [{id}]} = await node.cri.call('LoadImage', {path: makeImage(node, image, {}, (dir) => {
        for (const name of ['tmp', 'etc', 'usr/lib'])
            fs.mkdirSync(path.join(dir, name), {recursive: true});
        for (const name of ['tmp/file', 'etc/.wh.group', 'etc/.wh.nothing', 'usr/lib/inside'])
            fs.writeFileSync(path.join(dir, name), '');
        fs.symlinkSync('usr/lib', path.join(dir, 'lib'));
    }, ['tmp/file', 'etc/.wh.group', 'etc/.wh.nothing', 'lib', 'lib/inside'])});
    const pod = await node.runPod();
    const container = await node.runContainer(pod, {image: {image}, command: ['sleep', '1000']});
    const words = ['sh', '-c', 'stat -c "%a %n" /tmp; readlink /lib; ls /usr/lib; ls /etc | grep -e group -e nothing -e passwd'];
    assert.strictEqual((await node.output(container, words)).trim(), '1777 /tmp\nusr/lib\ninside\npasswd');
    await node.removePod(pod);
    await remove(id);
});

test('after kill -9 of the daemon during a pull the image store is consistent, and the pull can be repeated', async () => {
    const big = bigName();
    for (let i = 0; i < 2; i++) {
        const pulling = pull(big).then(() => 'done', () => 'interrupted');
        await eventually('bytes arrive', async () => Number(must('du', '-sk', node.stateDir).split('\t')[0]) > 8000);
        await node.stopDaemon('SIGKILL');
        await pulling;
        await node.startDaemon();
        const image = await find(big);
        assert.ok(image === null || BigInt(image.size) > 0n);
        await remove(big);
        await eventually('what was left is gone', async () =>
            Number(must('du', '-sk', node.stateDir).split('\t')[0]) < 8000);
    }
    const id = await pull(big);
    assert.strictEqual((await find(big)).id, id);
    await remove(big);
});

test('a pull that the client gives up is stopped and can be repeated', async () => {
    const big = bigName();
    await refused(node.cri.call('PullImage', {image: {image: big}}, 100), 'DEADLINE_EXCEEDED');
    const id = await pull(big);
    assert.strictEqual((await find(big)).id, id);
});

test('a removed image stays usable for the pods that use it', async () => {
    await pull(name);
    const pod = await node.runPod();
    const container = await node.runContainer(pod, {image: {image: name}});
    await remove(name);
    assert.strictEqual(await find(name), null);
    assert.strictEqual(await node.output(container, 'sha256sum </bin/busybox'),
                       must('sh', '-c', 'sha256sum </bin/busybox').trim());
    await node.removePod(pod);
});
