// SPDX-License-Identifier: Apache-2.0
// A node whose crivirtd is killed after a chosen side effect, or to which something else happens then. The daemon runs with
// tests/tools/crash_shim.c preloaded.
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const {build} = require('./environment');
const {Node} = require('./node');
const {eventually} = require('./kit');

const OFF = 0;
const COUNT = -1;
// The control file has four numbers of 32 bits: target, count, fault, happened.
const CONTROL_BYTES = 16;
const DIE = 0;
const HOLD = 1;
const BREAK = 2;

async function startCrashingNode(options = {}) {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-crash-'));
    const control = path.join(directory, 'control');
    fs.writeFileSync(control, Buffer.alloc(CONTROL_BYTES));
    const env = [`LD_PRELOAD=${path.join(build, 'cri-server/libcrash_shim.so')}`, `CRASH_CONTROL=${control}`];
    return new CrashingNode(await Node.start({...options, env}), directory, control);
}

class CrashingNode {
    constructor(node, directory, control) {
        this.node = node;
        this.directory = directory;
        this.control = fs.openSync(control, 'r+');
        this.trace = `${control}.trace`;
    }

    // The target is written last, because the daemon runs meanwhile.
    set(target, fault = DIE) {
        const numbers = Buffer.alloc(CONTROL_BYTES);
        fs.writeSync(this.control, numbers, 0, 4, 0);
        numbers.writeInt32LE(fault, 8);
        fs.writeSync(this.control, numbers, 4, CONTROL_BYTES - 4, 4);
        fs.truncateSync(this.trace);
        numbers.writeInt32LE(target, 0);
        fs.writeSync(this.control, numbers, 0, 4, 0);
    }

    happened() {
        const numbers = Buffer.alloc(4);
        fs.readSync(this.control, numbers, 0, 4, 12);
        return numbers.readInt32LE() !== 0;
    }

    names() {
        return fs.readFileSync(this.trace, 'utf8').split('\n').slice(0, -1);
    }

    // The names of the side effects of the work, in order.
    async record(work) {
        this.set(COUNT);
        await work();
        const names = this.names();
        this.set(OFF);
        return names;
    }

    // Kills the daemon after side effect number `point` (from 1) of the work, and starts another one. Whether the work got that
    // far.
    async crash(point, work) {
        const {node} = this;
        this.set(point);
        await work().catch(() => {});
        const died = this.names().length >= point;
        this.set(OFF);
        if (died) {
            await node.daemon.ended;
            node.cri.close();
            await node.startDaemon();
        }
        return died;
    }

    // Calls act() after side effect number `point` of the work, which waits there meanwhile. {reached, error}: whether the work
    // got that far, and its error.
    async during(point, work, act) {
        return this.under(point, HOLD, work, act);
    }

    // Breaks the agent connection at that point.
    async disconnect(point, work) {
        return this.under(point, BREAK, work, () => {});
    }

    async under(point, fault, work, act) {
        let over = false;
        this.set(point, fault);
        const outcome = work().then(() => null, (error) => error).finally(() => { over = true; });
        await eventually('the work reaches the point, or ends', () => this.happened() || over);
        const reached = this.happened();
        try {
            if (reached)
                await act();
        } finally {
            this.set(OFF);
        }
        return {reached, error: await outcome};
    }

    async end() {
        try {
            await this.node.end();
        } finally {
            fs.closeSync(this.control);
            fs.rmSync(this.directory, {recursive: true, force: true});
        }
    }
}

// The points that are tested: a few for each verb, and of consecutive side effects of the same name (the pieces of a download,
// say) only the first. CRIVIRT_CRASH_ALL=1 selects all, and CRIVIRT_CRASH_ALL=K/N each Nth of them from the Kth on.
function points(names, inRun = 5) {
    const all = names.map((name, i) => ({name, point: i + 1}));
    if (process.env.CRIVIRT_CRASH_ALL) {
        const [first, every = 1] = process.env.CRIVIRT_CRASH_ALL.split('/').map(Number);
        return all.filter((unused, i) => i % every === (first - 1) % every);
    }
    const distinct = all.filter(({name}, i) => name !== names[i - 1]);
    const step = Math.max(1, distinct.length / inRun);
    return distinct.filter((unused, i) => i === 0 || Math.floor(i / step) !== Math.floor((i - 1) / step));
}

module.exports = {startCrashingNode, points};
