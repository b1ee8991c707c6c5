// SPDX-License-Identifier: Apache-2.0
// A directory that scripts of deploy/kubernetes/node take for the root of a node, with a bundle in /opt/crivirt whose tools are real,
// but for systemctl and crivirt: these are short scripts that write down how they are called and act on files of the directory.
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const {execFileSync, spawn} = require('child_process');

const root = path.join(__dirname, '../../..');
const scripts = path.join(root, 'deploy/kubernetes/node');

// systemctl: units are files of /etc/systemd/system; a file /fails/VERB-UNIT makes that call fail. kubelet.service runs while
// /kubelet-runs exists.
const SYSTEMCTL = `#!/bin/sh
r=$SCRATCH
echo "$*" >>"$r/calls"
for word; do unit=$word; done
case $1 in
    cat) exec cat "$r/etc/systemd/system/$unit" ;;
    show) cat "$r/kubelet.pid"; exit ;;
    stop) [ "$unit" != kubelet.service ] || rm -f "$r/kubelet-runs" ;;
    start | restart) [ "$unit" != kubelet.service ] || touch "$r/kubelet-runs" ;;
esac
[ ! -e "$r/fails/$1-$unit" ]
`;

// crivirt: /pods/SOCKET (slashes as _) lists the pods of a runtime; run prints the boot id of /guest-boot-id, or fails without it.
const CRIVIRT = `#!/bin/sh
r=$SCRATCH
echo "crivirt $*" >>"$r/calls"
socket=/run/crivirt/crivirtd.sock
[ "$1" != -H ] || { socket=$2; shift 2; }
pods=$r/pods/$(echo "$socket" | tr / _)
case $1 in
    pods) cat "$pods" ;;
    rmp)
        [ ! -e "$r/fails/rmp" ] || exit 1
        for pod; do sed -i "/^$pod\$/d" "$pods"; done
        ;;
    run) cat "$r/guest-boot-id" ;;
    info) echo '{"status": {"info": {"accelerator": {"hardware": true}}}}' ;;
    version) echo '{"runtimeVersion": "0.1.0"}' ;;
esac
`;

class Scratch {
    constructor() {
        this.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-scratch-'));
        for (const name of ['etc/systemd/system', 'etc/crivirt', 'bin', 'dev', 'fails', 'pods', 'proc', 'run', 'tmp', 'var/lib', 'opt/crivirt/versions'])
            fs.mkdirSync(this.at(name), {recursive: true});
        fs.symlinkSync('/opt/crivirt/current/bin/busybox', this.at('bin/sh'));
        this.write('calls', '');
        this.write('guest-boot-id', 'that of a guest\n');
    }

    at(...names) {
        return path.join(this.directory, ...names);
    }

    read(...names) {
        return fs.readFileSync(this.at(...names), 'utf8');
    }

    write(name, text, mode = 0o644) {
        fs.mkdirSync(path.dirname(this.at(name)), {recursive: true});
        fs.writeFileSync(this.at(name), text, {mode});
    }

    exists(...names) {
        return fs.existsSync(this.at(...names));
    }

    remove(name) {
        fs.rmSync(this.at(name), {recursive: true, force: true});
    }

    // The calls of systemctl and crivirt since the last time.
    calls() {
        const lines = this.read('calls').split('\n').filter(Boolean);
        this.write('calls', '');
        return lines;
    }

    // A bundle's tree of that version; where: below this directory.
    bundle(version, where = `image/${version}`) {
        fs.mkdirSync(this.at(where, 'bin'), {recursive: true});
        fs.mkdirSync(this.at(where, 'lib/crivirt'), {recursive: true});
        fs.cpSync(scripts, this.at(where, 'lib/crivirt/node'), {recursive: true});
        fs.copyFileSync('/bin/busybox', this.at(where, 'bin/busybox'));
        this.write(`${where}/bin/systemctl`, SYSTEMCTL, 0o755);
        this.write(`${where}/bin/crivirt`, CRIVIRT, 0o755);
        this.write(`${where}/share/crivirt/crivirtd.service`, `[Service]\nExecStart=/opt/crivirt/current/bin/crivirtd\n# ${version}\n`);
        this.write(`${where}/share/crivirt/crivirt.toml`, '');
        this.write(`${where}/share/crivirt/check.tar`, '');
        fs.copyFileSync(path.join(root, 'deploy/crictl.yaml'), this.at(where, 'share/crivirt/crictl.yaml'));
        this.sum(where);
        return where;
    }

    sum(where) {
        execFileSync('sh', ['-c', 'find . -type f ! -name SHA256SUMS | sort | xargs sha256sum >share/crivirt/SHA256SUMS'],
                     {cwd: this.at(where)});
    }

    // Programs of this machine with their libraries, for chroot().
    addPrograms(where, ...names) {
        for (const name of names) {
            const program = execFileSync('sh', ['-c', `command -v ${name}`], {encoding: 'utf8'}).trim();
            fs.copyFileSync(program, this.at(where, 'bin', name));
            for (const [library] of execFileSync('ldd', [program], {encoding: 'utf8'}).matchAll(/\/\S+/g)) {
                fs.mkdirSync(path.dirname(this.at(library)), {recursive: true});
                fs.copyFileSync(library, this.at(library));
            }
        }
    }

    // Runs a command; {code, output}.
    run(file, args, env = {}) {
        return new Promise((resolve, reject) => {
            const child = spawn(file, args, {env: {PATH: process.env.PATH, SCRATCH: this.directory, ...env}});
            this.child = child;
            let output = '';
            for (const stream of [child.stdout, child.stderr])
                stream.on('data', (data) => { output += data; });
            child.on('error', reject);
            child.on('close', (code) => resolve({code, output}));
        });
    }

    // Runs a script of a bundle by the bundle's busybox.
    script(where, name, ...args) {
        return this.run(this.at(where, 'bin/busybox'), ['sh', this.at(where, 'lib/crivirt/node', name), ...args]);
    }

    // The same in this directory as the root of the file system, with /proc; the mounts end with the script.
    chrooted(name, ...args) {
        const words = ['chroot', this.directory, '/opt/crivirt/current/bin/busybox', 'sh',
            `/opt/crivirt/current/lib/crivirt/node/${name}`, ...args];
        return this.run('unshare', ['--mount', 'sh', '-c', 'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec "$@"', this.directory, ...words],
                        {SCRATCH: '', PATH: '/sbin:/bin:/usr/sbin:/usr/bin'});
    }

    end() {
        fs.rmSync(this.directory, {recursive: true, force: true});
    }
}

module.exports = {Scratch};
