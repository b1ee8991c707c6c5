// SPDX-License-Identifier: Apache-2.0
'use strict';
// Spans that crivirtd sends to a collector: of which calls, with which parts and parents, and what a collector that is away changes.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const grpc = require('@grpc/grpc-js');
const {busyboxArchive} = require('./support/images');
const {Node} = require('./support/node');
const {startRegistry, push} = require('./support/registry');
const {eventually} = require('./support/kit');

const PORT = 4318;
const TRACE = '0af7651916cd43dd8448eb211c80319c', PARENT = 'b7ad6b7169203331';
let node, file, pod, container, collector;
before(async () => {
    node = await Node.start({flags: [`--tracing-endpoint=http://127.0.0.1:${PORT}`, '--tracing-samples-per-million=0']});
    file = path.join(node.dir, 'spans');
    startCollector();
    pod = node.podConfig();
    const {pod_sandbox_id: id} = await traced('RunPodSandbox', {config: pod});
    pod = {id, config: pod};
    const config = node.containerConfig();
    container = {id: (await traced('CreateContainer', {pod_sandbox_id: id, config, sandbox_config: pod.config})).container_id, config};
    await traced('StartContainer', {container_id: container.id});
});
after(() => node.end());

function startCollector() {
    collector = node.spawn([process.execPath, path.join(__dirname, 'support', 'collector.js'), String(PORT), file], 'collector.log');
}

// A call with the trace context of a client; flags 01: the client records its trace.
function traced(method, request, flags = '01') {
    const metadata = new grpc.Metadata();
    metadata.set('traceparent', `00-${TRACE}-${PARENT}-${flags}`);
    return node.cri.call(method, request, undefined, metadata);
}

function received() {
    if (!fs.existsSync(file))
        return [];
    const requests = fs.readFileSync(file, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    return requests.flatMap(({resourceSpans}) => resourceSpans).flatMap(({scopeSpans}) => scopeSpans).flatMap(({spans}) => spans);
}

const spanOf = (method) => eventually(`the span of ${method} has come`, () =>
    received().find(({name}) => name === `runtime.v1.RuntimeService/${method}`));
const attributes = (span) => Object.fromEntries(span.attributes.map(({key, value}) => [key, value.stringValue]));
const within = (part, whole) => BigInt(part.startTimeUnixNano) >= BigInt(whole.startTimeUnixNano) - 1000000n &&
    BigInt(part.endTimeUnixNano) <= BigInt(whole.endTimeUnixNano) + 1000000n;

test('RunPodSandbox is a span below the client\'s, with the phases of the start as its children', async () => {
    const span = await spanOf('RunPodSandbox');
    assert.deepStrictEqual([span.traceId, span.parentSpanId, span.kind], [TRACE, PARENT, 2]);
    assert.strictEqual(attributes(span)['k8s.pod.name'], pod.config.metadata.name);
    assert.strictEqual(attributes(span)['k8s.namespace.name'], 'tests');
    assert.strictEqual(attributes(span)['crivirt.sandbox.id'], pod.id);
    const phases = received().filter(({parentSpanId}) => parentSpanId === span.spanId);
    for (const name of ['all', 'queue', 'network', 'create', 'setup'])
        assert.ok(phases.some((phase) => phase.name === name), `${name} in ${phases.map((phase) => phase.name)}`);
    for (const phase of phases) {
        assert.strictEqual(phase.traceId, TRACE);
        assert.ok(within(phase, span), phase.name);
    }
});

test('CreateContainer and StartContainer have their phases and the container\'s id', async () => {
    const create = await spanOf('CreateContainer'), start = await spanOf('StartContainer');
    assert.strictEqual(attributes(create)['container.id'], container.id);
    assert.strictEqual(attributes(start)['container.id'], container.id);
    assert.strictEqual(attributes(create)['k8s.container.name'], container.config.metadata.name);
    const names = (span) => received().filter(({parentSpanId}) => parentSpanId === span.spanId).map(({name}) => name).sort();
    assert.deepStrictEqual(names(create), ['attach', 'create', 'volumes']);
    assert.deepStrictEqual(names(start), ['start']);
});

test('a call that fails is a span with the status, and commands are not in it', async () => {
    await assert.rejects(traced('ExecSync', {container_id: container.id, cmd: ['no-such-program', 'secret']}));
    const span = await spanOf('ExecSync');
    assert.strictEqual(span.status.code, 2);
    assert.match(span.status.message, /exec in container/);
    assert.ok(!JSON.stringify(attributes(span)).includes('secret'));
    await assert.rejects(traced('PullImage', {image: {image: '127.0.0.1:1/none:1'}}));
    const pull = await eventually('the span of the pull has come', () => received().find(({name}) => name.endsWith('/PullImage')));
    assert.strictEqual(attributes(pull)['container.image.name'], '127.0.0.1:1/none:1');
});

test('PullImage has what it asked the registry for and each layer as its children', async () => {
    const registry = await startRegistry(node);
    const name = `${registry.host}/traced/busybox:one`;
    push(node, `oci-archive:${busyboxArchive(node)}`, name);
    await traced('PullImage', {image: {image: name}});
    const span = await eventually('the span of the pull has come', () => received().find((found) =>
        found.name.endsWith('/PullImage') && attributes(found)['container.image.name'] === name));
    const parts = received().filter(({parentSpanId}) => parentSpanId === span.spanId);
    assert.deepStrictEqual(parts.map((part) => part.name).sort(), ['download', 'layer', 'manifest', 'resolve']);
    for (const part of parts)
        assert.ok(within(part, span), part.name);
    for (const part of parts.filter(({name: step}) => step === 'layer' || step === 'download'))
        assert.match(attributes(part)['crivirt.layer.digest'], /^sha256:[0-9a-f]{64}$/);
});

test('lists have no spans, nor have calls whose client records nothing, nor, with a share of 0, other calls', async () => {
    const before = received().length;
    await traced('ListPodSandbox', {});
    await traced('ExecSync', {container_id: container.id, cmd: ['true']}, '00');
    await node.cri.call('ExecSync', {container_id: container.id, cmd: ['true']});
    await traced('StopContainer', {container_id: container.id, timeout: 0}); // what comes last has been recorded
    await spanOf('StopContainer');
    assert.deepStrictEqual(received().slice(before).map(({name}) => name), ['runtime.v1.RuntimeService/StopContainer']);
});

test('while the collector is away calls go on, and its return brings what has waited', async () => {
    collector.kill('SIGKILL');
    await collector.ended;
    fs.rmSync(file);
    await traced('RemoveContainer', {container_id: container.id});
    await eventually('the failure is logged', () => /cannot send spans to the collector/.test(node.daemonLog()));
    startCollector();
    assert.ok(await spanOf('RemoveContainer'));
    await eventually('the return is logged', () => /the collector takes spans again/.test(node.daemonLog()));
    fs.writeFileSync(`${file}.status`, '400');
    await traced('StopPodSandbox', {pod_sandbox_id: pod.id});
    await eventually('the refusal is logged', () => /answers spans with HTTP 400/.test(node.daemonLog()));
    fs.rmSync(`${file}.status`);
    await traced('RemovePodSandbox', {pod_sandbox_id: pod.id});
    await spanOf('RemovePodSandbox');
    assert.ok(!received().some(({name}) => name.endsWith('/StopPodSandbox')));
});
