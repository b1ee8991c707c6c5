// SPDX-License-Identifier: Apache-2.0
// Runs in the network namespace of a test's node and hands connections that it makes there to its parent.
'use strict';
const net = require('net');

process.on('message', ({id, host, port}) => {
    const socket = net.connect({host, port, allowHalfOpen: true, noDelay: true});
    socket.once('error', (error) => process.send({id, error: error.code}));
    socket.once('connect', () => process.send({id}, socket));
});
process.on('disconnect', () => process.exit(0));
