// SPDX-License-Identifier: Apache-2.0
// A client that shares no code with gRPC's C core, against a running crivirtd. It needs no pod and no registry.
//   npm install --prefix DIR @grpc/grpc-js @grpc/proto-loader
//   NODE_PATH=DIR/node_modules node tests/interop/grpc_js.js SOCKET
'use strict';
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const [socket] = process.argv.slice(2);
const protos = path.join(__dirname, '../../common/cri-api');
const load = (file) => grpc.loadPackageDefinition(
    loader.loadSync(path.join(protos, file), {keepCase: true, longs: String, enums: String, defaults: true}));
const cri = load('api.proto').runtime.v1;
const own = load('crivirt.proto').crivirt.v1;

const options = {'grpc.max_send_message_length': -1, 'grpc.max_receive_message_length': -1};
const open = (Service) => new Service(`unix://${socket}`, grpc.credentials.createInsecure(), options);
const runtime = open(cri.RuntimeService);
const images = open(cri.ImageService);
const crivirt = open(own.Crivirt);

const call = (client, method, request, metadata = new grpc.Metadata(), callOptions = {}) =>
    new Promise((resolve, reject) => client[method](request, metadata, callOptions,
                                                    (error, response) => error ? reject(error) : resolve(response)));

function check(truth, what) {
    if (!truth)
        throw new Error(what);
}

async function fails(promise, code, text) {
    try {
        await promise;
    } catch (error) {
        check(error.code === code, `status ${error.code}, not ${code}: ${error.details}`);
        check(error.details.includes(text), `"${error.details}" lacks "${text}"`);
        return;
    }
    throw new Error('the call succeeded');
}

const tests = {
    'Version has all four fields': async () => {
        const version = await call(runtime, 'Version', {});
        check(version.version === '0.1.0' && version.runtime_name === 'crivirt', JSON.stringify(version));
        check(version.runtime_api_version === 'v1' && version.runtime_version !== '', JSON.stringify(version));
    },
    'Status has both conditions, and verbose values are JSON': async () => {
        const response = await call(runtime, 'Status', {verbose: true});
        const types = response.status.conditions.map((condition) => condition.type);
        check(types.includes('RuntimeReady') && types.includes('NetworkReady'), types.join());
        for (const value of Object.values(response.info))
            JSON.parse(value);
        check(response.runtime_handlers.some((handler) => handler.name === ''), 'no default handler');
    },
    'metadata does not disturb': async () => {
        const metadata = new grpc.Metadata();
        metadata.set('x-request-id', 'a'.repeat(1000));
        metadata.set('x-trace-bin', Buffer.from([0, 255, 1]));
        await call(runtime, 'Version', {}, metadata);
    },
    'an unknown method is named': async () => {
        const unknown = new Promise((resolve, reject) => runtime.makeUnaryRequest(
            '/runtime.v1.RuntimeService/MakeCoffee', (value) => value, (value) => value, Buffer.alloc(0),
            (error, value) => error ? reject(error) : resolve(value)));
        await fails(unknown, grpc.status.UNIMPLEMENTED, 'MakeCoffee');
    },
    'a request that is no message is refused': async () => {
        const bad = new Promise((resolve, reject) => runtime.makeUnaryRequest(
            '/runtime.v1.RuntimeService/Version', (value) => value, (value) => value, Buffer.from([0x0a, 0xff]),
            (error, value) => error ? reject(error) : resolve(value)));
        await fails(bad, grpc.status.INVALID_ARGUMENT, 'VersionRequest');
    },
    'a request of 15 MiB is taken': async () => {
        await call(runtime, 'Version', {version: 'x'.repeat(15 << 20)});
    },
    'a request of 17 MiB is refused': () =>
        fails(call(runtime, 'Version', {version: 'x'.repeat(17 << 20)}), grpc.status.RESOURCE_EXHAUSTED, ''),
    'the connection serves on after that': async () => {
        await call(runtime, 'Version', {});
    },
    'a deadline ends a call': () =>
        fails(call(images, 'PullImage', {image: {image: '127.0.0.1:9/no/such:image'}}, undefined,
                   {deadline: Date.now() + 1}), grpc.status.DEADLINE_EXCEEDED, ''),
    'status of an unknown pod and container is NotFound': async () => {
        await fails(call(runtime, 'PodSandboxStatus', {pod_sandbox_id: 'feed'}), grpc.status.NOT_FOUND, '');
        await fails(call(runtime, 'ContainerStatus', {container_id: 'feed'}), grpc.status.NOT_FOUND, '');
    },
    'stopping and removing what is not there succeeds': async () => {
        await call(runtime, 'StopPodSandbox', {pod_sandbox_id: 'feed'});
        await call(runtime, 'RemovePodSandbox', {pod_sandbox_id: 'feed'});
        await call(runtime, 'StopContainer', {container_id: 'feed'});
        await call(runtime, 'RemoveContainer', {container_id: 'feed'});
    },
    'a missing image is an answer, not an error': async () => {
        const response = await call(images, 'ImageStatus', {image: {image: 'example.org/no/such:image'}});
        check(response.image === null, JSON.stringify(response.image));
    },
    'ImageFsInfo has a time, bytes and inodes': async () => {
        const [usage] = (await call(images, 'ImageFsInfo', {})).image_filesystems;
        check(usage.timestamp.length >= 19 && usage.used_bytes !== null && usage.inodes_used !== null,
              JSON.stringify(usage));
    },
    'a stream can be cancelled': () => new Promise((resolve, reject) => {
        const stream = crivirt.PullImageWithProgress({image: '127.0.0.1:9/no/such:image'});
        stream.on('data', () => {});
        stream.on('error', (error) => error.code === grpc.status.CANCELLED ? resolve() : reject(error));
        stream.cancel();
    }),
    'a hundred calls at once are answered': async () => {
        await Promise.all(Array.from({length: 100}, () => call(runtime, 'ListContainers', {})));
    },
};

(async () => {
    let passed = 0, failed = 0;
    for (const [sentence, test] of Object.entries(tests)) {
        try {
            await test();
            passed++;
            console.log(`ok   grpc-js: ${sentence}`);
        } catch (error) {
            failed++;
            console.log(`FAIL grpc-js: ${sentence}: ${error.message}`);
        }
    }
    console.log(`${passed} passed, ${failed} failed`);
    process.exit(failed === 0 ? 0 : 1);
})();
