// SPDX-License-Identifier: Apache-2.0
// A virtual node to work on by hand: Debian 12 with systemd, cgroup v2 and KVM, with what the integration tests and the
// benchmark need, and this tree with its release build in /srv/crivirt.
//   node tests/node/by-hand.js            boots it, prints how to log in, and ends it at Ctrl-C
//   node tests/node/by-hand.js COMMAND    runs a shell command in /srv/crivirt on it, and ends it; for example
//                                         'tests/node/integration.sh pods volumes' or 'BENCH_PARTS=containerd tests/bench/run.sh'
// NODE_MEMORY is the memory of the node (default: 6G), NODE_CPUS how many of its two processors are used (2, with
// which the emulation resets guests now and then, see support/vm.js).
'use strict';
const {spawn, execFileSync} = require('child_process');
const fs = require('fs');
const path = require('path');
const {root, build, guests} = require('../integration/support/environment');
const {NodeVm} = require('./support/vm');

// What the tests use: the programs, the sources (scripts, .proto files, tests), and the images of guests.
const PROGRAMS = ['cri-server/crivirtd', 'cri-server/cli/crivirt', 'cri-server/libcrash_shim.so', 'agent/crivirt-agent',
                  'libexec/crivirt-fsguard', 'tests/tools/guest_tool', 'tests/tools/stateful', 'tests/tools/tsc_khz',
                  'qemu/qemu-system-x86_64'];

function makeArchive(file) {
    const sources = execFileSync('git', ['-C', root, 'ls-files', '-z', '--', 'tests', 'deploy', 'kernel', 'common', 'cri-server',
                                         'agent'], {encoding: 'utf8'}).split('\0').filter(Boolean);
    const programs = PROGRAMS.map((name) => path.relative(root, path.join(build, name)));
    const list = [...sources, ...programs, 'tests/integration/node_modules'].filter((name) => fs.existsSync(path.join(root, name)));
    execFileSync('tar', ['-C', root, '--owner=0', '--group=0', '-cf', file, '--no-recursion', ...list.slice(0, -1), '--recursion',
                         list.at(-1)]);
    execFileSync('tar', ['-C', path.dirname(guests.tuned), '--owner=0', '--group=0', '-rf', file,
                         '--transform=s,^,test-guests/,S', 'tuned', 'stock']);
}

async function prepare(vm) {
    const archive = path.join(vm.dir, 'tree.tar');
    makeArchive(archive);
    await vm.copy(archive, '/root/tree.tar');
    fs.rmSync(archive);
    await vm.must(`mkdir -p /srv/crivirt /var/cache/crivirt
        tar -C /srv/crivirt --no-same-owner -xf /root/tree.tar
        mv /srv/crivirt/test-guests /var/cache/crivirt/
        rm /root/tree.tar
        systemctl disable --now containerd
        cp /srv/crivirt/deploy/sysctl.conf /etc/sysctl.d/90-crivirt.conf
        cp /srv/crivirt/deploy/modules-load.conf /etc/modules-load.d/crivirt.conf
        systemctl restart systemd-modules-load systemd-sysctl
        ! cd /srv/crivirt/${path.relative(root, build)}/qemu || install -D -t /usr/lib/crivirt qemu-system-x86_64
        /srv/crivirt/deploy/users.sh`);
}

async function main() {
    const vm = await NodeVm.boot('by-hand', {groups: ['onnode'], memory: process.env.NODE_MEMORY, cpus: process.env.NODE_CPUS || 2});
    await prepare(vm);
    const words = [...vm.sshOptions(), '-p', String(vm.port), 'root@127.0.0.1'];
    const script = process.argv[2];
    if (script === undefined) {
        console.log(`ssh ${words.join(' ')}\nscp ${vm.sshOptions().join(' ')} -P ${vm.port} FILE root@127.0.0.1:\n` +
                    `QEMU's monitor: ${vm.monitor}; console: ${vm.consoleLog}`);
        await new Promise((resolve) => vm.process.on('exit', resolve));
        return 0;
    }
    const ssh = spawn('ssh', [...words, `cd /srv/crivirt && ${script}`], {stdio: ['ignore', 'inherit', 'inherit']});
    return new Promise((resolve) => ssh.on('exit', resolve));
}

main().then((code) => process.exit(code ?? 1), (error) => {
    console.error(error);
    process.exit(1);
});
