// SPDX-License-Identifier: Apache-2.0
'use strict';
// The command line as a person who knows Docker uses it.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {busyboxArchive, makeImage} = require('./support/images');
const {eventually} = require('./support/kit');

let node;
before(async () => { node = await Node.start(); });
after(() => node.end());

// The standard output of a command, which must succeed.
async function crivirt(...words) {
    const {code, stdout, stderr} = await node.cli(...words);
    assert.strictEqual(code, 0, `crivirt ${words.join(' ')}: ${stderr}`);
    return stdout;
}

test('--help lists the commands, and version reports client and server', async () => {
    assert.match(await crivirt('--help'), /run[\s\S]*ps[\s\S]*exec/);
    assert.match(await crivirt('run', '--help'), /--detach|-d/);
    assert.match(await crivirt('version'), /Client[\s\S]*Server: crivirt/);
    assert.strictEqual(JSON.parse(await crivirt('version', '--json')).runtimeVersion,
                       (await node.cri.call('Version')).runtime_version);
});

test('load imports an image, which images lists, and info reports the conditions', async () => {
    assert.match(await crivirt('load', '-i', busyboxArchive(node)), /Loaded image: docker\.io\/library\/busybox:latest/);
    assert.match(await crivirt('images'), /docker\.io\/library\/busybox +latest/);
    assert.ok(JSON.parse(await crivirt('images', '--json')).length === 1);
    assert.match(await crivirt('info'), /NetworkReady/);
});

test('run in the foreground passes on output and exit code, and --rm leaves nothing', async () => {
    const {code, stdout, stderr} = await node.cli('run', '--rm', '-e', 'NAME=world', 'busybox', 'sh', '-c',
                                                  'echo "hello $NAME"; echo oops >&2; exit 7');
    assert.deepStrictEqual([code, stdout, stderr], [7, 'hello world\n', 'oops\n']);
    assert.deepStrictEqual(JSON.parse(await crivirt('ps', '-a', '--json')), []);
    assert.deepStrictEqual((await node.cri.call('ListPodSandbox')).items, []);
});

test('a created container starts by start, and kill, wait and top reach it', async () => {
    await crivirt('create', '--name', 'job', 'busybox', 'sh', '-c',
                  'trap "exit 3" HUP; echo ready; while :; do sleep 0.1; done');
    assert.match(await crivirt('ps', '-a'), /Created .* job/);
    assert.strictEqual(await crivirt('start', 'job'), 'job\n');
    await eventually('it runs', async () => (await crivirt('logs', 'job')).includes('ready'));
    assert.match(await crivirt('top', 'job'), /PID[\s\S]*trap/);
    assert.match(await crivirt('top', 'job', '-o', 'pid'), /^ *PID *\n/);
    const waiting = node.cli('wait', 'job');
    assert.strictEqual(await crivirt('kill', '-s', 'SIGHUP', 'job'), 'job\n');
    assert.deepStrictEqual([(await waiting).code, (await waiting).stdout], [0, '3\n']);
    assert.match((await node.cli('kill', 'job')).stderr, /job: it does not run/);
    assert.match((await node.cli('start', 'job')).stderr, /crivirt restart makes another one/);
    await crivirt('rm', 'job');
});

test('restart puts another attempt in the place of a container, in the same pod and log', async () => {
    await crivirt('run', '-d', '--name', 'again', 'busybox', 'sh', '-c', 'echo begun; exec sleep 600');
    await eventually('it has begun', async () => (await crivirt('logs', 'again')).includes('begun'));
    const [first] = JSON.parse(await crivirt('ps', '--json'));
    assert.strictEqual(await crivirt('restart', '-t', '0', 'again'), 'again\n');
    const [second, ...others] = JSON.parse(await crivirt('ps', '-a', '--json'));
    assert.deepStrictEqual([others, second.podId, second.attempt], [[], first.podId, first.attempt + 1]);
    assert.notStrictEqual(second.id, first.id);
    await eventually('it has begun again', async () => (await crivirt('logs', 'again')) === 'begun\nbegun\n');
    // One that has ended, too.
    await crivirt('kill', 'again');
    await crivirt('restart', 'again');
    assert.strictEqual(JSON.parse(await crivirt('ps', '--json'))[0].attempt, first.attempt + 2);
    await crivirt('rmp', '-f', 'again');
    await crivirt('run', '-d', '--rm', '--name', 'brief', 'busybox', 'sleep', '600');
    assert.match((await node.cli('restart', 'brief')).stderr, /with --rm, ends its pod when the container ends/);
    await crivirt('rm', '-f', 'brief');
    const pod = await node.runPod();
    const theirs = await node.runContainer(pod, {});
    assert.match((await node.cli('restart', theirs.id)).stderr, /the kubelet starts it again/);
    await node.removePod(pod);
    const policy = await node.cli('run', '--restart', 'always', 'busybox', 'true');
    assert.deepStrictEqual([policy.code, /staticPodPath/.test(policy.stderr)], [2, true]);
});

