// SPDX-License-Identifier: Apache-2.0
// crivirt run -it, exec, attach, cp and port-forward: on a terminal, with files and over TLS.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const {once} = require('events');
const {test, before, after} = require('node:test');
const {programs} = require('./support/environment');
const {Node} = require('./support/node');
const {BUSYBOX} = require('./support/images');
const {eventually, must} = require('./support/kit');
const {Terminal} = require('./support/terminal');
const {openSpdy, exec, run, Forward} = require('./support/streams');

const {crivirt} = programs;
let node, certificate, other;
before(async () => {
    node = await Node.start();
    certificate = makeCertificate('server');
    other = makeCertificate('other');
    const {code, stderr} = await node.cli('run', '-d', '--name', 'box', BUSYBOX, 'sh', '-c', 'mkdir /tmp; exec sleep 100000');
    assert.strictEqual(code, 0, stderr);
});
after(() => node.end());

function makeCertificate(name) {
    const files = {cert: path.join(node.dir, `${name}.crt`), key: path.join(node.dir, `${name}.key`)};
    must('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
         '-subj', `/CN=${name}`, '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', files.key, '-out', files.cert);
    return files;
}

const terminal = (...args) => new Terminal(node, [crivirt, ...args], node.cliEnvironment());
// The standard output of a command, which must succeed.
async function cli(...args) {
    const {code, stdout, stderr} = await node.cli(...args);
    assert.strictEqual(code, 0, stderr);
    return stdout;
}
async function cliFails(words, ...args) {
    const {code, stderr} = await node.cli(...args);
    assert.notStrictEqual(code, 0);
    for (const word of words)
        assert.ok(stderr.includes(word), `"${stderr}" lacks "${word}"`);
}

// ---- terminals ----

test('exec -it passes on keys, window size, signals and exit code of a terminal', async () => {
    const screen = terminal('exec', '-it', 'box', 'sh');
    await screen.shows('#');
    assert.strictEqual(screen.mode(), 'raw');
    screen.type('stty size\r');
    await screen.shows('24 80');
    screen.resize(101, 41);
    await eventually('the shell has the new size', () => {
        screen.type('stty size\r');
        return screen.text.includes('41 101');
    });
    screen.type('sleep 77777\r');
    await eventually('the command sleeps', async () => (await cli('exec', 'box', 'ps')).includes('sleep 77777'));
    screen.type('\x03');
    await eventually('Ctrl-C reached it', async () => !(await cli('exec', 'box', 'ps')).includes('sleep 77777'));
    screen.type('exit 7\r');
    assert.strictEqual(await screen.ended, 7);
});

test('run -it ends with the shell and its exit code, and with --rm removes the pod', async () => {
    const screen = terminal('run', '-it', '--rm', '--name', 'shell', BUSYBOX, 'sh');
    await screen.shows('#');
    screen.resize(99, 33);
    await eventually('the shell has the new size', () => {
        screen.type('stty size\r');
        return screen.text.includes('33 99');
    }, 30000).catch((error) => { throw new Error(`${error.message}: ${screen.text.slice(-300)}`); });
    screen.type('exit 3\r');
    assert.strictEqual(await screen.ended, 3);
    assert.ok(!(await cli('ps', '-a')).includes('shell'));
});

test('Ctrl-P Ctrl-Q detaches from a container, which runs on and can be attached again', async () => {
    const first = terminal('run', '-it', '--name', 'kept', BUSYBOX, 'sh');
    await first.shows('#');
    first.type('x=remembered\r');
    first.type('\x10\x11');
    assert.strictEqual(await first.ended, 0);
    assert.match(await cli('ps'), /kept/);
    const second = terminal('attach', '-t', 'kept');
    await eventually('it answers', () => {
        second.type('echo $x\r');
        return second.text.includes('\nremembered');
    });
    second.type('exit\r');
    await second.ended;
    await cli('rm', '-f', 'kept');
});

test('exec -t without a terminal is refused, and after an error the terminal is as before', async () => {
    await cliFails(['terminal'], 'exec', '-it', 'box', 'true');
    const screen = terminal('exec', '-it', 'box', '/no/such/program');
    assert.strictEqual(await screen.ended, 127);
    assert.match(screen.text, /no\/such\/program/);
    const shell = new Terminal(node, ['sh', '-c', `${crivirt} --socket ${node.socket} exec -it box true; stty -a; sleep 1`]);
    await shell.ended;
    assert.match(shell.text, / icanon/);
});

