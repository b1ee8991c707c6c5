// SPDX-License-Identifier: Apache-2.0
// Exec, attach and port-forward as their clients use them: over SPDY and WebSocket, on one VM.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const {once} = require('events');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {sleep, eventually, remains, refused} = require('./support/kit');
const {TRANSPORTS, FORWARDS, upgrade, openSpdy, openWebSocket, remote, exec, attach, run, Forward} = require('./support/streams');

const BIG_MIB = Number(process.env.CRIVIRT_TEST_STREAM_MIB || 64); // 1024 by hand
const usual = ['WebSocket v5', 'SPDY v4'];

let node, pod, container;
const daemonFds = () => fs.readdirSync(`/proc/${node.daemon.pid}/fd`).length;
let fdsBefore;
before(async () => {
    node = await Node.start();
    pod = await node.runPod();
    container = await node.runContainer(pod, {command: ['/bin/sh', '-c', 'mkdir /tmp; exec sleep 100000']});
    assert.deepStrictEqual(await run(node, container, 'SPDY v4', 'true'), {code: 0, stdout: '', stderr: ''});
    fdsBefore = daemonFds();
});
after(() => node.end());

async function execUrl(more = {}) {
    const {url} = await node.cri.call(
        'Exec', {container_id: container.id, cmd: ['/bin/true'], stdout: true, ...more});
    return url;
}

// Command lines of what runs in the container.
const processes = async (one = container) =>
    (await node.output(one, ['/bin/ps', '-o', 'args'])).split('\n').slice(1);
const isGone = (word, one) => eventually(`${word} is gone`, async () =>
    !(await processes(one)).some((line) => line.includes(word)));
const isThere = (word, one) => eventually(`${word} runs`, async () =>
    (await processes(one)).some((line) => line.includes(word)));

// ---- exec ----

for (const transport of Object.keys(TRANSPORTS)) {
    test(`${transport}: stdout, stderr and the exit code arrive, each on its own stream`, async () => {
        const good = await run(node, container, transport, 'echo out; echo err >&2');
        assert.deepStrictEqual(good, {code: 0, stdout: 'out\n', stderr: 'err\n'});
        const client = await exec(node, container, transport, 'exit 42');
        assert.deepStrictEqual(await client.outcome(), client.hasStatus ? {code: 42} : {
            message: 'command terminated with exit code 42'});
    });

    test(`${transport}: input reaches the command byte for byte`, async () => {
        const input = crypto.randomBytes(100000);
        const client = await exec(node, container, transport, 'head -c 100000; echo enough >&2', {stdin: true});
        await client.sendAll('stdin', input);
        await client.closed;
        assert.ok(client.bytes('stdout').equals(input));
        assert.strictEqual(client.text('stderr'), 'enough\n');
    });
}

for (const transport of Object.keys(TRANSPORTS).filter((name) => TRANSPORTS[name].halfCloses)) {
    test(`${transport}: the end of the input reaches the command, whose later output still arrives`, async () => {
        const answer = await run(node, container, transport, 'wc -c; sleep 1; echo late', {input: 'x'.repeat(1000)});
        assert.deepStrictEqual(answer, {code: 0, stdout: '1000\nlate\n', stderr: ''});
    });

    const mib = /v[123]$/.test(transport) ? 4 : BIG_MIB; // the old ones differ in their words only
    test(`${transport}: ${mib} MiB through cat come back bit for bit`, async () => {
        const client = await exec(node, container, transport, ['/bin/cat'], {stdin: true});
        const sent = crypto.createHash('sha256'), got = crypto.createHash('sha256');
        let length = 0;
        client.sink = (name, bytes) => {
            got.update(bytes);
            length += bytes.length;
        };
        for (let i = 0; i < mib; i++) {
            const part = crypto.randomBytes(1 << 20);
            sent.update(part);
            await client.sendAll('stdin', part);
        }
        client.end();
        assert.deepStrictEqual(await client.outcome(), {code: 0});
        assert.strictEqual(length, mib * 2 ** 20);
        assert.strictEqual(got.digest('hex'), sent.digest('hex'));
    });
}

