// SPDX-License-Identifier: Apache-2.0
// The crivirtd of a test's node and the clients of its socket. Its state, its run directory, its socket and its log are its
// own, so that daemons that are tested at the same time do not meet.
'use strict';
const fs = require('fs');
const path = require('path');
const {guests, programs, qemu} = require('./environment');
const {Network} = require('./network');
const {Cri} = require('./cri');
const {command, eventually} = require('./kit');

// Guests boot, so that what is tested does not depend on which pod came first; with CRIVIRT_TEST_TEMPLATES=1 all of them are
// restored. template.test.js tests both.
const everywhere = process.env.CRIVIRT_TEST_TEMPLATES === '1';

class DaemonNode extends Network {
    constructor(name, dir, {guest = 'tuned', templates = everywhere, flags = [], config = '', env = [], initrd, within}) {
        super(name, dir);
        this.runDir = `/run/${name}`;
        this.socket = `${this.runDir}/s.sock`;
        this.stateDir = path.join(dir, 'state');
        this.hostsDir = path.join(dir, 'certs.d');
        this.configFile = path.join(dir, 'crivirt.toml');
        fs.mkdirSync(this.hostsDir);
        fs.writeFileSync(this.configFile, config);
        this.flags = [templates ? '--guest-vm-pool-max-size=0' : '--guest-template=false', ...flags];
        this.env = !within ? env : [...env, 'unshare', '--mount', '--propagation=slave', 'sh', '-ec', `${within}; exec "$0" "$@"`];
        this.guest = guests[guest];
        this.initrd = initrd || path.join(this.guest, 'initrd.img');
    }

    daemonWords(more = []) {
        return [
            programs.crivirtd, `--config=${this.configFile}`, `--socket=${this.socket}`,
            `--state-dir=${this.stateDir}`, `--run-dir=${this.runDir}`, `--cni-config-dir=${this.cniDir}`,
            `--guest-kernel=${path.join(this.guest, 'kernel')}`, `--guest-initrd=${this.initrd}`,
            `--registry-hosts-dir=${this.hostsDir}`, `--qemu=${qemu}`, '--boot-timeout=3m', '--log-level=debug', ...this.flags, ...more,
        ];
    }

    async startDaemon(more) {
        this.daemon = this.spawn(['env', ...this.env, ...this.daemonWords(more)], 'crivirtd.log');
        this.cri = new Cri(this.socket);
        const daemon = this.daemon;
        await eventually('crivirtd answers', async () => {
            if (daemon.gone)
                throw new Error(`crivirtd did not start: ${this.daemonLog().slice(-2000)}`);
            return fs.existsSync(this.socket) && this.cri.call('Version').catch(() => null);
        });
    }

    daemonLog() {
        return fs.readFileSync(path.join(this.dir, 'crivirtd.log'), 'utf8');
    }

    async stopDaemon(signal = 'SIGTERM') {
        this.cri.close();
        this.daemon.kill(signal);
        return this.daemon.ended;
    }

    async restartDaemon(signal) {
        const end = await this.stopDaemon(signal);
        await this.startDaemon();
        return end;
    }

    // Runs `crivirt ARGS…` as a client of the daemon.
    cli(...args) {
        return this.cliWith({}, ...args);
    }

    // In the node's network, where the streaming server listens.
    cliWith(options, ...args) {
        const env = {...this.cliEnvironment(), ...options.env};
        return command('nsenter', this.nsenter(programs.crivirt, ...args), {...options, env});
    }

    cliEnvironment() {
        return {CRIVIRT_SOCKET: this.socket, CRIVIRT_LOG_DIR: path.join(this.dir, 'cli-log')};
    }
}

module.exports = {DaemonNode};
