// SPDX-License-Identifier: Apache-2.0
// A registry that leads its clients elsewhere, with the servers that it leads them to.
//
//   node hostile-registry.js LOG METADATA-ADDRESS CERTIFICATE KEY
//
// It serves PORTS on 127.0.0.1 (and METADATA at port 80 of the other address, as a cloud does); which of its tricks it plays is
// the name of the repository, tricks/NAME. Each request is a line of JSON in LOG: {port, path, authorization}.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http = require('http');
const https = require('https');
const net = require('net');

const PORTS = {registry: 5100, tls: 5101, elsewhere: 5102, mirror: 5103};
const SECRET = 'the-secret-of-another-server';

const sha256 = (text) => `sha256:${crypto.createHash('sha256').update(text).digest('hex')}`;
// Each repository has an image of its own, so that none is on the node because of another.
const nameOf = (request) => (/^\/v2\/tricks\/([^/]+)\//.exec(request.url) || [])[1] || '';
const configOf = (name) => JSON.stringify({author: name, architecture: 'amd64', os: 'linux',
                                           rootfs: {type: 'layers', diff_ids: []}});
function manifestOf(name) {
    const config = configOf(name);
    return JSON.stringify({
        schemaVersion: 2, mediaType: 'application/vnd.oci.image.manifest.v1+json', layers: [],
        config: {mediaType: 'application/vnd.oci.image.config.v1+json', digest: sha256(config), size: config.length},
    });
}

function answer(response, status, body = '', headers = {}) {
    response.writeHead(status, {'Content-Length': Buffer.byteLength(body), ...headers});
    response.end(body);
}

const redirect = (to) => (request, response) => answer(response, 307, '', {Location: to});
const challenge = (realm) => (request, response) =>
    /^Bearer good$/.test(request.headers.authorization) ? serve(request, response)
        : answer(response, 401, '', {'WWW-Authenticate': `Bearer realm="${realm}",service="s"`});
const say = (status, body) => (request, response) => answer(response, status, body);
const errors = (message) => JSON.stringify({errors: [{code: 'DENIED', message}]});
const demand = (request, response) => request.headers.authorization ? serve(request, response)
    : answer(response, 401, errors('log in'), {'WWW-Authenticate': 'Basic realm="r"'});

// An honest registry of one image.
function serve(request, response) {
    const name = nameOf(request);
    if (request.url.includes('/manifests/'))
        return answer(response, 200, manifestOf(name), {'Content-Type': 'application/vnd.oci.image.manifest.v1+json',
                                                        'Docker-Content-Digest': sha256(manifestOf(name))});
    return request.url.includes('/blobs/') ? answer(response, 200, configOf(name)) : answer(response, 404);
}

const tricks = (metadata) => ({
    'blob-to-metadata': (request, response) => request.url.includes('/blobs/')
        ? redirect(`http://${metadata}/latest`)(request, response) : serve(request, response),
    'manifest-to-metadata': redirect(`http://${metadata}/latest`),
    // The same address, written otherwise.
    'metadata-as-number': redirect(`http://${metadata.split('.').reduce((sum, part) => sum * 256 + Number(part), 0)}/latest`),
    'realm-at-metadata': challenge(`http://${metadata}/token`),
    'in-two-steps': redirect(`http://127.0.0.1:${PORTS.elsewhere}/to-metadata`),
    'blob-elsewhere': (request, response) => !request.headers.authorization ? demand(request, response)
        : request.url.includes('/blobs/') ? redirect(`http://127.0.0.1:${PORTS.elsewhere}/blob`)(request, response)
            : serve(request, response),
    'realm-elsewhere': challenge(`http://127.0.0.1:${PORTS.elsewhere}/token`),
    'to-http': redirect(`http://127.0.0.1:${PORTS.elsewhere}/secret`),
    'to-file': redirect('file:///etc/passwd'),
    'to-a-long-name': redirect(`http://${'x'.repeat(6000)}.example/`),
    'realm-with-a-long-name': challenge(`http://${'x'.repeat(6000)}.example/token`),
    'error-elsewhere': redirect(`http://127.0.0.1:${PORTS.elsewhere}/secret`),
    'realm-with-text': challenge(`http://127.0.0.1:${PORTS.elsewhere}/secret`),
    'long-error': say(403, errors(`begin\u001b[2J\u202e ${'x'.repeat(100000)}`)),
    'long-text': say(403, `begin\u001b[2J\r\nsecond line ${'y'.repeat(100000)}`),
    'asks-for-password': demand,
    'honest': serve,
});

const elsewhere = {
    '/to-metadata': (metadata) => redirect(`http://${metadata}/latest`),
    '/secret': () => say(403, SECRET),
    '/blob': () => say(200, configOf('blob-elsewhere')),
    '/token': () => say(200, JSON.stringify({token: 'good'})),
};

function main([logFile, metadata, certificate, key]) {
    const all = tricks(metadata);
    const log = (port, request) => fs.appendFileSync(logFile, `${JSON.stringify(
        {port, path: request.url, authorization: request.headers.authorization || null})}\n`);
    const playing = (port) => (request, response) => {
        log(port, request);
        (all[nameOf(request)] || serve)(request, response);
    };
    http.createServer(playing('registry')).listen(PORTS.registry, '127.0.0.1');
    https.createServer({cert: fs.readFileSync(certificate), key: fs.readFileSync(key)}, playing('tls'))
        .listen(PORTS.tls, '127.0.0.1');
    http.createServer((request, response) => {
        log('elsewhere', request);
        const path = request.url.split('?')[0];
        (elsewhere[path] ? elsewhere[path](metadata) : say(404))(request, response);
    }).listen(PORTS.elsewhere, '127.0.0.1');
    // A mirror that asks for a password and has nothing.
    http.createServer((request, response) => {
        log('mirror', request);
        if (request.headers.authorization)
            return answer(response, 404);
        return answer(response, 401, errors('log in'), {'WWW-Authenticate': 'Basic realm="mirror"'});
    }).listen(PORTS.mirror, '127.0.0.1');
    // Even a connection without a request counts.
    net.createServer((socket) => {
        fs.appendFileSync(logFile, `${JSON.stringify({port: 'metadata', path: '', authorization: null})}\n`);
        socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${SECRET.length}\r\n\r\n${SECRET}`);
    }).listen(80, metadata, () => fs.appendFileSync(logFile, '{"port":"ready"}\n'));
}

if (require.main === module)
    main(process.argv.slice(2));
module.exports = {PORTS, SECRET};