for (const transport of usual) {
    test(`${transport}: a terminal has the size that the client sends, also when it changes`, async () => {
        const client = await exec(node, container, transport,
                                  'until stty size | grep "40 100"; do sleep 0.1; done; trap "stty size; exit 5" WINCH; ' +
                                  'echo ready; while :; do sleep 0.1; done', {tty: true, stdin: true});
        client.resize(100, 40);
        await client.shows('ready');
        client.resize(132, 43);
        assert.deepStrictEqual(await client.outcome(), {code: 5});
        assert.match(client.text(), /43 132\r\n/);
    });

    test(`${transport}: a terminal turns Ctrl-C into a signal`, async () => {
        const client = await exec(node, container, transport, 'trap "echo caught; exit 3" INT; echo ready; while :; do sleep 0.1; done',
                                  {tty: true, stdin: true});
        await client.shows('ready');
        client.send('stdin', '\x03');
        assert.deepStrictEqual(await client.outcome(), {code: 3});
        assert.match(client.text(), /caught/);
    });

    test(`${transport}: the error stream names a program that does not exist or cannot be run`, async () => {
        for (const program of ['/no/such/program', '/etc/passwd']) {
            const {message} = await run(node, container, transport, [program]);
            assert.ok(message?.includes('error executing command in container') && message.includes(program), message);
        }
    });

    test(`${transport}: a client that does not read stops its own command and nothing else`, async () => {
        const noisy = await node.runContainer(pod, 'i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done');
        const client = await exec(node, container, transport, 'head -c 24000000 /dev/zero; echo end >&2');
        let length = 0;
        client.sink = (name, bytes) => { length += name === 'stdout' ? bytes.length : 0; };
        await once(client, 'data');
        client.pause();
        // The buffers of the sockets, the daemon and the agent fill; then the command waits.
        const waits = async () => (await processes()).some((line) => line.includes('head -c 24000000'));
        await remains('the command waits', waits, 2000);
        const linesBefore = node.logLines(noisy).length;
        for (const other of usual)
            assert.strictEqual((await run(node, container, other, 'head -c 300000 /dev/zero')).stdout.length, 300000);
        await eventually('the log goes on', () => node.logLines(noisy).length > linesBefore + 10);
        assert.ok(await waits(), 'the command does not wait any more');
        client.resume();
        assert.deepStrictEqual(await client.outcome(), {code: 0});
        assert.strictEqual(length, 24000000);
        await node.remove(noisy);
    });

    test(`${transport}: a command that does not read stops its own client and nothing else`, async () => {
        const client = await exec(node, container, transport, 'sleep 3; wc -c', {stdin: true});
        const sending = client.sendAll('stdin', Buffer.alloc(4 << 20));
        const other = await run(node, container, transport, ['/bin/cat'], {input: 'hello'}).catch((error) => error);
        if (TRANSPORTS[transport].halfCloses)
            assert.deepStrictEqual(other, {code: 0, stdout: 'hello', stderr: ''});
        await sending;
        client.end();
        assert.deepStrictEqual(await client.outcome(), {code: 0});
        assert.strictEqual(client.text().trim(), String(4 << 20));
    });

    test(`${transport}: the terminal of a client that disconnects hangs up`, async () => {
        const client = await exec(node, container, transport,
                                  'trap "echo hung > /tmp/hup; exit" HUP; echo ready; while :; do sleep 0.2; done',
                                  {tty: true, stdin: true});
        await client.shows('ready');
        client.destroy();
        await eventually('SIGHUP came', async () =>
            (await node.exec(container, 'cat /tmp/hup && rm /tmp/hup')).stdout === 'hung\n');
        await isGone('trap');
    });

    test(`${transport}: without a terminal, a client that disconnects ends the input and the output`, async () => {
        const reader = await exec(node, container, transport, 'echo ready; cat; touch /tmp/ended', {stdin: true});
        const writer = await exec(node, container, transport, 'while echo 4711; do sleep 0.1; done');
        await reader.shows('ready');
        await writer.shows('4711');
        reader.destroy();
        writer.destroy();
        await eventually('the reader saw it', async () => (await node.exec(container, 'rm /tmp/ended')).exit_code === 0);
        await isGone('echo 4711');
    });

    test(`${transport}: fifty commands at once each get their own output and exit code`, async () => {
        const answers = await Promise.all([...Array(50).keys()].map((i) =>
            run(node, container, transport, `head -c 20000 /dev/zero | tr '\\0' ${i % 10}; exit ${i}`)));
        answers.forEach(({code, message, stdout}, i) => {
            assert.deepStrictEqual({code, message}, {code: i, message: undefined});
            assert.ok(stdout === String(i % 10).repeat(20000), `command ${i} has its own output`);
        });
    });
}

