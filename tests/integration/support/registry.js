// SPDX-License-Identifier: Apache-2.0
// Debian's docker-registry on the loopback of a test's node.
'use strict';
const fs = require('fs');
const path = require('path');
const {eventually, serial} = require('./kit');

// Serves at ADDRESS:PORT, by plain HTTP as hosts.toml says; {htpasswd} asks for that user and password.
async function startRegistry(node, {port = 5000, htpasswd} = {}) {
    const id = serial();
    const directory = path.join(node.dir, `registry${id}`);
    const file = path.join(directory, 'config.yml');
    const host = `127.0.0.1:${port}`;
    fs.mkdirSync(directory);
    let config = `version: 0.1\nlog: {level: warn}\nstorage: {filesystem: {rootdirectory: ${directory}/data}, ` +
        `delete: {enabled: true}}\nhttp: {addr: '${host}'}\n`;
    if (htpasswd) {
        fs.writeFileSync(path.join(directory, 'htpasswd'), htpasswd);
        config += `auth: {htpasswd: {realm: test, path: ${directory}/htpasswd}}\n`;
    }
    fs.writeFileSync(file, config);
    fs.mkdirSync(path.join(node.hostsDir, host), {recursive: true});
    fs.writeFileSync(path.join(node.hostsDir, host, 'hosts.toml'),
                     `server = "http://${host}"\n\n[host."http://${host}"]\ncapabilities = ["pull", "resolve"]\n`);
    const process = node.spawn(['docker-registry', 'serve', file], `registry${id}.log`);
    await eventually('the registry answers', async () => {
        if (process.gone)
            throw new Error(fs.readFileSync(path.join(node.dir, `registry${id}.log`), 'utf8'));
        return /40[01]|200/.test((await node.run('curl', '-s', '-o', '/dev/null', '-w', '%{http_code}',
                                                 '--noproxy', '*', `http://${host}/v2/`)).stdout);
    });
    return {host, process};
}

// Copies SOURCE (as skopeo names it) to the registry; returns the digest.
function push(node, source, name, creds) {
    const digestFile = path.join(node.dir, `digest${serial()}`);
    node.inNetwork('skopeo', 'copy', '-q', '--insecure-policy', '--dest-tls-verify=false', '--digestfile', digestFile,
                   ...(creds ? ['--dest-creds', creds] : []), source, `docker://${name}`);
    return fs.readFileSync(digestFile, 'utf8').trim();
}

module.exports = {startRegistry, push};
