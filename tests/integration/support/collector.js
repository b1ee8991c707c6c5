// SPDX-License-Identifier: Apache-2.0
// A collector of spans: takes OTLP over HTTP in JSON on 127.0.0.1:PORT, and appends each request's body as a line to FILE. While
// FILE.status exists, it answers with the HTTP status in it and keeps nothing.
//   node collector.js PORT FILE
'use strict';
const fs = require('fs');
const http = require('http');

const [port, file] = process.argv.slice(2);
http.createServer((request, response) => {
    const parts = [];
    request.on('data', (part) => parts.push(part));
    request.on('end', () => {
        const status = fs.existsSync(`${file}.status`) ? Number(fs.readFileSync(`${file}.status`, 'utf8')) : 200;
        const good = request.method === 'POST' && request.url === '/v1/traces' && request.headers['content-type'] === 'application/json';
        if (status === 200 && good)
            fs.appendFileSync(file, `${Buffer.concat(parts)}\n`);
        response.writeHead(good ? status : 404, {'Content-Type': 'application/json'});
        response.end('{}');
    });
}).listen(Number(port), '127.0.0.1');
