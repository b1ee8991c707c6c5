// SPDX-License-Identifier: Apache-2.0
// A node in a VM: Debian 12 with systemd, cgroup v2 and /dev/kvm, on a machine that needs no KVM itself. QEMU emulates AMD-V,
// so that crivirt's guests run under KVM there. The image and this QEMU come from image.sh and qemu.sh.
'use strict';
const assert = require('assert');
const fs = require('fs');
const net = require('net');
const os = require('os');
const path = require('path');
const {spawn, execFileSync} = require('child_process');
const {root, build} = require('../../integration/support/environment');
const {command, eventually, must} = require('../../integration/support/kit');

// Emulated code runs thirty times slower than this machine's, so each limit is far beyond what a quiet machine needs.
const BOOT_LIMIT_MS = 600000;

// QEMU and ssh must not outlive a test run that is interrupted.
const alive = new Set();
for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, () => process.exit(1));
process.on('exit', () => {
    for (const vm of alive) {
        vm.keepFiles();
        vm.destroy();
    }
});

// The directory that a script of this folder prints.
const madeBy = (script, ...words) => execFileSync(path.join(__dirname, '..', script), words,
    {encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit']}).trim();

// A TCP port of this machine that is free now.
const freePort = () => new Promise((resolve, reject) => {
    const server = net.createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
        const {port} = server.address();
        server.close(() => resolve(port));
    });
});

// On a busy machine emulated timers are so late that a kernel finds a wrong rate of its time stamp counter, or panics because
// its timer seems not to work. A wrong rate lets the node's clock run fast, and guests hang that were saved at another rate.
const kernelClock = () => `tsc=reliable no_timer_check tsc_early_khz=${must(path.join(build, 'tests/tools/tsc_khz')).trim()}`;

class NodeVm {
    // Boots a node from a fresh image; it has an SSH connection when this returns. name: for the files that are kept of it.
    // Options:
    //   groups: of deploy/packages, to be in the image as well      memory: '6G'
    //   cpu: the model of the emulated processor, one of AMD's: 'EPYC'
    //   cpus: how many processors of two are online after the boot: 1. With two at work the emulation of AMD-V goes wrong now
    //         and then: of 23 pods on a busy node 6 guests were reset, because the node's state was saved as the guest's; of
    //         18 with one processor none was
    //   wire: {socket, server, mac} of a second network interface, whose other end is a node with the same socket
    // A node that cannot be reached is booted once more: not its emulated processor is under test.
    static async boot(name, options = {}) {
        for (let again = true;; again = false) {
            const vm = new NodeVm(name, options);
            try {
                await vm.startQemu();
                await vm.connect();
                return vm;
            } catch (error) {
                await vm.keepLogs();
                vm.destroy();
                if (!again)
                    throw error;
                process.stderr.write(`booting node ${name} once more, because: ${error.message}\n`);
            }
        }
    }

    constructor(name, {groups = [], memory = '6G', cpu = 'EPYC', cpus = 1, wire}) {
        this.name = name;
        this.cpu = cpu;
        this.cpus = cpus;
        this.memory = memory;
        this.wire = wire;
        this.image = madeBy('image.sh', ...groups);
        this.qemu = path.join(madeBy('qemu.sh'), 'qemu-system-x86_64');
        this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-node-'));
        this.consoleLog = path.join(this.dir, 'console.log');
        this.socket = path.join(this.dir, 'crivirtd.sock');
        this.control = path.join(this.dir, 'ssh');
        this.monitor = path.join(this.dir, 'qmp');
        alive.add(this);
    }