test('exec -i passes bytes in both directions, and the end of the input', async () => {
    const input = crypto.randomBytes(1 << 20).toString('base64');
    const {code, stdout} = await node.cliWith({input}, 'exec', '-i', 'box', 'cat');
    assert.strictEqual(code, 0);
    assert.ok(stdout === input);
});

// ---- cp ----

const there = (...words) => cli('exec', 'box', ...words);

test('cp copies a file into a directory, to a new name and over a file', async () => {
    const file = path.join(node.dir, 'a|b&c.[x]');
    fs.writeFileSync(file, 'one');
    fs.chmodSync(file, 0o640);
    await cli('cp', file, 'box:/tmp');
    await cli('cp', file, 'box:/NEWNAME');
    await cli('cp', file, 'box:/tmp/odd \\1&|name');
    assert.strictEqual(await there('cat', '/tmp/a|b&c.[x]', '/NEWNAME', '/tmp/odd \\1&|name'), 'oneoneone');
    assert.match(await there('stat', '-c', '%a %u:%g', '/NEWNAME'), /^640 0:0/);
    fs.writeFileSync(file, 'two');
    await cli('cp', file, 'box:/NEWNAME');
    assert.strictEqual(await there('cat', '/NEWNAME'), 'two');
    await cli('cp', 'box:/NEWNAME', path.join(node.dir, 'back'));
    assert.strictEqual(fs.readFileSync(path.join(node.dir, 'back'), 'utf8'), 'two');
    fs.mkdirSync(path.join(node.dir, 'into'));
    await cli('cp', 'box:/NEWNAME', path.join(node.dir, 'into'));
    assert.deepStrictEqual(fs.readdirSync(path.join(node.dir, 'into')), ['NEWNAME']);
});

test('cp copies a directory to a new name, into an existing directory, and only its content', async () => {
    const tree = path.join(node.dir, 'tree');
    fs.mkdirSync(path.join(tree, 'sub'), {recursive: true});
    fs.writeFileSync(path.join(tree, 'sub/file'), 'deep');
    fs.symlinkSync('sub/file', path.join(tree, 'link'));
    await cli('cp', tree, 'box:/copied');
    assert.strictEqual(await there('cat', '/copied/sub/file'), 'deep');
    assert.strictEqual((await there('readlink', '/copied/link')).trim(), 'sub/file');
    await cli('cp', tree, 'box:/copied');
    assert.strictEqual(await there('cat', '/copied/tree/sub/file'), 'deep');
    await there('mkdir', '/contents');
    await cli('cp', `${tree}/.`, 'box:/contents');
    assert.strictEqual(await there('cat', '/contents/sub/file'), 'deep');
    await cli('cp', 'box:/copied', path.join(node.dir, 'out'));
    assert.strictEqual(fs.readFileSync(path.join(node.dir, 'out/tree/sub/file'), 'utf8'), 'deep');
    assert.strictEqual(fs.readlinkSync(path.join(node.dir, 'out/link')), 'sub/file');
});

test('cp - writes and reads a tar archive', async () => {
    await there('sh', '-c', 'mkdir -p /packed/sub; printf deep > /packed/sub/file');
    const list = path.join(node.dir, 'list.tar');
    await node.run('sh', '-c', `${crivirt} --socket ${node.socket} cp box:/packed - > ${list}`);
    assert.match(must('tar', '-tf', list), /^packed\/sub\/file$/m);
    await there('mkdir', '/unpacked');
    const {code, stderr} = await node.run('sh', '-c', `${crivirt} --socket ${node.socket} cp - box:/unpacked < ${list}`);
    assert.strictEqual(code, 0, stderr);
    assert.strictEqual(await there('cat', '/unpacked/packed/sub/file'), 'deep');
});