test('a client that sends nonsense is sent GOAWAY and disconnected', async () => {
    const {spdy} = await openSpdy(node, await execUrl(), ['v4.channel.k8s.io']);
    let away = false;
    spdy.on('goaway', () => { away = true; });
    const over = once(spdy, 'close');
    spdy.transmit(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
    await over;
    assert.ok(away);
});

test('the server answers pings of SPDY and of WebSocket', async () => {
    const {spdy, socket} = await openSpdy(node, await execUrl({stdin: true}), ['v4.channel.k8s.io']);
    spdy.ping(7);
    assert.deepStrictEqual(await once(spdy, 'ping'), [7]);
    socket.destroy();
    const {url} = await node.cri.call(
        'Exec', {container_id: container.id, cmd: ['/bin/sleep', '5'], stdin: true, stdout: true});
    const {socket: ws} = await openWebSocket(node, url, ['v5.channel.k8s.io']);
    ws.send(Buffer.from('hello'), 9);
    const pong = await Promise.race([once(ws, 'pong'), once(ws, 'close')]);
    assert.strictEqual(String(pong[0]), 'hello');
    ws.socket.destroy();
});

// ---- URLs ----

test('a URL is valid once, for its own kind of stream, and cannot be guessed', async () => {
    const url = await execUrl();
    const ask = async (one) => {
        const answer = await upgrade(node, one, {Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'v4.channel.k8s.io'});
        answer.socket.destroy();
        return answer.status;
    };
    assert.match(url, /^http:\/\/127\.0\.0\.1:\d+\/exec\/[0-9a-f]{48}$/);
    const guessed = url.slice(0, -1) + (url.endsWith('0') ? '1' : '0');
    assert.strictEqual(await ask(guessed), 404);
    assert.strictEqual(await ask(url.replace(/\/exec\/.*/, '/exec/')), 404);
    assert.strictEqual(await ask(url.replace(/\/exec\/.*/, '/')), 404);
    assert.strictEqual(await ask(url), 101);
    assert.strictEqual(await ask(url), 404);
    const wrong = await execUrl();
    assert.strictEqual(await ask(wrong.replace('/exec/', '/attach/')), 404);
});

test('a request that is no upgrade, or for an unknown protocol, does not use up its URL', async () => {
    const url = await execUrl();
    const ask = async (headers) => (await upgrade(node, url, headers)).status;
    assert.strictEqual(await ask({Connection: 'close'}), 400);
    assert.strictEqual(await ask({Upgrade: 'h2c'}), 400);
    assert.strictEqual(await ask({Upgrade: 'websocket'}), 400);
    assert.strictEqual(await ask({Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'v9.channel.k8s.io'}), 403);
    const client = await remote(node, url, 'SPDY v4', {stdout: true});
    assert.deepStrictEqual(await client.outcome(), {code: 0});
});

test('Exec, Attach and PortForward refuse invalid requests before they issue a URL', async () => {
    const container_id = container.id;
    await refused(node.cri.call('Exec', {container_id, cmd: [], stdout: true}), 'INVALID_ARGUMENT', 'cmd');
    await refused(node.cri.call('Exec', {container_id, cmd: ['true']}), 'INVALID_ARGUMENT', 'stdin');
    await refused(node.cri.call('Exec', {container_id, cmd: ['true'], tty: true, stdout: true, stderr: true}),
                  'INVALID_ARGUMENT', 'tty');
    await refused(node.cri.call('Exec', {container_id: 'f'.repeat(64), cmd: ['true'], stdout: true}), 'NOT_FOUND');
    await refused(node.cri.call('Attach', {container_id: 'f'.repeat(64), stdout: true}), 'NOT_FOUND');
    await refused(node.cri.call('PortForward', {pod_sandbox_id: 'f'.repeat(64)}), 'NOT_FOUND');
    for (const port of [0, -1, 65536])
        await refused(node.cri.call('PortForward', {pod_sandbox_id: pod.id, port: [port]}), 'INVALID_ARGUMENT',
                      String(port), 'TCP port');
    const created = await node.create(pod);
    await refused(node.cri.call('Exec', {container_id: created.id, cmd: ['true'], stdout: true}),
                  'FAILED_PRECONDITION', created.id, 'not running');
    await node.remove(created);
});

// ---- attach ----

test('several attached clients see all later output and write to the same input', async () => {
    const cat = await node.runContainer(pod, {command: ['/bin/cat'], stdin: true});
    const clients = await Promise.all(['WebSocket v5', 'SPDY v4', 'WebSocket v4'].map((transport) =>
        attach(node, cat, transport, {stdin: true})));
    for (const [i, client] of clients.entries()) {
        client.send('stdin', `from ${i}\n`);
        await Promise.all(clients.map((one) => one.shows(`from ${i}\n`)));
    }
    clients[1].destroy();
    clients[0].send('stdin', 'still there\n');
    await clients[2].shows('still there\n');
    clients[0].destroy();
    clients[2].destroy();
    const again = await attach(node, cat, 'SPDY v4', {stdin: true});
    again.send('stdin', 'again\n');
    await again.shows('again\n');
    assert.strictEqual(again.text(), 'again\n');
    again.destroy();
    await node.remove(cat); // the log has all of it now: clients are given output before it is written there
    assert.deepStrictEqual(node.logTexts(cat), ['from 0', 'from 1', 'from 2', 'still there', 'again']);
});

test('the end of an attached client\'s input detaches the client, and the container runs on', async () => {
    const cat = await node.runContainer(pod, {command: ['/bin/cat'], stdin: true});
    const client = await attach(node, cat, 'SPDY v4', {stdin: true});
    client.send('stdin', 'one\n');
    await client.shows('one\n');
    client.end();
    assert.deepStrictEqual(await client.outcome(), {code: 0});
    const next = await attach(node, cat, 'WebSocket v5', {stdin: true});
    next.send('stdin', 'two\n');
    await next.shows('two\n');
    next.destroy();
    await node.remove(cat);
});

test('with stdin_once the end of the first client\'s input is the end of the container\'s', async () => {
    const cat = await node.runContainer(pod, {command: ['/bin/cat'], stdin: true, stdin_once: true});
    const client = await attach(node, cat, 'WebSocket v5', {stdin: true});
    client.send('stdin', 'all\n');
    client.end();
    assert.deepStrictEqual(await client.outcome(), {code: 0});
    assert.strictEqual(client.text(), 'all\n');
    assert.strictEqual((await node.ended(cat)).exit_code, 0);
    await node.remove(cat);
});

test('an attached client types into a terminal and resizes it, and without a terminal gets stdout and stderr apart', async () => {
    const shell = await node.runContainer(pod, {command: ['/bin/sh'], stdin: true, tty: true});
    const client = await attach(node, shell, 'WebSocket v5', {stdin: true, tty: true});
    client.resize(91, 37);
    await eventually('it has the size', () => {
        client.send('stdin', 'stty size\n');
        return client.text().includes('37 91\r\n');
    });
    client.destroy();
    await node.remove(shell);
    const both = await node.runContainer(pod, 'while :; do echo out; echo err >&2; sleep 0.2; done');
    const watcher = await attach(node, both, 'SPDY v4');
    await watcher.shows('out\n');
    await watcher.shows('err\n', 'stderr');
    assert.ok(!watcher.text('stdout').includes('err') && !watcher.text('stderr').includes('out'));
    watcher.destroy();
    await node.remove(both);
});

test('the end of a container disconnects its attached clients', async () => {
    const one = await node.runContainer(pod);
    const client = await attach(node, one, 'WebSocket v5');
    await node.cri.call('StopContainer', {container_id: one.id, timeout: 0});
    assert.deepStrictEqual(await client.outcome(), {code: 0});
    await refused(node.cri.call('Attach', {container_id: one.id, stdout: true}), 'FAILED_PRECONDITION', one.id);
    await node.remove(one);
});

test('an attached client that does not read is detached with an error, and the log is complete', async () => {
    const loud = await node.runContainer(
        pod, {command: ['/bin/sh', '-c', 'read x; yes $(printf %01000d 7) | head -n 20000; echo done'], stdin: true});
    const client = await attach(node, loud, 'SPDY v4', {stdin: true});
    client.send('stdin', 'go\n');
    await once(client, 'data');
    client.pause();
    await node.ended(loud);
    client.resume();
    const {message} = await client.outcome();
    assert.match(message || '', /reads too slowly/);
    const lines = node.logLines(loud).map(({text}) => text);
    assert.strictEqual(lines.length, 20001);
    assert.ok(lines.every((text, i) => text === (i < 20000 ? '7'.padStart(1000, '0') : 'done')));
    await node.remove(loud);
});

// ---- port-forward ----

// Servers in the pod: busybox's nc with a shell script for each connection, one at a time; or many (tests/tools/guest_tool.c).
const serve = (one, port, script) => node.exec(
    one, `nc -ll -p ${port} -e /bin/sh -c '${script}' >/dev/null 2>&1 </dev/null &`);
const listens = (one, port) => eventually(`port ${port} is open`, async () =>
    (await node.exec(one, `netstat -ltn | grep -q ':${port} '`)).exit_code === 0);

// A dozen connections at once each send random bytes, and must get back the greeting and these.
async function echoes(forward, ports, greeting) {
    const connections = [...Array(12).keys()].map((i) => forward.connect(ports[i % ports.length]));
    const texts = connections.map((unused, i) => crypto.randomBytes(20000 + i));
    await Promise.all(connections.map(async (connection, i) => {
        await connection.sendAll(texts[i]);
        connection.end();
        await connection.over;
    }));
    connections.forEach((connection, i) => {
        assert.strictEqual(connection.error(), '');
        assert.ok(connection.bytes().equals(Buffer.concat([Buffer.from(greeting), texts[i]])),
                  `connection ${i}: ${connection.bytes().length} of ${greeting.length + texts[i].length} bytes`);
    });
}

for (const transport of Object.keys(FORWARDS)) {
    test(`${transport}: port-forward carries several connections at once, and one that is reset breaks no other`, async () => {
        const server = await node.runContainer(pod, {
            command: ['/bin/sh', '-c', '/tool echo 8001 & /tool echo 8002 & /tool greet 8003 & /tool reset 8009 & sleep 100000'],
            mounts: [node.toolMount()],
        });
        await Promise.all([8001, 8002, 8003, 8009].map((port) => listens(server, port)));
        const forward = await Forward.open(node, pod, transport, [8001, 8002]);
        await echoes(forward, [8001, 8002], '');
        await echoes(forward, [8003], 'welcome\n');
        const broken = forward.connect(8009);
        await once(broken, 'data');
        broken.send('x');
        await broken.over;
        assert.strictEqual(broken.bytes().toString(), 'partial\n');
        assert.match(broken.error(), /port 8009 .*connection was broken: Connection reset by peer/);
        await echoes(forward, [8001], '');
        forward.close();
        await node.remove(server);
    });

    test(`${transport}: port-forward reaches servers that listen on the loopback of IPv4 only or of IPv6 only`, async () => {
        const server = await node.runContainer(pod);
        await node.output(server, 'mkdir /www; echo over four > /www/4; echo over six > /www/6; ' +
                                     'httpd -p 127.0.0.1:8008 -h /www; httpd -p [::1]:8003 -h /www');
        const forward = await Forward.open(node, pod, transport);
        for (const [port, file, text] of [[8008, '4', 'over four\n'], [8003, '6', 'over six\n']]) {
            const connection = forward.connect(port);
            connection.send(`GET /${file} HTTP/1.0\r\n\r\n`);
            await connection.over;
            assert.ok(connection.bytes().toString().endsWith(text), connection.bytes() + connection.error());
        }
        forward.close();
        await node.remove(server);
    });

    test(`${transport}: a port on which no server listens is an error on the error stream of its connection`, async () => {
        const server = await node.runContainer(pod);
        await serve(server, 8004, 'cat');
        await listens(server, 8004);
        const forward = await Forward.open(node, pod, transport);
        const good = forward.connect(8004);
        good.send('before\n');
        await once(good, 'data');
        const bad = forward.connect(9);
        await bad.over;
        assert.match(bad.error(), /port 9 .*refused/i);
        good.send('after\n');
        await eventually('the other one goes on', () => good.bytes().toString() === 'before\nafter\n');
        forward.close();
        await node.remove(server);
    });

    test(`${transport}: UDP, invalid ports and unknown stream types are refused`, async () => {
        const forward = await Forward.open(node, pod, transport);
        await forward.connect('53/udp').refused;
        await forward.connect(0).refused;
        await forward.connect(65536).refused;
        await forward.connect(80, {streamType: 'video'}).refused;
        forward.close();
    });
}

test('a forwarded connection that is not read holds up its own server and no other', async () => {
    const server = await node.runContainer(pod);
    await serve(server, 8005, 'head -c 20000000 /dev/zero');
    await serve(server, 8006, 'cat');
    await Promise.all([8005, 8006].map((port) => listens(server, port)));
    const slow = await Forward.open(node, pod, 'SPDY');
    const stuck = slow.connect(8005);
    let length = 0;
    stuck.sink = (bytes) => { length += bytes.length; };
    await once(stuck, 'data');
    slow.socket.pause();
    const other = await Forward.open(node, pod, 'SPDY');
    const lively = other.connect(8006);
    lively.send('hello');
    await eventually('it answers', () => lively.bytes().toString() === 'hello');
    await isThere('head -c 20000000', server);
    slow.socket.resume();
    await stuck.over;
    assert.strictEqual(length, 20000000);
    slow.close();
    other.close();
    await node.remove(server);
});

test('a port-forward client that disconnects closes its connections in the pod', async () => {
    const server = await node.runContainer(pod);
    await serve(server, 8007, 'sleep 0.1; cat; touch /closed');
    await listens(server, 8007);
    const forward = await Forward.open(node, pod, 'SPDY');
    const connection = forward.connect(8007);
    connection.send('hello');
    await once(connection, 'data');
    forward.close();
    await eventually('the server saw it', async () => (await node.exec(server, ['/bin/rm', '/closed'])).exit_code === 0);
    await node.remove(server);
});

// ---- leaks ----

test('streams that have ended leave no process in the container and no descriptor in the daemon', async () => {
    const others = async () => (await processes()).filter((line) => !/ps -o args|\[ps\]|pod-init/.test(line)).slice(1);
    await eventually('the container runs only its own', async () => (await others()).length === 0, 60000).catch(() => {});
    assert.deepStrictEqual(await others(), []);
    // gRPC and the log may have opened a few of their own.
    await eventually('the daemon has closed its sockets', () => daemonFds() <= fdsBefore + 3);
});

// ---- the daemon ends and starts again ----

test('on SIGTERM the daemon tells each connected client why, and ends at once', async () => {
    const clients = await Promise.all(usual.map((transport) =>
        exec(node, container, transport, 'echo ready; sleep 43210', {stdin: true})));
    await Promise.all(clients.map((client) => client.shows('ready')));
    const forward = await Forward.open(node, pod, 'SPDY');
    const ending = node.stopDaemon();
    for (const client of clients)
        assert.match((await client.outcome()).message || '', /crivirtd is stopping; the pod keeps running/);
    await forward.closed;
    assert.strictEqual((await ending).code, 0);
    await node.startDaemon();
    assert.deepStrictEqual(await run(node, container, 'SPDY v4', 'echo new'), {code: 0, stdout: 'new\n', stderr: ''});
});

test('after kill -9 of the daemon, new commands work at once and commands of the former daemon are hung up', async () => {
    const terminal = await exec(node, container, 'WebSocket v5', 'echo ready; sleep 54321', {stdin: true, tty: true});
    const writer = await exec(node, container, 'SPDY v4', 'while echo 54322; do sleep 0.1; done');
    await terminal.shows('ready');
    await writer.shows('54322');
    await node.restartDaemon('SIGKILL');
    await Promise.all([terminal.closed, writer.closed]);
    assert.strictEqual((await run(node, container, 'WebSocket v5', 'echo new')).stdout, 'new\n');
    await isGone('54321');
    await isGone('54322');
});

test('a client that opens no streams in time, or is idle for too long, is disconnected', async () => {
    await node.stopDaemon();
    await node.startDaemon(['--streaming-creation-timeout=1s', '--streaming-idle-timeout=3s']);
    const {spdy} = await openSpdy(node, await execUrl(), ['v4.channel.k8s.io']);
    const problems = [];
    spdy.on('data', (id, bytes) => problems.push(bytes));
    const over = once(spdy, 'close');
    spdy.open({streamType: 'error'}); // but no stdout
    await over;
    assert.match(Buffer.concat(problems).toString(), /did not open its streams in time/);
    const forward = await Forward.open(node, pod, 'SPDY');
    const halves = ['error', 'data'].map((streamType) => forward.spdy.open({streamType, port: 8001, requestID: streamType}));
    const ended = [], reasons = [];
    forward.spdy.on('data', (id, bytes) => reasons.push([id, bytes.toString()]));
    forward.spdy.on('end', (id) => ended.push(id));
    await eventually('connections of which there is only one half are over', () => ended.length === 2);
    assert.deepStrictEqual([ended.sort(), reasons.map(([id]) => id)], [halves, [halves[0]]]);
    assert.match(reasons[0][1], /port 8001 .*did not open both streams/);
    forward.close();
    const idle = await exec(node, container, 'WebSocket v5', 'echo ready; exec sleep 65432', {tty: true, stdin: true});
    await idle.closed;
    await isGone('65432');
    await node.restartDaemon();
});

test('a URL that no client used within streaming.url_timeout is refused', async (t) => {
    await node.stopDaemon();
    await node.startDaemon(['--streaming-url-timeout=1s']);
    t.after(() => node.restartDaemon());
    const url = await execUrl();
    await sleep(1500); // asking earlier would use it up
    const answer = await upgrade(node, url, {Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': 'v4.channel.k8s.io'});
    assert.deepStrictEqual([answer.status, /has expired/.test(answer.body)], [404, true]);
});