    async startQemu() {
        const disk = path.join(this.dir, 'disk.qcow2');
        must('qemu-img', 'create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', path.join(this.image, 'disk.img'), disk);
        this.port = await freePort();
        const log = fs.openSync(path.join(this.dir, 'qemu.log'), 'a');
        this.process = spawn('setpriv', ['--pdeathsig', 'KILL', this.qemu,
            '-M', 'q35', '-accel', 'tcg,thread=multi,tb-size=512', '-cpu', `${this.cpu},+svm,+npt`, '-smp', '2', '-m', this.memory,
            '-nodefaults', '-no-user-config', '-display', 'none', '-serial', `file:${this.consoleLog}`,
            '-kernel', path.join(this.image, 'vmlinuz'), '-initrd', path.join(this.image, 'initrd.img'),
            '-append', `root=/dev/vda rw console=ttyS0 mitigations=off nokaslr maxcpus=${this.cpus} ${kernelClock()}`,
            '-drive', `file=${disk},if=virtio,format=qcow2,cache=unsafe`, '-device', 'virtio-rng-pci',
            '-netdev', `user,id=net0,hostfwd=tcp:127.0.0.1:${this.port}-:22`,
            '-device', 'virtio-net-pci,netdev=net0,romfile=', ...this.wireWords(),
            '-d', 'cpu_reset', '-D', path.join(this.dir, 'resets.log'),
            '-qmp', `unix:${this.monitor},server=on,wait=off`], {stdio: ['ignore', log, log]});
        fs.closeSync(log);
        this.process.on('exit', () => { this.gone = true; });
    }

    wireWords() {
        if (!this.wire)
            return [];
        const {socket, server, mac} = this.wire;
        return ['-netdev', `stream,id=net1,server=${server ? 'on' : 'off'},addr.type=unix,addr.path=${socket}`,
                '-device', `virtio-net-pci,netdev=net1,mac=${mac},romfile=`];
    }

    // Sends QEMU's monitor a command; its answer.
    qmp(execute) {
        return new Promise((resolve, reject) => {
            const connection = net.connect(this.monitor);
            let text = '';
            connection.on('error', reject);
            connection.on('data', (data) => {
                text += data;
                const answers = text.split('\n').slice(0, -1).map((line) => JSON.parse(line));
                const last = answers.filter((one) => one.return !== undefined || one.error)[1]; // the first is qmp_capabilities'
                if (!last)
                    return;
                connection.end();
                if (last.error)
                    reject(new Error(`${execute}: ${last.error.desc}`));
                else
                    resolve(last.return);
            });
            connection.write(JSON.stringify({execute: 'qmp_capabilities'}) + JSON.stringify({execute}));
        });
    }

    sshOptions() {
        // Neither the configuration nor the agent of the user who runs the tests matters.
        return ['-q', '-F', 'none', '-i', path.join(this.image, 'key'), '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes',
            '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null',
            '-o', 'ConnectTimeout=60', '-o', 'ServerAliveInterval=60', '-o', `ControlPath=${this.control}`];
    }

    // One SSH connection serves all commands, because each handshake costs emulated seconds. crivirtd's socket comes with it.
    async connect() {
        await eventually(`the node ${this.name} accepts an SSH connection`, () => {
            if (this.gone)
                throw new Error(`the QEMU of node ${this.name} ended: ${this.file('qemu.log')}`);
            const [panic] = /Kernel panic - .*/.exec(this.file('console.log')) ?? [];
            if (panic)
                throw new Error(`node ${this.name}: ${panic}`);
            return this.openConnection();
        }, BOOT_LIMIT_MS);
    }

    openConnection() {
        fs.rmSync(this.socket, {force: true});
        fs.rmSync(this.control, {force: true});
        const ssh = spawn('setpriv', ['--pdeathsig', 'KILL', 'ssh', ...this.sshOptions(), '-M', '-N',
            '-o', 'ExitOnForwardFailure=yes', '-L', `${this.socket}:/run/crivirt/crivirtd.sock`, '-p', String(this.port),
            'root@127.0.0.1'], {stdio: 'ignore'});
        this.ssh = ssh;
        // The control socket appears when root is logged in; a refused connection ends ssh.
        return Promise.race([
            new Promise((resolve) => ssh.on('exit', () => setTimeout(resolve, 1000, false))),
            eventually('ssh is connected', () => ssh.exitCode !== null || fs.existsSync(this.control), BOOT_LIMIT_MS)
                .then(() => fs.existsSync(this.control)),
        ]);
    }

