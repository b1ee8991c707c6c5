// SPDX-License-Identifier: Apache-2.0
// Calls of the CRI that answer by a stream.
'use strict';
const {eventually} = require('./kit');

const clientOf = (node, method) => node.cri.clients.find((one) => typeof one[method] === 'function');

// Starts the call and reads its messages into call.seen.
function stream(node, method, request = {}) {
    const call = clientOf(node, method)[method](request);
    call.seen = [];
    call.on('data', (message) => call.seen.push(message));
    call.on('error', () => {});
    return call;
}

// Starts the call; all its messages, once it has ended.
function wholeStream(node, method, request) {
    return new Promise((resolve, reject) => {
        const call = stream(node, method, request);
        call.on('error', reject);
        call.on('end', () => resolve(call.seen));
    });
}

const subscribe = (node) => stream(node, 'GetContainerEvents');

// Waits until the subscribers have got an event. A stream does not tell when it is open, so containers of the pod come and go
// until then.
function areSubscribed(node, pod, calls) {
    return eventually('the subscribers get events', async () => {
        await node.remove(await node.runContainer(pod, 'true'));
        return calls.every(({seen}) => seen.length > 0);
    });
}

async function subscribed(node, pod) {
    const call = subscribe(node);
    await areSubscribed(node, pod, [call]);
    return call;
}

module.exports = {clientOf, stream, wholeStream, subscribe, subscribed, areSubscribed};
