// SPDX-License-Identifier: Apache-2.0
// A node for tests: a network namespace with CNI's networks (network.js), a crivirtd of its own (daemon.js), and the verbs of
// the CRI (pods.js). Everything that it has is below two directories, by which the leak check (leaks.js) tells what belongs
// to it from what else is on the machine.
'use strict';
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {PodNode} = require('./pods');
const {killProcesses} = require('./processes');
const {leaks, noLeaks, orphans} = require('./leaks');
const {listing, must, serial} = require('./kit');

// A test run that is interrupted removes its nodes, too.
const alive = new Set();
for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, () => process.exit(1));
process.on('exit', () => {
    for (const node of alive)
        node.destroy();
});

class Node extends PodNode {
    // Makes a node and starts its daemon, with busybox imported unless image is false. Options:
    //   guest: 'tuned' or 'stock'            initrd: another file than the guest's
    //   cni: false for no network            templates: true for pods that are restored
    //   flags: words for the daemon          config: TOML for the daemon
    //   env: ['NAME=value'] of the daemon
    //   within: shell commands that change a mount namespace of the daemon's own before it starts
    static async start(options = {}) {
        const node = new Node(options);
        try {
            node.makeNetwork(options);
            await node.startDaemon();
            if (options.image !== false)
                await node.loadBusybox();
        } catch (error) {
            await node.end().catch(() => {});
            throw error;
        }
        return node;
    }

    // Calls work(node) with a node that is started for it and ended afterwards.
    static async use(options, work) {
        const node = await Node.start(options);
        try {
            await work(node);
        } finally {
            await node.end();
        }
    }

    constructor(options = {}) {
        const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-test-'));
        fs.chmodSync(dir, 0o755); // QEMU's user reads what is in it
        super(`cvt${process.pid}-${serial()}`, dir, options);
        this.mounts = []; // that a test made, and that are not leaks
        alive.add(this);
    }

    leaks() {
        return leaks(this);
    }

    noLeaks() {
        return noLeaks(this);
    }

    orphans(ids) {
        return orphans(this, ids);
    }

    // Removes the pods, checks that nothing is left of them, and removes the node, whatever the check found.
    async end() {
        try {
            if (this.daemon && !this.daemon.gone)
                await this.endDaemon();
        } finally {
            this.destroy();
        }
    }

    async endDaemon() {
        const ids = await this.listedPodIds();
        for (const id of ids)
            await this.removePod({id});
        this.podIds.push(...ids);
        await this.noLeaks();
        const {code} = await this.stopDaemon();
        assert.strictEqual(code, 0, `crivirtd ended with ${code}: ${this.daemonLog().slice(-2000)}`);
        assert.deepStrictEqual(listing(this.runDir).filter((name) => name.endsWith('.sock')), []);
    }

    // Ends the daemon and what a reboot ends: processes, mounts, namespaces, interfaces, rules, and the run directory. The boot
    // has an id.
    async reboot() {
        await this.stopDaemon('SIGKILL');
        this.killGuests();
        for (const target of must('findmnt', '-rno', 'TARGET').split('\n').reverse())
            if (target.startsWith(this.runDir))
                must('umount', '-l', target);
        fs.rmSync(this.runDir, {recursive: true, force: true});
        this.inNetwork('ip', 'link', 'del', 'cvt0');
        this.inNetwork('sh', '-c', 'iptables -F -t nat; iptables -X -t nat; ip6tables -F -t nat; ip6tables -X -t nat');
        fs.writeFileSync(path.join(this.stateDir, 'libvirt/boot-id'), 'an earlier one');
        await this.startDaemon();
    }

    // Removes the node in whatever state it is. Nothing here waits for an event: a process that exits gets none.
    destroy() {
        alive.delete(this);
        if (this.cri)
            this.cri.close();
        for (const child of this.processes.filter((one) => !one.gone))
            child.kill('SIGKILL');
        killProcesses(this);
        for (const target of must('findmnt', '-rno', 'TARGET').split('\n').reverse())
            if (target.startsWith(this.dir) || target.startsWith(this.runDir))
                quietly(() => must('umount', '-l', target));
        quietly(() => must('ip', 'netns', 'del', this.netns));
        if (!process.env.CRIVIRT_TEST_KEEP)
            fs.rmSync(this.dir, {recursive: true, force: true, maxRetries: 5, retryDelay: 200});
        fs.rmSync(this.runDir, {recursive: true, force: true, maxRetries: 5, retryDelay: 200});
        fs.rmSync(`${this.socket}.lock`, {force: true});
    }
}

function quietly(act) {
    try {
        act();
    } catch {}
}

module.exports = {Node};
