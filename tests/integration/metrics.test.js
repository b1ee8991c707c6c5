// SPDX-License-Identifier: Apache-2.0
'use strict';
// /metrics of a daemon with a pod: the text format, the names, the labels, and that the dashboard and the alerts of
// deploy/observability use metrics that exist.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {root} = require('./support/environment');
const {Node} = require('./support/node');
const {eventually, must} = require('./support/kit');
const {processesOf} = require('./support/processes');

const ADDRESS = '127.0.0.1:9114';
let node, pod, text;
before(async () => {
    node = await Node.start({flags: [`--metrics-address=${ADDRESS}`]});
    pod = await node.runPod();
    await node.runContainer(pod, {});
    await node.cri.call('ListPodSandboxStats');
    await node.cri.call('PullImage', {image: {image: '127.0.0.1:1/none:1'}}).catch(() => {});
    process.kill(processesOf(node).find(({words}) => words[0].endsWith('/crivirtd')).pid, 'SIGHUP');
    await eventually('the daemon has reloaded', () => node.daemonLog().includes('read again'));
    text = await scrape();
});
after(() => node.end());

const scrape = async () => (await node.run('curl', '-s', `http://${ADDRESS}/metrics`)).stdout;

// A value's name and labels as Prometheus reads them: [{name, labels, value}]
function samples(page = text) {
    return page.split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => {
        const [, name, labels, value] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line) || assert.fail(line);
        const pairs = [...labels.matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)/g)];
        assert.strictEqual(pairs.map(([whole]) => whole).join(''), labels, line);
        return {name, labels: Object.fromEntries(pairs.map(([, key, one]) => [key, one])), value: Number(value.replace('+Inf', 'Infinity'))};
    });
}

const find = (name, labels = {}, page = text) => samples(page).filter(
    (one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value));

