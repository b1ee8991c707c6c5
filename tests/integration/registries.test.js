// SPDX-License-Identifier: Apache-2.0
// What a registry that is not trusted gets out of a pull: where it can lead the daemon, which credentials it sees, and what of its
// answers reaches the client. docs/images.md has the rules.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after, beforeEach} = require('node:test');
const {Node} = require('./support/node');
const {PORTS, SECRET} = require('./support/hostile-registry');
const {eventually, failure, must, refused} = require('./support/kit');

const METADATA = '169.254.169.254'; // where clouds serve the secrets of a node
const AUTH = {username: 'tester', password: 'secret'};
const BASIC = `Basic ${Buffer.from('tester:secret').toString('base64')}`;

let node, logFile;
before(async () => {
    node = await Node.start({image: false});
    const [certificate, key] = ['cert.pem', 'key.pem'].map((name) => path.join(node.dir, name));
    must('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-subj', '/CN=test', '-addext', 'subjectAltName=IP:127.0.0.1',
         '-days', '2', '-keyout', key, '-out', certificate);
    node.inNetwork('ip', 'address', 'add', `${METADATA}/32`, 'dev', 'lo');
    hosts(PORTS.registry, `server = "http://127.0.0.1:${PORTS.registry}"\n`);
    hosts(PORTS.tls, `server = "https://127.0.0.1:${PORTS.tls}"\nca = "${certificate}"\n`);
    logFile = path.join(node.dir, 'requests.log');
    fs.writeFileSync(logFile, '');
    node.spawn([process.execPath, path.join(__dirname, 'support/hostile-registry.js'), logFile, METADATA, certificate, key],
               'hostile-registry.log');
    await eventually('the registry serves', () => fs.readFileSync(logFile, 'utf8').includes('ready'));
});
after(() => node.end());
beforeEach(() => fs.writeFileSync(logFile, ''));

function hosts(port, text) {
    const directory = path.join(node.hostsDir, `127.0.0.1:${port}`);
    fs.mkdirSync(directory, {recursive: true});
    fs.writeFileSync(path.join(directory, 'hosts.toml'), text);
}

const pull = (name, {port = PORTS.registry, auth} = {}) =>
    node.cri.call('PullImage', {image: {image: `127.0.0.1:${port}/tricks/${name}:1`}, auth});
// The requests that a server has seen, or all of them.
const requests = (port) => fs.readFileSync(logFile, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line))
    .filter((request) => !port || request.port === port);

test('the registry of these tests serves an image to a pull without tricks', async () => {
    for (const port of [PORTS.registry, PORTS.tls])
        assert.match((await pull('honest', {port})).image_ref, /[0-9a-f]{64}$/);
    assert.deepStrictEqual(requests('elsewhere'), []);
});

for (const trick of ['blob-to-metadata', 'manifest-to-metadata', 'metadata-as-number', 'realm-at-metadata', 'in-two-steps'])
    test(`a registry cannot lead a pull to a link-local address: ${trick}`, async () => {
        const error = await refused(pull(trick, {auth: AUTH}), 'UNAVAILABLE', 'the address is link-local');
        assert.ok(!error.details.includes(SECRET), error.details);
        assert.deepStrictEqual(requests('metadata'), []);
    });

test('a registry with TLS cannot lead a pull to http, neither by a redirect nor by a token server', async () => {
    await refused(pull('to-http', {port: PORTS.tls}), 'UNAVAILABLE', 'redirects from https to http');
    await refused(pull('realm-elsewhere', {port: PORTS.tls, auth: AUTH}), 'UNAUTHENTICATED', 'token server without TLS');
    assert.deepStrictEqual(requests('elsewhere'), []);
});

test('a registry cannot lead a pull to a file of the node', async () => {
    const error = await refused(pull('to-file'), 'UNAVAILABLE', 'redirects to no HTTP address');
    assert.ok(!error.details.includes('root:'), error.details);
});

test('a server that a redirect leads to gets no credentials, and the image is pulled', async () => {
    await pull('blob-elsewhere', {auth: AUTH});
    assert.ok(requests('registry').some(({authorization}) => authorization === BASIC));
    assert.deepStrictEqual(requests('elsewhere').map(({authorization}) => authorization), [null]);
});

test('a token server elsewhere gets the credentials, the registry only its token', async () => {
    await pull('realm-elsewhere', {auth: AUTH});
    assert.ok(requests('elsewhere').every(({path: url, authorization}) => url.startsWith('/token?') && authorization === BASIC));
    const seen = requests('registry').map(({authorization}) => authorization);
    assert.ok(seen.includes('Bearer good') && seen.every((one) => one === null || one === 'Bearer good'), seen.join());
});

test('credentials without a server address are for the registry, not for its mirrors', async () => {
    const [own, mirror] = [PORTS.registry, PORTS.mirror].map((port) => `http://127.0.0.1:${port}`);
    hosts(PORTS.registry, `server = "${own}"\n[host."${mirror}"]\ncapabilities = ["pull", "resolve"]\n`);
    try {
        await pull('asks-for-password', {auth: AUTH});
        assert.ok(requests('mirror').length > 0, 'the mirror was not asked');
        assert.ok(requests('mirror').every(({authorization}) => authorization === null));
        assert.ok(requests('registry').some(({authorization}) => authorization === BASIC));
        // With the mirror's address they are the mirror's alone.
        fs.writeFileSync(logFile, '');
        await refused(pull('asks-for-password', {auth: {...AUTH, server_address: mirror}}), 'UNAUTHENTICATED');
        assert.ok(requests('mirror').some(({authorization}) => authorization === BASIC));
        assert.ok(requests('registry').every(({authorization}) => authorization === null));
    } finally {
        hosts(PORTS.registry, `server = "${own}"\n`);
    }
});

for (const trick of ['error-elsewhere', 'realm-with-text'])
    test(`the text of another server does not reach the client: ${trick}`, async () => {
        const error = await failure(pull(trick));
        assert.ok(error.details.includes('HTTP 403') && !error.details.includes(SECRET), error.details);
        assert.ok(requests('elsewhere').length > 0);
    });

for (const trick of ['long-error', 'long-text', 'to-a-long-name', 'realm-with-a-long-name'])
    test(`what a registry says reaches the client as one short printable line: ${trick}`, async () => {
        const port = trick === 'realm-with-a-long-name' ? PORTS.tls : PORTS.registry;
        const {details} = await failure(pull(trick, {port}));
        assert.ok(details.length < 600, `${details.length} characters`);
        assert.match(details, /^[\x20-\x7e]*$/);
    });