test('prune removes what has ended, and only shows it with -n', async () => {
    await crivirt('run', '--name', 'done', 'busybox', 'true');
    await crivirt('run', '-d', '--name', 'half', 'busybox', 'true');
    await crivirt('run', '-d', '--name', 'busy', 'busybox', 'sleep', '600');
    await crivirt('wait', 'half');
    assert.match(await crivirt('prune', '-n', 'system'), /would remove pod .* half\n/);
    assert.match(await crivirt('prune', 'containers'), /removed container .* done\n|removed container .* half\n/);
    assert.match(await crivirt('prune', 'pods'), /removed pod .* half\n|removed pod .* done\n/);
    assert.deepStrictEqual(JSON.parse(await crivirt('pods', '--json')).map(({name}) => name), ['busy']);
    assert.strictEqual(await crivirt('prune', 'images'), ''); // busy uses the only one
    await crivirt('rm', '-f', 'busy');
    assert.match(await crivirt('prune', 'images'), /removed image .* docker\.io\/library\/busybox:latest\n/);
    await node.loadBusybox();
    assert.match((await node.cli('prune', 'volumes')).stderr, /none of containers, pods, images and system/);
});

test('kill without a signal kills, and wait knows a container that has ended', async () => {
    await crivirt('run', '-d', '--name', 'victim', 'busybox', 'sleep', '600');
    await crivirt('kill', 'victim');
    assert.strictEqual(await crivirt('wait', 'victim'), '137\n');
    await crivirt('rm', 'victim');
    assert.strictEqual((await node.cli('wait', 'victim')).code, 1);
});

test('system df shows what images and containers take', async () => {
    await crivirt('run', '-d', '--name', 'writer', 'busybox', 'sh', '-c', 'dd if=/dev/zero of=/file bs=1M count=8; sync; sleep 600');
    await eventually('the file counts', async () =>
        JSON.parse(await crivirt('system', 'df', '--json')).containers.bytes >= 8 << 20);
    const {images, containers} = JSON.parse(await crivirt('system', 'df', '--json'));
    assert.deepStrictEqual([images.total, images.active, images.reclaimableBytes], [1, 1, 0]);
    assert.deepStrictEqual([containers.total, containers.active], [1, 1]);
    assert.ok(images.bytes > 0);
    assert.match(await crivirt('system', 'df'), /TYPE[\s\S]*Images +1 +1[\s\S]*Containers +1 +1/);
    assert.strictEqual((await node.cli('system', 'cheese')).code, 2);
    await crivirt('rm', '-f', 'writer');
});

test('an image that a container has mounted is in use for system df and prune', async () => {
    const archive = makeImage(node, 'example.org/data:1', {}, (dir) => fs.writeFileSync(path.join(dir, 'word'), 'here\n'));
    await node.cri.call('LoadImage', {path: archive});
    const active = async () => JSON.parse(await crivirt('system', 'df', '--json')).images.active;
    const pod = await node.runPod();
    const mounts = [{container_path: '/image', image: {image: 'example.org/data:1'}, readonly: true}];
    const container = await node.runContainer(pod, {mounts});
    assert.strictEqual(await active(), 2);
    assert.strictEqual(await crivirt('prune', 'images'), '');
    assert.strictEqual(await node.output(container, 'cat /image/word'), 'here');
    await node.removePod(pod);
    assert.strictEqual(await active(), 0);
    await node.cri.call('RemoveImage', {image: {image: 'example.org/data:1'}});
});

test('a detached container can be listed, entered, followed, stopped and removed', async () => {
    const data = path.join(node.dir, 'data');
    fs.mkdirSync(data);
    fs.writeFileSync(path.join(data, 'index.html'), 'from a volume\n');
    await crivirt('run', '-d', '--name', 'web', '-m', '128m', '-v', `${data}:/www:ro`, '-p', '8080:80', 'busybox',
                  'sh', '-c', 'echo started; exec httpd -f -p 80 -h /www');
    assert.match(await crivirt('ps'), /web/);
    assert.match(await crivirt('pods'), /web/);
    assert.strictEqual(await crivirt('exec', 'web', 'cat', '/www/index.html'), 'from a volume\n');
    assert.strictEqual(node.inNetwork('curl', '-s', 'http://127.0.0.1:8080/'), 'from a volume\n');
    assert.strictEqual((await node.cli('exec', 'web', 'sh', '-c', 'exit 3')).code, 3);
    const following = node.cli('logs', '-f', 'web');
    await crivirt('stop', '-t', '1', 'web');
    assert.strictEqual((await following).stdout, 'started\n');
    assert.match(await crivirt('ps', '-a'), /Exited/);
    assert.strictEqual(JSON.parse(await crivirt('inspect', 'web'))[0].status.metadata.name, 'web');
    await crivirt('rm', 'web');
    assert.deepStrictEqual(JSON.parse(await crivirt('ps', '-a', '--json')), []);
});