test('cp names what does not exist, and takes only what was asked for from a hostile container', async () => {
    const file = path.join(node.dir, 'here');
    fs.writeFileSync(file, 'here');
    await cli('cp', file, 'box:/NEWNAME');
    await cliFails(['/no/such', 'container'], 'cp', file, 'box:/no/such/name');
    await cliFails(['/nodir/', 'container'], 'cp', file, 'box:/nodir/');
    await cliFails(['/nothing', 'container'], 'cp', 'box:/nothing', node.dir);
    await cliFails(['/missing'], 'cp', '/missing', 'box:/tmp');
    await cliFails(['/NEWNAME', 'directory'], 'cp', node.cniDir, 'box:/NEWNAME');
    await cliFails(['one path in a container'], 'cp', '/a', '/b');
    // The container's tar answers with more than was asked for, and with a program that would run as root.
    await there('sh', '-c', 'mkdir -p /evil/x; cd /evil; echo gift > x/wanted; echo bad > unwanted; chmod 4755 x/wanted; ' +
                'tar -cf /evil.tar unwanted x/wanted; mv /bin/tar /bin/tar.real; ' +
                'printf "#!/bin/sh\\ncat /evil.tar\\n" > /bin/tar; chmod 755 /bin/tar; mkdir -p /x; echo > /x/wanted');
    const target = path.join(node.dir, 'target');
    fs.mkdirSync(target);
    await node.cli('cp', 'box:/x/wanted', target);
    assert.ok(!fs.existsSync(path.join(target, 'unwanted')));
    await there('mv', '/bin/tar.real', '/bin/tar');
    await there('chmod', '4755', '/NEWNAME');
    await cli('cp', 'box:/NEWNAME', target);
    assert.strictEqual(fs.statSync(path.join(target, 'NEWNAME')).mode & 0o7000, 0);
});

// ---- port-forward ----

// Starts the command and waits until it listens.
async function portForward(...args) {
    const child = node.spawn([crivirt, '--socket', node.socket, 'port-forward', ...args], 'forward.log');
    const log = () => fs.readFileSync(path.join(node.dir, 'forward.log'), 'utf8');
    await eventually('crivirt listens', () => log().includes('Forwarding from'));
    return {child, log};
}

// A web server at port 8001 of the container.
const servesPage = () => there('sh', '-c', 'mkdir -p /www; echo page > /www/page; ' +
                               'netstat -ltn | grep -q 127.0.0.1:8001 || httpd -p 127.0.0.1:8001 -h /www');

async function ask(port, text) {
    const socket = await node.connect('127.0.0.1', port);
    const parts = [];
    socket.on('data', (data) => parts.push(data));
    socket.on('error', () => {});
    socket.write(text);
    await once(socket, 'close');
    return Buffer.concat(parts).toString();
}

test('port-forward forwards several ports and connections, an error breaks no other connection, and Ctrl-C ends it', async () => {
    await servesPage();
    const {child, log} = await portForward('box', '9001:8001', '8002');
    const pages = await Promise.all([...Array(8).keys()].map(() => ask(9001, 'GET /page HTTP/1.0\r\n\r\n')));
    pages.forEach((page) => assert.ok(page.endsWith('page\n'), page));
    assert.strictEqual(await ask(8002, 'hello'), '');
    await eventually('the log says why', () => /port 8002: .*refused/i.test(log()));
    assert.ok((await ask(9001, 'GET /page HTTP/1.0\r\n\r\n')).endsWith('page\n'));
    child.kill('SIGINT');
    await child.ended;
    await cliFails(['TCP'], 'port-forward', 'box', '53/udp');
    await cliFails(['70000'], 'port-forward', 'box', '70000');
});

// ---- TLS ----

let tls = false;
async function restartWithTls() {
    if (tls)
        return;
    await node.stopDaemon();
    await node.startDaemon([`--streaming-tls-cert=${certificate.cert}`, `--streaming-tls-key=${certificate.key}`]);
    tls = true;
}