// {name: type}, in the order of the page
const types = () => Object.fromEntries([...text.matchAll(/^# TYPE (\S+) (\S+)$/mg)].map(([, name, type]) => [name, type]));

function familyOf(name) {
    const base = name.replace(/_(bucket|sum|count)$/, '');
    return types()[base] === 'histogram' ? base : name;
}

test('every metric has one HELP, one TYPE, and its values after them', () => {
    let family = '';
    const seen = new Set();
    for (const line of text.split('\n').slice(0, -1)) {
        const [, kind, name] = /^# (HELP|TYPE) (\S+) ./.exec(line) || [];
        if (kind === 'HELP') {
            assert.ok(!seen.has(name), `two families ${name}`);
            seen.add(name);
            family = name;
        } else if (kind === 'TYPE') {
            assert.strictEqual(name, family);
        } else {
            assert.strictEqual(familyOf(/^[^{ ]+/.exec(line)[0]), family, line);
        }
    }
});

test('no value comes twice, and every value is a number', () => {
    const keys = samples().map(({name, labels}) => `${name} ${JSON.stringify(labels)}`);
    assert.strictEqual(new Set(keys).size, keys.length);
    for (const {name, value} of samples())
        assert.ok(!Number.isNaN(value), name);
});

test('names follow the conventions of Prometheus', () => {
    for (const [name, type] of Object.entries(types())) {
        assert.match(name, /^(crivirt|process)_[a-z_]+$/);
        assert.strictEqual(name.endsWith('_total'), type === 'counter', name);
        assert.doesNotMatch(name, /_(ms|us|ns|kb|mb|mib|milliseconds)(_|$)/, name);
        if (type === 'histogram')
            assert.match(name, /_seconds$/);
    }
});

test('the buckets of a histogram add up', () => {
    for (const [name] of Object.entries(types()).filter(([, type]) => type === 'histogram'))
        for (const count of find(`${name}_count`)) {
            const buckets = find(`${name}_bucket`, count.labels).map(({labels, value}) => [Number(labels.le.replace('+Inf', 'Infinity')), value]);
            for (let i = 1; i < buckets.length; i++)
                assert.ok(buckets[i][0] > buckets[i - 1][0] && buckets[i][1] >= buckets[i - 1][1], name);
            assert.deepStrictEqual(buckets.at(-1), [Infinity, count.value]);
        }
});

test('a pod shows in the figures of calls, starts, states and costs', () => {
    const one = (name, labels) => (find(name, labels)[0] || {}).value;
    assert.strictEqual(one('crivirt_pods', {state: 'ready'}), 1);
    assert.strictEqual(one('crivirt_containers_running'), 1);
    for (const name of ['crivirt_guest_starts_total', 'crivirt_guest_start_seconds_count'])
        assert.deepStrictEqual(find(name).map(({labels, value}) => [/^(booted|restored|pooled)$/.test(labels.how), value]), [[true, 1]]);
    assert.strictEqual(one('crivirt_rpc_duration_seconds_count', {method: 'RunPodSandbox'}), 1);
    assert.strictEqual(one('crivirt_rpc_failures_total', {method: 'PullImage', code: 'Unavailable'}), 1);
    assert.strictEqual(one('crivirt_image_pull_seconds_count', {result: 'Unavailable'}), 1);
    assert.strictEqual(one('crivirt_config_reloads_total', {result: 'ok'}), 1);
    assert.strictEqual(one('crivirt_images'), 1);
    assert.strictEqual(one('crivirt_ready'), 1);
    const memory = one('crivirt_pod_vm_memory_bytes', {id: pod.id});
    assert.ok(memory >= 64 << 20, memory);
    for (const name of ['crivirt_pod_node_memory_bytes', 'crivirt_pod_overhead_memory_bytes'])
        assert.ok(one(name, {id: pod.id}) > 1 << 20, name);
    assert.ok(one('crivirt_pod_node_cpu_seconds_total', {id: pod.id}) > 0);
    assert.ok(Math.abs(one('process_start_time_seconds') - Date.now() / 1000) < 3600);
    assert.deepStrictEqual(find('crivirt_rpc_calls').map(({labels}) => labels.pool), find('crivirt_rpc_workers').map(({labels}) => labels.pool));
});

test('no text of a client becomes a label', () => {
    const known = new Set(['version', 'state', 'pool', 'id', 'phase', 'how', 'method', 'code', 'result', 'outcome', 'kind', 'le']);
    for (const {name, labels} of samples())
        for (const [key, value] of Object.entries(labels)) {
            assert.ok(known.has(key), `${name} has a label ${key}`);
            assert.doesNotMatch(value, /127\.0\.0\.1|busybox|none/, name);
        }
});

test('the death of a VM is counted', async () => {
    const deaths = (page) => find('crivirt_child_deaths_total', {kind: 'QEMU'}, page).map(({value}) => value);
    assert.deepStrictEqual(deaths(text), []);
    process.kill(processesOf(node).find(({words}) => /qemu/.test(words[0])).pid, 'SIGKILL');
    await eventually('the death is counted', async () => deaths(await scrape())[0] === 1);
    await eventually('the pod has no costs any more', async () => find('crivirt_pod_vm_memory_bytes', {}, await scrape()).length === 0);
    await node.removePod(pod);
});

// The metrics that the sources define, because some appear only once something has happened.
function defined() {
    const names = Object.keys(types());
    const read = (directory) => {
        for (const entry of fs.readdirSync(path.join(root, directory), {withFileTypes: true}))
            if (entry.isDirectory())
                read(path.join(directory, entry.name));
            else if (entry.name.endsWith('.c'))
                for (const [, kind, name] of fs.readFileSync(path.join(root, directory, entry.name), 'utf8')
                    .matchAll(/METRIC_(COUNTER|SECONDS)\(\s*"(\w+)"/g))
                    names.push(...(kind === 'SECONDS' ? [name, `${name}_bucket`, `${name}_sum`, `${name}_count`] : [name]));
    };
    for (const directory of ['common', 'sandbox', 'image-service', 'cri-server', 'cni-bridge'])
        read(directory);
    return new Set(names);
}

const observability = (name) => fs.readFileSync(path.join(root, 'deploy/observability', name), 'utf8');

test('the dashboard and the alerts use metrics and labels that exist', () => {
    const names = defined();
    const dashboard = JSON.parse(observability('dashboard.json'));
    const expressions = dashboard.panels.flatMap(({targets}) => targets.map(({expr}) => expr));
    const alerts = [...observability('alerts.yml').matchAll(/^ +expr: (.*)$/mg)].map(([, expr]) => expr);
    assert.ok(expressions.length >= 20 && alerts.length >= 10);
    for (const expr of [...expressions, ...alerts]) {
        const used = expr.match(/\b(crivirt|process)_\w+/g) || ['up'];
        for (const name of used)
            assert.ok(name === 'up' || names.has(name), `${name} in ${expr}`);
        for (const [, label] of expr.matchAll(/[{,](\w+)(?:=|!=|=~)"/g))
            assert.ok(['instance', 'job', 'state', 'how', 'phase', 'code', 'pool', 'kind', 'result'].includes(label), label);
    }
    for (const [, name] of observability('alerts.yml').matchAll(/alert: (\w+)/g))
        assert.match(name, /^Crivirt[A-Z]/);
});

test('docs/operations.md lists every metric', () => {
    const docs = fs.readFileSync(path.join(root, 'docs/operations.md'), 'utf8');
    for (const name of defined())
        if (!/_(bucket|sum|count)$/.test(name) && !name.startsWith('process_'))
            assert.ok(docs.includes(`\`${name}`), name);
});

test('the time of the daemon\'s start is the same at each scrape', async () => {
    const values = async () => find('process_start_time_seconds', {}, await scrape()).map(({value}) => value);
    const [first] = await values();
    assert.ok(Math.abs(Date.now() / 1000 - first) < 3600);
    assert.deepStrictEqual([await values(), await values()], [[first], [first]]);
});

test('/metrics is served with TLS, by a certificate that is read again when it changes, and on a unix socket', async () => {
    const dir = fs.mkdtempSync('/tmp/crivirt-test-tls-');
    const file = (name) => path.join(dir, name);
    const make = (name) => must('openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-subj', `/CN=${name}`,
                                '-addext', 'subjectAltName=IP:127.0.0.1', '-days', '2', '-keyout', file(`${name}.key`), '-out', file(`${name}.pem`));
    const use = (certificate, key = certificate) => {
        fs.copyFileSync(file(`${certificate}.pem`), file('cert.pem'));
        fs.copyFileSync(file(`${key}.key`), file('key.pem'));
    };
    make('first');
    make('second');
    use('first');
    const [address, socket] = ['127.0.0.1:9115', file('metrics.sock')];
    await Node.use({image: false, flags: [`--metrics-address=${address}`, `--metrics-tls-cert=${file('cert.pem')}`, `--metrics-tls-key=${file('key.pem')}`,
                                          `--metrics-socket=${socket}`, '--metrics-socket-group=daemon']}, async (one) => {
        const get = (certificate, url = `https://${address}/metrics`) => one.run('curl', '-sS', '--cacert', file(`${certificate}.pem`), url);
        assert.match((await get('first')).stdout, /^# HELP crivirt_/m);
        assert.notStrictEqual((await get('second')).code, 0);
        assert.notStrictEqual((await get('first', `http://${address}/metrics`)).code, 0);
        use('second', 'first'); // a renewal that is half done
        assert.match((await get('first')).stdout, /^# HELP crivirt_/m);
        assert.match(one.daemonLog(), /is not the key of the certificate .*; the previous certificate stays in use/);
        use('second');
        assert.match((await get('second')).stdout, /^# HELP crivirt_/m);
        assert.notStrictEqual((await get('first')).code, 0);
        const {mode, gid} = fs.statSync(socket);
        assert.deepStrictEqual([mode & 0o777, gid], [0o660, 1]);
        assert.strictEqual((await one.run('curl', '-sS', '--unix-socket', socket, 'http://localhost/healthz')).stdout, 'ok\n');
        assert.match((await one.run('curl', '-sS', '--unix-socket', socket, 'http://localhost/metrics')).stdout, /^# HELP crivirt_/m);
        await one.restartDaemon('SIGKILL'); // the socket of a daemon that has died is replaced
        assert.strictEqual((await one.run('curl', '-sS', '--unix-socket', socket, 'http://localhost/healthz')).stdout, 'ok\n');
    });
    assert.ok(!fs.existsSync(socket));
    fs.rmSync(dir, {recursive: true});
});
