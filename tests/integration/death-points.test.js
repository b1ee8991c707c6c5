'use strict';
// QEMU dies while a verb is under way, at chosen side effects of it (tests/tools/crash_shim.c holds the verb's thread there):
// the call ends by itself and says what is true, and nothing is left that cannot be stopped and removed.
const assert = require('assert');
const {test, before, after} = require('node:test');
const {startMachine, points} = require('./support/crash');
const {VERBS, READS, Subjects} = require('./support/verbs');
const {eventually} = require('./support/kit');
const {status} = require('./support/cri');

const IN_A_RUN = 2;
let crashing, machine, subjects;
before(async () => {
    crashing = await startMachine();
    ({machine} = crashing);
    subjects = new Subjects(machine);
});
after(() => crashing.end());

// What the verb's side effects are called, and what it has been recorded with is gone.
async function record({verb, prepare, work, again}) {
    const name = subjects.name(verb);
    const subject = await prepare(subjects, name);
    const names = await crashing.record(() => work(subjects, subject));
    await again(subjects, subject, name);
    return names;
}

// Not after a time-out of somebody's, nor for a reason that is none.
function truthfulFailure(error, words) {
    if (error === null)
        return;
    assert.ok([status.UNAVAILABLE, status.FAILED_PRECONDITION].includes(error.code), `${error.code}: ${error.details}`);
    assert.match(error.details, words);
}

// Whatever became of its pods, they are stopped and removed, and nothing is left of them.
async function allGoes() {
    for (const id of await subjects.podIds())
        await machine.removePod({id});
    await subjects.truthful();
    await machine.noLeaks();
}

// TRUE once there is none any more of what was killed, if it was anything.
async function killed(program) {
    const pids = machine.kill(program);
    await eventually('it is gone', () => machine.kill(program).length === 0);
    return pids.length > 0;
}

// Calls each(subject, point) with something to interrupt at a few points of the verb's, from the effect called so on.
async function atPoints(t, one, each, from = '') {
    await machine.removeAllPods(); // of a test that failed
    const names = await record(one);
    const begin = names.findIndex((name) => name.startsWith(from));
    for (const {name: effect, point} of points(names.slice(begin), IN_A_RUN))
        await t.test(`${begin + point}/${names.length}: ${effect}`, async () => {
            const name = subjects.name(one.verb);
            const subject = await one.prepare(subjects, name);
            await each(subject, begin + point, name);
        });
}

for (const one of [...VERBS, ...READS])
    test(`QEMU dies during ${one.verb}`, async (t) => {
        await atPoints(t, one, async (subject, point) => {
            let died = false;
            const {error} = await crashing.during(point, () => one.work(subjects, subject), async () => {
                died = await killed(/qemu-system/);
            });
            truthfulFailure(error, /virtual machine|is not ready/);
            for (const id of died ? await subjects.podIds() : [])
                await eventually('the sandbox is not ready', async () =>
                    (await machine.podStatus({id})).state === 'SANDBOX_NOTREADY');
            await subjects.truthful();
            await allGoes();
        }, one.verb === 'RunPodSandbox' ? 'virDomainCreateXML' : '');
    });