// Asserts what readers of the "Trace Event Format" rely on. On one track, events lie within or beside each other.
function isTraceEventFile({displayTimeUnit, traceEvents}) {
    assert.strictEqual(displayTimeUnit, 'ms');
    const named = new Set();
    const open = new Map(); // by track, the ends of the events that the next one may lie in
    for (const {ph, cat, name, pid, tid, ts, dur, args} of [...traceEvents].sort((a, b) => a.ts - b.ts || b.dur - a.dur)) {
        for (const number of [pid, tid, ts])
            assert.ok(Number.isSafeInteger(number) && number >= 0);
        for (const text of [cat, name])
            assert.ok(typeof text === 'string' && text !== '');
        if (ph === 'M') {
            assert.strictEqual(cat, '__metadata');
            assert.strictEqual(name, tid === 0 ? 'process_name' : 'thread_name');
            assert.ok(typeof args.name === 'string' && !named.has(tid));
            named.add(tid);
            continue;
        }
        assert.strictEqual(ph, 'X');
        assert.ok(Number.isSafeInteger(dur) && dur >= 0);
        const ends = (open.get(tid) || []).filter((end) => end > ts);
        assert.ok(ends.every((end) => ts + dur <= end), `${name} overlaps another event`);
        open.set(tid, [...ends, ts + dur]);
    }
    for (const tid of [0, ...open.keys()])
        assert.ok(named.has(tid), `track ${tid} has a name`);
}

test('trace shows the phases of a start as a timeline and as trace events', async () => {
    await crivirt('run', '-d', '--name', 'traced', 'busybox', 'sleep', '100000');
    const timeline = await crivirt('trace', 'traced');
    assert.match(timeline, /^pod crivirt\/traced, (booted|restored), from /);
    for (const phase of ['all', 'queue', 'network', 'create', 'setup', 'traced: attach', 'traced: create', 'traced: start'])
        assert.match(timeline, new RegExp(`^ *${phase} .* ms .* ms +[#\u2588]`, 'm'));
    const trace = JSON.parse(await crivirt('trace', '--json', 'traced'));
    isTraceEventFile(trace);
    const phases = trace.traceEvents.filter(({ph}) => ph === 'X');
    const of = (name, cat) => phases.find((event) => event.name === name && event.cat === cat);
    const all = of('all', 'pod');
    for (const inner of phases.filter(({cat}) => cat === 'pod'))
        assert.ok(inner.ts >= all.ts && inner.ts + inner.dur <= all.ts + all.dur, inner.name);
    assert.ok(of('create', 'container').ts >= all.ts + all.dur);
    assert.ok(of('start', 'container').ts >= of('create', 'container').ts + of('create', 'container').dur);
    const file = path.join(node.dir, 'trace.json');
    await crivirt('trace', '-o', file, 'traced');
    assert.deepStrictEqual(JSON.parse(fs.readFileSync(file, 'utf8')).traceEvents, trace.traceEvents);
    assert.match((await node.cli('trace', 'nobody')).stderr, /nobody/);
    await crivirt('rm', '-f', 'traced');
});

test('exec -i and cp use the streaming server', async () => {
    await crivirt('run', '-d', '--name', 'box', 'busybox', 'sleep', '100000');
    const bytes = [...Array(200000).keys()].join('\n');
    const echoed = await node.cliWith({input: bytes}, 'exec', '-i', 'box', 'cat');
    assert.deepStrictEqual([echoed.code, echoed.stdout === bytes], [0, true]);
    const file = path.join(node.dir, 'copied');
    fs.writeFileSync(file, bytes);
    await crivirt('exec', 'box', 'mkdir', '-p', '/tmp');
    await crivirt('cp', file, 'box:/tmp');
    const back = path.join(node.dir, 'back');
    fs.mkdirSync(back);
    await crivirt('cp', 'box:/tmp/copied', back);
    assert.strictEqual(fs.readFileSync(path.join(back, 'copied'), 'utf8'), bytes);
    await crivirt('rm', '-f', 'box');
});

test('rmi removes the image, and messages name what does not exist', async (t) => {
    t.after(() => node.loadBusybox());
    await crivirt('rmi', 'busybox');
    assert.deepStrictEqual(JSON.parse(await crivirt('images', '--json')), []);
    for (const [words, text] of [[['run', '--pull', 'never', 'busybox'], /busybox/], [['exec', 'nobody', 'true'], /nobody/],
                                 [['logs', 'nobody'], /nobody/], [['frobnicate'], /frobnicate/],
                                 [['run', '--no-such-option', 'busybox'], /no-such-option/]]) {
        const {code, stderr} = await node.cli(...words);
        assert.notStrictEqual(code, 0, words.join(' '));
        assert.match(stderr, text);
    }
});

test('without a daemon the message names the socket', async () => {
    const {code, stderr} = await node.cliWith({env: {CRIVIRT_SOCKET: '/run/no-such.sock'}}, 'ps');
    assert.notStrictEqual(code, 0);
    assert.match(stderr, /\/run\/no-such\.sock/);
    await node.cri.call('Version'); // the daemon of this node runs all the same
});
