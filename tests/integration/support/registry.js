// Debian's docker-registry on a machine's loopback, and images for it.
'use strict';
const fs = require('fs');
const path = require('path');
const {eventually, must} = require('./kit');

let serial = 0;

// Serves at ADDRESS:PORT, by plain HTTP as hosts.toml says; {htpasswd} asks for that user and password.
async function startRegistry(machine, {port = 5000, htpasswd} = {}) {
    const directory = path.join(machine.dir, `registry${++serial}`);
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
    fs.mkdirSync(path.join(machine.hostsDir, host), {recursive: true});
    fs.writeFileSync(path.join(machine.hostsDir, host, 'hosts.toml'),
                     `server = "http://${host}"\n\n[host."http://${host}"]\ncapabilities = ["pull", "resolve"]\n`);
    const process = machine.spawn(['docker-registry', 'serve', file], `registry${serial}.log`);
    await eventually('the registry answers', async () => {
        if (process.gone)
            throw new Error(fs.readFileSync(path.join(machine.dir, `registry${serial}.log`), 'utf8'));
        return /40[01]|200/.test((await machine.run('curl', '-s', '-o', '/dev/null', '-w', '%{http_code}',
                                                    '--noproxy', '*', `http://${host}/v2/`)).stdout);
    });
    return {host, process};
}

// Copies SOURCE (as skopeo names it) to the registry; returns the digest.
function push(machine, source, name, creds) {
    const digestFile = path.join(machine.dir, `digest${++serial}`);
    machine.inNetwork('skopeo', 'copy', '-q', '--insecure-policy', '--dest-tls-verify=false', '--digestfile', digestFile,
                      ...(creds ? ['--dest-creds', creds] : []), source, `docker://${name}`);
    return fs.readFileSync(digestFile, 'utf8').trim();
}

// An image layout like busybox with one more layer of that many random MiB.
function bigImage(machine, mib) {
    const layout = path.join(machine.dir, 'big');
    const content = path.join(machine.dir, 'big-content');
    must('skopeo', 'copy', '-q', '--insecure-policy', `oci-archive:${machine.busyboxArchive()}`, `oci:${layout}:big`);
    fs.mkdirSync(content);
    must('dd', 'if=/dev/urandom', `of=${content}/random`, 'bs=1M', `count=${mib}`, 'status=none');
    must('umoci', 'insert', '--image', `${layout}:big`, content, '/big');
    return `oci:${layout}:big`;
}

module.exports = {startRegistry, push, bigImage};