    // Runs a shell script on the node; {code, stdout, stderr}, also when it fails.
    run(script) {
        return command('ssh', [...this.sshOptions(), '-p', String(this.port), 'root@127.0.0.1', 'bash -euo pipefail -s'],
                       {input: script});
    }

    // The output of a shell script on the node, which must succeed.
    async must(script) {
        const {code, stdout, stderr} = await this.run(script);
        assert.strictEqual(code, 0, `on the node, ${script}: ended with ${code}: ${stdout}${stderr}`);
        return stdout.trim();
    }

    // Copies a file of this machine to the node.
    async copy(file, to) {
        const {code, stderr} = await command('scp', [...this.sshOptions(), '-P', String(this.port), file, `root@127.0.0.1:${to}`]);
        assert.strictEqual(code, 0, `copying ${file} to the node: ${stderr}`);
    }

    // The words of a command line of this machine that runs a command on the node.
    sshWords(words) {
        return ['ssh', ...this.sshOptions(), '-p', String(this.port), 'root@127.0.0.1', words];
    }

    // Copies a directory to the same place on another node; what is sparse stays so.
    send(directory, other) {
        const pipe = [this.sshWords(`tar -C ${directory} -Scf - .`),
                      other.sshWords(`'mkdir -p ${directory} && tar -C ${directory} -xf -'`)];
        must('bash', '-euo', 'pipefail', '-c', pipe.map((words) => words.join(' ')).join(' | '));
    }

    // Takes the second processor into use, or out of it.
    setSecondCpu(online) {
        return this.must(`echo ${online ? 1 : 0} > /sys/devices/system/cpu/cpu1/online`);
    }

    bootId() {
        return this.must('cat /proc/sys/kernel/random/boot_id');
    }

    // Reboots the node as its administrator does, and waits until it has booted again.
    async reboot() {
        const before = await this.bootId();
        await this.run('systemctl reboot');
        await eventually('the SSH connection has ended', () => this.ssh.exitCode !== null || this.ssh.signalCode !== null,
                         BOOT_LIMIT_MS);
        await this.connect();
        assert.notStrictEqual(await this.bootId(), before, 'the node did not reboot');
    }

    file(name) {
        const file = path.join(this.dir, name);
        return fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '';
    }

    // Keeps the console and QEMU's messages in build/log, also when the tests are interrupted; the directory.
    keepFiles() {
        const directory = path.join(root, 'build/log', `node-${this.name}`);
        fs.mkdirSync(directory, {recursive: true});
        for (const name of ['console.log', 'qemu.log', 'resets.log'])
            fs.writeFileSync(path.join(directory, name), this.file(name));
        return directory;
    }

    // Keeps the node's console and journal in build/log, for a test that failed.
    async keepLogs() {
        const directory = this.keepFiles();
        if (fs.existsSync(this.control) && !this.gone) {
            const {stdout} = await this.run('journalctl --no-pager -o short-precise');
            fs.writeFileSync(path.join(directory, 'journal.log'), stdout);
        }
        process.stderr.write(`the console and the journal of node ${this.name} are in ${directory}\n`);
    }

    // What may say why a step failed: the files that are kept are gone with the machine that ran the tests.
    async lastWords() {
        const words = [];
        if (/^Triple fault/m.test(this.file('resets.log')))
            words.push('was reset by a triple fault');
        if (this.ssh.exitCode !== null || this.ssh.signalCode !== null)
            words.push('its SSH connection ended');
        if (fs.existsSync(this.control) && !this.gone) {
            const {stdout} = await this.run('timeout 60 journalctl --no-pager -u crivirtd -n 30 -o cat');
            words.push(`crivirtd: ${stdout}`);
        }
        words.push(`console: ${this.file('console.log').slice(-1000)}`);
        return words.map((line) => `node ${this.name}: ${line}`).join('\n');
    }

    // Ends the VM without a shutdown: nothing of it is kept.
    destroy() {
        alive.delete(this);
        for (const child of [this.ssh, this.process])
            child?.kill('SIGKILL');
        fs.rmSync(this.dir, {recursive: true, force: true, maxRetries: 5, retryDelay: 200});
    }
}

module.exports = {NodeVm};
