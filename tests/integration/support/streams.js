// SPDX-License-Identifier: Apache-2.0
// Clients of the streaming server that share no code with it: HTTP upgrade, WebSocket (RFC 6455) and SPDY/3.1, and on these the
// protocols of kubectl and crictl: remote commands (exec, attach) and port-forward.
'use strict';
const assert = require('assert');
const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const tls = require('tls');
const zlib = require('zlib');
const {EventEmitter, once} = require('events');

// ---- HTTP ----

// Sends an upgrade; {status, headers, body, socket, rest}, with a body only when it was refused.
async function upgrade(node, url, headers, tlsOptions = {}) {
    const {protocol, hostname, port, pathname} = new URL(url);
    let socket = await node.connect(hostname.replace(/^\[|\]$/g, ''), Number(port));
    socket.on('error', () => {});
    if (protocol === 'https:') {
        socket = tls.connect({socket, checkServerIdentity: () => undefined, ...tlsOptions});
        await once(socket, 'secureConnect');
        socket.on('error', () => {});
    }
    const lines = Object.entries({Host: `${hostname}:${port}`, Connection: 'Upgrade', ...headers});
    socket.write(`GET ${pathname} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);
    return readAnswer(socket);
}

function readAnswer(socket) {
    return new Promise((resolve, reject) => {
        let got = Buffer.alloc(0);
        const finish = () => {
            const end = got.indexOf('\r\n\r\n');
            if (end < 0)
                return false;
            const [first, ...lines] = got.subarray(0, end).toString().split('\r\n');
            const headers = Object.fromEntries(lines.map((line) => line.split(/:\s*/, 2)).map(([name, value]) =>
                [name.toLowerCase(), value]));
            const status = Number(first.split(' ')[1]);
            const rest = got.subarray(end + 4);
            if (status !== 101 && rest.length < Number(headers['content-length'] || 0))
                return false;
            socket.off('data', take);
            socket.off('close', lost);
            if (status !== 101)
                socket.destroy();
            resolve({status, headers, body: rest.toString(), socket, rest});
            return true;
        };
        const take = (data) => {
            got = Buffer.concat([got, data]);
            finish();
        };
        const lost = () => finish() || reject(new Error('the connection was closed instead of an answer'));
        socket.on('data', take);
        socket.on('close', lost);
    });
}

// ---- WebSocket ----

const BINARY = 2, CLOSE = 8, PING = 9, PONG = 10;

// Emits message(payload, opcode), pong, and close once the connection is over.
class WebSocket extends EventEmitter {
    constructor(socket, rest) {
        super();
        this.socket = socket;
        this.pending = [];
        this.length = 0;
        this.closeCode = null;
        socket.on('data', (data) => this.take(data));
        socket.on('end', () => socket.end());
        socket.on('close', () => this.emit('close'));
        if (rest.length > 0)
            setImmediate(() => this.take(rest));
    }

    // Takes one frame after the other out of the received bytes, which are joined only when a frame is complete.
    take(data) {
        this.pending.push(data);
        this.length += data.length;
        for (;;) {
            if (this.length < 2)
                return;
            if (this.pending.length > 1 && this.pending[0].length < 14)
                this.pending = [Buffer.concat(this.pending)];
            const head = this.pending[0];
            const short = head[1] & 127;
            const offset = short === 126 ? 4 : short === 127 ? 10 : 2;
            if (this.length < offset)
                return;
            const size = short === 126 ? head.readUInt16BE(2) : short === 127 ? Number(head.readBigUInt64BE(2)) : short;
            if (this.length < offset + size)
                return;
            const all = this.pending.length > 1 ? Buffer.concat(this.pending) : head;
            const rest = all.subarray(offset + size);
            this.pending = rest.length > 0 ? [rest] : [];
            this.length = rest.length;
            assert.ok((head[1] & 128) === 0, 'a server must not mask');
            this.frame(all[0] & 15, all.subarray(offset, offset + size), (all[0] & 128) !== 0);
        }
    }

    frame(opcode, payload, isLast) {
        assert.ok(isLast, 'this server sends no fragments');
        if (opcode === PING)
            this.send(payload, PONG);
        else if (opcode === PONG)
            this.emit('pong', payload);
        else if (opcode === CLOSE) {
            this.closeCode = payload.length >= 2 ? payload.readUInt16BE(0) : 1005;
            this.send(payload, CLOSE);
            this.socket.end();
        } else
            this.emit('message', payload, opcode);
    }

    send(payload, opcode = BINARY) {
        const mask = crypto.randomBytes(4);
        const size = payload.length < 126 ? 2 : payload.length < 65536 ? 4 : 10;
        const frame = Buffer.alloc(size + 4 + payload.length);
        frame[0] = 128 | opcode;
        frame[1] = 128 | (size === 2 ? payload.length : size === 4 ? 126 : 127);
        if (size === 4)
            frame.writeUInt16BE(payload.length, 2);
        else if (size === 10)
            frame.writeBigUInt64BE(BigInt(payload.length), 2);
        mask.copy(frame, size);
        for (let i = 0, at = size + 4; i < payload.length; i++)
            frame[at + i] = payload[i] ^ mask[i & 3];
        return this.socket.write(frame);
    }
}

async function openWebSocket(node, url, protocols, tlsOptions) {
    const key = crypto.randomBytes(16).toString('base64');
    const answer = await upgrade(node, url, {
        Upgrade: 'websocket', 'Sec-WebSocket-Version': '13', 'Sec-WebSocket-Key': key,
        ...(protocols.length > 0 ? {'Sec-WebSocket-Protocol': protocols.join(', ')} : {}),
    }, tlsOptions);
    check(answer);
    assert.strictEqual(answer.headers['sec-websocket-accept'],
                       crypto.createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64'));
    return {socket: new WebSocket(answer.socket, answer.rest), protocol: answer.headers['sec-websocket-protocol']};
}

function check(answer) {
    if (answer.status !== 101)
        throw Object.assign(new Error(`${answer.status}: ${answer.body}`), {status: answer.status});
}

// ---- SPDY/3.1 ----

const dictionary = Buffer.from(
    [...fs.readFileSync(path.join(__dirname, '../../../cri-server/streaming/spdy_dictionary.h'), 'utf8')
        .matchAll(/0x([0-9a-f]{2})/g)].map(([, byte]) => byte).join(''), 'hex');
const SYN_STREAM = 1, SYN_REPLY = 2, RST_STREAM = 3, SETTINGS = 4, SPDY_PING = 6, GOAWAY = 7, WINDOW_UPDATE = 9;

const u32 = (...values) => {
    const bytes = Buffer.alloc(4 * values.length);
    values.forEach((value, i) => bytes.writeUInt32BE(value >>> 0, 4 * i));
    return bytes;
};

// Over send(bytes). Emits reply(id), data(id, bytes), end(id), reset(id, status), ping(id), goaway.
class Spdy extends EventEmitter {
    constructor(send, {window = 0} = {}) {
        super();
        this.transmit = send;
        this.pending = Buffer.alloc(0);
        this.nextId = 1;
        this.window = window; // of each stream; 0: like the usual clients, who know no windows
        this.room = new Map(); // what the server has room for, by stream
        if (window > 0)
            this.control(SETTINGS, 0, Buffer.concat([u32(1), u32(7), u32(window)]));
    }

    control(type, flags, payload) {
        const head = u32(0x80030000 | type, flags << 24 | payload.length);
        return this.transmit(Buffer.concat([head, payload]));
    }

    // All header blocks are one deflated text. Later blocks refer to nothing before them, which is allowed.
    block(headers) {
        const words = Object.entries(headers).flat().map((word) => Buffer.from(String(word)));
        const plain = Buffer.concat([u32(words.length / 2), ...words.flatMap((word) => [u32(word.length), word])]);
        const flush = {finishFlush: zlib.constants.Z_SYNC_FLUSH};
        return this.nextId === 1 ? zlib.deflateSync(plain, {...flush, dictionary}) : zlib.deflateRawSync(plain, flush);
    }

    open(headers) {
        const block = this.block(headers);
        const id = this.nextId;
        this.nextId += 2;
        this.room.set(id, 64 << 10);
        this.control(SYN_STREAM, 0, Buffer.concat([u32(id, 0), Buffer.alloc(2), block]));
        return id;
    }

    send(id, bytes, fin = false) {
        this.room.set(id, this.room.get(id) - bytes.length);
        return this.transmit(Buffer.concat([u32(id, (fin ? 1 << 24 : 0) | bytes.length), bytes]));
    }

    reset(id) {
        this.control(RST_STREAM, 0, u32(id, 5));
    }

    ping(id) {
        this.control(SPDY_PING, 0, u32(id));
    }

    // For a client that keeps windows.
    async waitForRoom(id, length) {
        while (this.window > 0 && this.room.get(id) < length)
            await Promise.race([once(this, 'room'), once(this, 'close')]);
    }

    // A client that keeps windows gives room again for what it has used.
    credit(id, length) {
        if (this.window > 0)
            this.control(WINDOW_UPDATE, 0, u32(id, length));
    }

    take(data) {
        this.pending = this.pending.length > 0 ? Buffer.concat([this.pending, data]) : data;
        while (this.pending.length >= 8) {
            const size = this.pending.readUInt32BE(4) & 0xffffff;
            if (this.pending.length < 8 + size)
                return;
            const head = this.pending.subarray(0, 8);
            const payload = this.pending.subarray(8, 8 + size);
            this.pending = this.pending.subarray(8 + size);
            if ((head[0] & 128) !== 0)
                this.controlFrame(head.readUInt16BE(2), payload);
            else
                this.dataFrame(head.readUInt32BE(0), head[4], payload);
        }
    }

    dataFrame(id, flags, payload) {
        if (payload.length > 0)
            this.emit('data', id, payload);
        if ((flags & 1) !== 0)
            this.emit('end', id);
    }

    controlFrame(type, payload) {
        if (type === SYN_REPLY)
            this.emit('reply', payload.readUInt32BE(0));
        else if (type === RST_STREAM)
            this.emit('reset', payload.readUInt32BE(0), payload.readUInt32BE(4));
        else if (type === SPDY_PING)
            this.emit('ping', payload.readUInt32BE(0));
        else if (type === GOAWAY)
            this.emit('goaway');
        else if (type === WINDOW_UPDATE) {
            const id = payload.readUInt32BE(0);
            this.room.set(id, this.room.get(id) + payload.readUInt32BE(4));
            this.emit('room');
        }
    }
}

// {spdy, socket}: SPDY on the connection itself.
async function openSpdy(node, url, protocols, {window, tlsOptions} = {}) {
    const answer = await upgrade(node, url, {
        Upgrade: 'SPDY/3.1', 'X-Stream-Protocol-Version': protocols.join(', '),
    }, tlsOptions);
    check(answer);
    const {socket} = answer;
    const spdy = new Spdy((bytes) => socket.write(bytes), {window});
    socket.on('data', (data) => spdy.take(data));
    socket.on('end', () => socket.end());
    socket.on('close', () => spdy.emit('close'));
    if (answer.rest.length > 0)
        spdy.take(answer.rest);
    return {spdy, socket, protocol: answer.headers['x-stream-protocol-version']};
}

// {spdy, socket}: SPDY in WebSocket messages.
async function openTunnel(node, url, protocols, {tlsOptions} = {}) {
    const {socket: ws, protocol} = await openWebSocket(node, url, protocols, tlsOptions);
    const spdy = new Spdy((bytes) => ws.send(bytes));
    ws.on('message', (payload) => spdy.take(payload));
    ws.on('close', () => spdy.emit('close'));
    return {spdy, socket: ws.socket, protocol};
}

// ---- remote commands ----

const STREAMS = ['stdin', 'stdout', 'stderr', 'error', 'resize'];
const TRANSPORTS = {
    'WebSocket v5': {protocols: ['v5.channel.k8s.io', 'v4.channel.k8s.io'], halfCloses: true},
    'WebSocket v4': {protocols: ['v4.channel.k8s.io']},
    'WebSocket v4 in base64': {protocols: ['v4.base64.channel.k8s.io'], base64: true},
    'WebSocket v1': {protocols: []},
    'SPDY v4': {spdy: true, protocols: ['v4.channel.k8s.io', 'v3.channel.k8s.io'], halfCloses: true},
    'SPDY v4 with windows': {spdy: true, protocols: ['v4.channel.k8s.io'], window: 64 << 10, halfCloses: true},
    'SPDY v3': {spdy: true, protocols: ['v3.channel.k8s.io'], halfCloses: true},
    'SPDY v2': {spdy: true, protocols: ['v2.channel.k8s.io'], halfCloses: true},
    'SPDY v1': {spdy: true, protocols: ['channel.k8s.io'], halfCloses: true},
};

// A client of Exec or Attach. Received bytes are kept in .got[stream], or given to .sink(stream, bytes) if there is one.
class RemoteClient extends EventEmitter {
    constructor() {
        super();
        this.got = Object.fromEntries(STREAMS.map((name) => [name, []]));
        this.sink = null;
        this.closed = new Promise((resolve) => { this.on('close', () => resolve()); });
    }

    receive(name, bytes) {
        if (this.sink && name !== 'error')
            this.sink(name, bytes);
        else
            this.got[name].push(bytes);
        this.emit('data', name);
    }

    bytes(name) {
        return Buffer.concat(this.got[name]);
    }

    text(name = 'stdout') {
        return this.bytes(name).toString();
    }

    // Resolves when the stream holds the text.
    async shows(text, name = 'stdout') {
        for (; !this.text(name).includes(text); await once(this, 'data'))
            assert.ok(!this.isOver, `the client ended without "${text}": ${this.text(name)} ${this.text('error')}`);
    }

    // Waits for the end; {code} or {message} of the error stream.
    async outcome() {
        await this.closed;
        const text = this.text('error');
        if (!this.hasStatus)
            return text === '' ? {code: 0} : {message: text};
        assert.notStrictEqual(text, '', 'the error stream ended without a status');
        const status = JSON.parse(text);
        if (status.status === 'Success')
            return {code: 0};
        const cause = (status.details?.causes || []).find(({reason}) => reason === 'ExitCode');
        return cause ? {code: Number(cause.message)} : {message: status.message};
    }

    resize(columns, rows) {
        return this.send('resize', JSON.stringify({Width: columns, Height: rows}));
    }

    // Sends everything, and waits whenever the socket is full.
    async sendAll(name, bytes, part = 32 << 10) {
        for (let at = 0; at < bytes.length && !this.isOver; at += part) {
            const some = bytes.subarray(at, at + part);
            if (this.spdy)
                await this.spdy.waitForRoom(this.ids[name], some.length);
            if (!this.send(name, some) && !this.isOver)
                await Promise.race([once(this.socket, 'drain'), this.closed]);
        }
    }

    pause() {
        this.socket.pause();
    }

    resume() {
        this.socket.resume();
    }

    // Closes the connection without a closing message of the protocol.
    destroy() {
        this.socket.destroy();
    }
}

class ChannelClient extends RemoteClient {
    static async open(node, url, transport, {tlsOptions}) {
        const {socket, protocol} = await openWebSocket(node, url, transport.protocols, tlsOptions);
        const client = new ChannelClient();
        Object.assign(client, {ws: socket, socket: socket.socket, protocol, base64: transport.base64,
                               hasStatus: transport.protocols.length > 0});
        socket.on('message', (payload) => client.message(payload));
        socket.on('close', () => {
            client.isOver = true;
            client.emit('data');
            client.emit('close');
        });
        return client;
    }

    message(payload) {
        const channel = this.base64 ? payload[0] - 48 : payload[0];
        const bytes = this.base64 ? Buffer.from(payload.subarray(1).toString(), 'base64') : payload.subarray(1);
        if (bytes.length > 0)
            this.receive(STREAMS[channel], bytes);
    }

    send(name, bytes) {
        const channel = STREAMS.indexOf(name);
        if (this.base64)
            return this.ws.send(Buffer.from(channel + Buffer.from(bytes).toString('base64')), 1);
        return this.ws.send(Buffer.concat([Buffer.from([channel]), Buffer.from(bytes)]));
    }

    end(name = 'stdin') {
        this.ws.send(Buffer.from([255, STREAMS.indexOf(name)]));
    }
}

class SpdyClient extends RemoteClient {
    static async open(node, url, transport, {names, tlsOptions}) {
        const {spdy, socket, protocol} =
            await openSpdy(node, url, transport.protocols, {window: transport.window, tlsOptions});
        const client = new SpdyClient();
        Object.assign(client, {spdy, socket, protocol, ids: {}, ended: new Set(),
                               hasStatus: transport.protocols[0] === 'v4.channel.k8s.io'});
        const nameOf = (id) => Object.keys(client.ids).find((name) => client.ids[name] === id);
        const replied = new Promise((resolve) => {
            let n = 0;
            spdy.on('reply', () => { if (++n === names.length) resolve(); });
            spdy.on('close', resolve);
        });
        spdy.on('data', (id, bytes) => {
            client.receive(nameOf(id), bytes);
            spdy.credit(id, bytes.length);
        });
        spdy.on('end', (id) => client.ended.add(nameOf(id)));
        spdy.on('close', () => {
            client.isOver = true;
            client.emit('data');
            client.emit('close');
        });
        for (const name of names)
            client.ids[name] = spdy.open({streamType: name});
        await replied;
        return client;
    }

    send(name, bytes) {
        return this.spdy.send(this.ids[name], Buffer.from(bytes));
    }

    end(name = 'stdin') {
        this.spdy.send(this.ids[name], Buffer.alloc(0), true);
    }
}

// Connects to a URL of Exec or Attach as that transport (a key of TRANSPORTS).
async function remote(node, url, transportName, request, tlsOptions) {
    const transport = TRANSPORTS[transportName];
    const names = ['error', 'stdin', 'stdout', 'stderr', 'resize'].filter(
        (name) => name === 'error' || (name === 'resize' ? request.tty && !/v[12]$/.test(transportName) : request[name]));
    const client = await (transport.spdy ? SpdyClient : ChannelClient)
        .open(node, url, transport, {names, tlsOptions});
    assert.strictEqual(client.protocol, transport.protocols[0]);
    return client;
}

// A string is a shell script.
const words = (command) => typeof command === 'string' ? ['/bin/sh', '-c', command] : command;

async function exec(node, container, transport, command, more = {}) {
    const {tlsOptions, ...given} = more;
    const request = {container_id: container.id, cmd: words(command), stdin: false, stdout: true, stderr: !given.tty,
                     tty: false, ...given};
    const {url} = await node.cri.call('Exec', request);
    return remote(node, url, transport, request, tlsOptions);
}

async function attach(node, container, transport, more = {}) {
    const request = {container_id: container.id, stdin: false, stdout: true, stderr: !more.tty, tty: false, ...more};
    const {url} = await node.cri.call('Attach', request);
    return remote(node, url, transport, request);
}

// Runs a command with that input; {code or message, stdout, stderr}.
async function run(node, container, transport, command, {input, ...more} = {}) {
    const client = await exec(node, container, transport, command, {stdin: input !== undefined, ...more});
    if (input !== undefined) {
        await client.sendAll('stdin', Buffer.from(input));
        client.end();
    }
    return {...await client.outcome(), stdout: client.text(), stderr: client.text('stderr')};
}

// ---- port-forward ----

const FORWARDS = {
    'SPDY': {open: openSpdy, protocols: ['portforward.k8s.io']},
    'SPDY in WebSocket': {open: openTunnel, protocols: ['SPDY/3.1+portforward.k8s.io']},
};

// A client of PortForward over SPDY. connect() makes connections.
class Forward {
    static async open(node, pod, transportName, ports = []) {
        const {url} = await node.cri.call('PortForward', {pod_sandbox_id: pod.id, port: ports});
        return Forward.openUrl(node, url, transportName);
    }

    static async openUrl(node, url, transportName, tlsOptions) {
        const {open, protocols} = FORWARDS[transportName];
        const {spdy, socket, protocol} = await open(node, url, protocols, {tlsOptions});
        assert.strictEqual(protocol, protocols[0]);
        return new Forward(spdy, socket);
    }

    constructor(spdy, socket) {
        this.spdy = spdy;
        this.socket = socket;
        this.serial = 0;
        spdy.setMaxListeners(0);
        this.closed = new Promise((resolve) => { spdy.on('close', resolve); });
    }

    connect(port, headers = {}) {
        const connection = new EventEmitter();
        const common = {port, requestID: this.serial++, ...headers};
        const error = this.spdy.open({streamType: 'error', ...common});
        const data = this.spdy.open({streamType: 'data', ...common});
        const parts = [], problems = [];
        let open = 2;
        connection.refused = new Promise((resolve) => {
            this.spdy.on('reset', (id) => { if (id === data || id === error) resolve(); });
        });
        connection.over = new Promise((resolve) => {
            this.spdy.on('data', (id, bytes) => {
                if (id === data && connection.sink)
                    connection.sink(bytes);
                else if (id === data)
                    parts.push(bytes);
                else if (id === error)
                    problems.push(bytes);
                if (id === data)
                    connection.emit('data');
            });
            this.spdy.on('end', (id) => { if ((id === data || id === error) && --open === 0) resolve(); });
            this.spdy.on('close', resolve);
        });
        this.spdy.send(error, Buffer.alloc(0), true);
        return Object.assign(connection, {
            send: (bytes) => this.spdy.send(data, Buffer.from(bytes)),
            end: () => this.spdy.send(data, Buffer.alloc(0), true),
            reset: () => this.spdy.reset(data),
            bytes: () => Buffer.concat(parts),
            error: () => Buffer.concat(problems).toString(),
            sendAll: async (bytes) => {
                for (let at = 0; at < bytes.length; at += 32 << 10)
                    if (!this.spdy.send(data, bytes.subarray(at, at + (32 << 10))))
                        await Promise.race([once(this.socket, 'drain'), this.closed]);
            },
        });
    }

    close() {
        this.socket.destroy();
    }
}

module.exports = {TRANSPORTS, FORWARDS, STREAMS, upgrade, openWebSocket, openSpdy, remote, exec, attach, run, Forward};
