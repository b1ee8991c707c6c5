// kill -9 of crivirtd after a chosen side effect: tests/tools/crash_shim.c, preloaded.
'use strict';
const fs = require('fs');
const os = require('os');
const path = require('path');
const {Machine, build} = require('./machine');

const OFF = 0;
const COUNT = -1;

// A machine whose daemons die on command.
async function startMachine(options = {}) {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-crash-'));
    const control = path.join(directory, 'control');
    fs.writeFileSync(control, Buffer.alloc(8));
    const env = [`LD_PRELOAD=${path.join(build, 'cri-server/libcrash_shim.so')}`, `CRASH_CONTROL=${control}`];
    const machine = await Machine.start({...options, env});
    return new CrashingMachine(machine, directory, control);
}

class CrashingMachine {
    constructor(machine, directory, control) {
        this.machine = machine;
        this.directory = directory;
        this.control = fs.openSync(control, 'r+');
        this.trace = `${control}.trace`;
    }

    set(target) {
        const numbers = Buffer.alloc(8);
        numbers.writeInt32LE(target, 0);
        fs.writeSync(this.control, numbers, 0, 8, 0);
        fs.truncateSync(this.trace);
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
        const {machine} = this;
        this.set(point);
        await work().catch(() => {});
        const died = this.names().length >= point;
        this.set(OFF);
        if (died) {
            await machine.daemon.ended;
            machine.cri.close();
            await machine.startDaemon();
        }
        return died;
    }

    async end() {
        try {
            await this.machine.end();
        } finally {
            fs.closeSync(this.control);
            fs.rmSync(this.directory, {recursive: true, force: true});
        }
    }
}

// The points to die at. One after another that is called the same (the pieces of a download, say) has nothing new but its
// place, and a run of the whole suite takes a few of each verb's: CRIVIRT_CRASH_ALL=1 takes them all.
const IN_A_RUN = 5;
function points(names) {
    const all = names.map((name, i) => ({name, point: i + 1}));
    if (process.env.CRIVIRT_CRASH_ALL)
        return all;
    const distinct = all.filter(({name}, i) => name !== names[i - 1]);
    const step = Math.max(1, distinct.length / IN_A_RUN);
    return distinct.filter((unused, i) => i === 0 || Math.floor(i / step) !== Math.floor((i - 1) / step));
}

module.exports = {startMachine, points};
