// SPDX-License-Identifier: Apache-2.0
// kill -9 of crivirtd after a chosen side effect, or another mishap just then: tests/tools/crash_shim.c, preloaded.
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const {build} = require('./environment');
const {Node} = require('./node');
const {eventually} = require('./kit');

const OFF = 0;
const COUNT = -1;
// The control file: target, count, fault, happened; all 32 bits.
const CONTROL_BYTES = 16;
const DIE = 0;
const HOLD = 1;
const BREAK = 2;

// A machine whose daemons die on command.
async function startCrashingNode(options = {}) {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-crash-'));
    const control = path.join(directory, 'control');
    fs.writeFileSync(control, Buffer.alloc(CONTROL_BYTES));
    const env = [`LD_PRELOAD=${path.join(build, 'cri-server/libcrash_shim.so')}`, `CRASH_CONTROL=${control}`];
    const node = await Node.start({...options, env});
    return new CrashingNode(node, directory, control);
}

class CrashingNode {
    constructor(node, directory, control) {
        this.node = node;
        this.directory = directory;
        this.control = fs.openSync(control, 'r+');
        this.trace = `${control}.trace`;
    }

    // The target is written last: the daemon runs meanwhile.
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

    // What the work's side effects are called, in order.
    async record(work) {
        this.set(COUNT);
        await work();
        const names = this.names();
        this.set(OFF);
        return names;
    }

    // Kills the daemon after effect number `point` (from 1) of the work; whether it came to that. Another one runs then.
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

    // Does something after effect number `point` of the work, which waits there meanwhile. {reached, error}: whether it came
    // to that, and how the work failed.
    async during(point, work, act) {
        return this.under(point, HOLD, work, act);
    }

    // Breaks the connection to the agent then.
    async disconnect(point, work) {
        return this.under(point, BREAK, work, () => {});
    }

    async under(point, fault, work, act) {
        let over = false;
        this.set(point, fault);
        const outcome = work().then(() => null, (error) => error).finally(() => { over = true; });
        await eventually('it comes to that, or ends before', () => this.happened() || over);
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

// The points to die at. One after another that is called the same (the pieces of a download, say) has nothing new but its
// place, and a run of the whole suite takes a few of each verb's: CRIVIRT_CRASH_ALL=1 takes them all.
function points(names, inRun = 5) {
    const all = names.map((name, i) => ({name, point: i + 1}));
    if (process.env.CRIVIRT_CRASH_ALL)
        return all;
    const distinct = all.filter(({name}, i) => name !== names[i - 1]);
    const step = Math.max(1, distinct.length / inRun);
    return distinct.filter((unused, i) => i === 0 || Math.floor(i / step) !== Math.floor((i - 1) / step));
}

module.exports = {startCrashingNode, points};