test('with a certificate, exec and port-forward use TLS for clients that trust it and for crivirt', async () => {
    await restartWithTls();
    await servesPage();
    const container = {id: (await node.cri.call('ListContainers')).containers[0].id};
    const pod = {id: (await node.cri.call('ListPodSandbox')).items[0].id};
    const tlsOptions = {ca: fs.readFileSync(certificate.cert)};
    const input = crypto.randomBytes(3 << 20);
    for (const transport of ['WebSocket v5', 'SPDY v4']) {
        const client = await exec(node, container, transport, 'cat; echo err >&2; exit 5', {stdin: true, tlsOptions});
        await client.sendAll('stdin', input);
        client.end();
        assert.deepStrictEqual(await client.outcome(), {code: 5});
        assert.ok(client.bytes('stdout').equals(input));
        assert.strictEqual(client.text('stderr'), 'err\n');
    }
    const {url} = await node.cri.call('PortForward', {pod_sandbox_id: pod.id});
    assert.match(url, /^https:/);
    const forward = await Forward.openUrl(node, url, 'SPDY', tlsOptions);
    const connection = forward.connect(8001);
    connection.send('GET /page HTTP/1.0\r\n\r\n');
    await connection.over;
    assert.ok(connection.bytes().toString().endsWith('page\n'));
    forward.close();
    const big = crypto.randomBytes(1 << 20).toString('base64');
    const answer = await node.cliWith({input: big}, 'exec', '-i', 'box', 'cat');
    assert.deepStrictEqual([answer.code, answer.stdout === big], [0, true], answer.stderr);
    const screen = terminal('exec', '-it', 'box', 'sh');
    await screen.shows('#');
    screen.type('exit 4\r');
    assert.strictEqual(await screen.ended, 4);
});

test('a client that does not trust the certificate refuses it, and plain HTTP gets no answer', async () => {
    await restartWithTls();
    const container = {id: (await node.cri.call('ListContainers')).containers[0].id};
    await assert.rejects(exec(node, container, 'WebSocket v5', 'true', {tlsOptions: {ca: fs.readFileSync(other.cert)}}),
                         /self.signed|certificate/);
    const {url} = await node.cri.call('Exec', {container_id: container.id, cmd: ['/bin/true'], stdout: true});
    await assert.rejects(openSpdy(node, url.replace('https:', 'http:'), ['v4.channel.k8s.io']));
});

test('a TLS client that does not read holds up only its own command, and one that is killed leaves nothing', async () => {
    await restartWithTls();
    const container = {id: (await node.cri.call('ListContainers')).containers[0].id};
    const tlsOptions = {ca: fs.readFileSync(certificate.cert)};
    const client = await exec(node, container, 'SPDY v4', 'head -c 24000000 /dev/zero', {tlsOptions});
    let length = 0;
    client.sink = (name, bytes) => { length += bytes.length; };
    await once(client, 'data');
    client.pause();
    assert.strictEqual((await run(node, container, 'WebSocket v5', 'echo other', {tlsOptions})).stdout, 'other\n');
    client.resume();
    assert.deepStrictEqual(await client.outcome(), {code: 0});
    assert.strictEqual(length, 24000000);
    const gone = await exec(node, container, 'WebSocket v5', 'echo ready; exec sleep 88888', {tty: true, stdin: true, tlsOptions});
    await gone.shows('ready');
    gone.destroy();
    await eventually('the command is gone', async () => !(await there('ps')).includes('sleep 88888'));
    await eventually('no connection is left', async () =>
        (await node.run('ss', '-tnH', 'state', 'close-wait')).stdout.trim() === '');
});

test('a renewed certificate is used for the next client, and crivirt trusts it', async () => {
    await restartWithTls();
    const container = {id: (await node.cri.call('ListContainers')).containers[0].id};
    const former = fs.readFileSync(certificate.cert);
    makeCertificate('server');
    await assert.rejects(exec(node, container, 'WebSocket v5', 'true', {tlsOptions: {ca: former}}), /self.signed|certificate/);
    const tlsOptions = {ca: fs.readFileSync(certificate.cert)};
    assert.strictEqual((await run(node, container, 'SPDY v4', 'echo renewed', {tlsOptions})).stdout, 'renewed\n');
    assert.strictEqual(await there('echo', 'renewed'), 'renewed\n');
});

test('the daemon does not start with a key without a certificate or with an invalid certificate', async () => {
    await node.stopDaemon();
    const fails = async (...flags) => {
        const words = node.daemonWords(flags);
        const {code, stderr} = await node.run(...words);
        assert.notStrictEqual(code, 0);
        return stderr;
    };
    assert.match(await fails(`--streaming-tls-key=${certificate.key}`), /certificate/);
    assert.match(await fails(`--streaming-tls-cert=${node.dir}/nothing`, `--streaming-tls-key=${certificate.key}`), /nothing/);
    assert.match(await fails(`--streaming-tls-cert=${certificate.key}`, `--streaming-tls-key=${certificate.key}`), /certificate/);
    await node.startDaemon();
    tls = false;
});
