// SPDX-License-Identifier: Apache-2.0
'use strict';
// Something dies during a verb, at chosen side effects of it, where tests/tools/crash_shim.c holds the verb's thread: QEMU, the
// file server of the volumes or its fsguard, the connection to the agent. The call ends by itself with a true message, and
// everything that is left can be stopped and removed. (CNI plugins: cni.test.js.)
const assert = require('assert');
const {test, before, after} = require('node:test');
const {startCrashingNode, points} = require('./support/crash');
const {VERBS, READS, Subjects} = require('./support/verbs');
const {eventually} = require('./support/kit');
const {status} = require('./support/cri');

let crashing, node, subjects;
before(async () => {
    crashing = await startCrashingNode();
    ({node} = crashing);
    subjects = new Subjects(node);
});
after(() => crashing.end());

// The names of the verb's side effects. What it was recorded with has been removed.
const recorded = new Map();
async function record({verb, prepare, work, again}) {
    if (recorded.has(verb))
        return recorded.get(verb);
    const name = subjects.name(verb);
    const subject = await prepare(subjects, name);
    const names = await crashing.record(() => work(subjects, subject));
    await again(subjects, subject, name);
    recorded.set(verb, names);
    return names;
}

// Asserts that the call failed, if it did, for the reason at hand and not by a time-out.
function truthfulFailure(error, words) {
    if (error === null)
        return;
    assert.ok([status.UNAVAILABLE, status.FAILED_PRECONDITION].includes(error.code), `${error.code}: ${error.details}`);
    assert.match(error.details, words);
}

// Stops and removes all pods in whatever state they are, and checks that nothing is left of them.
async function allGoes() {
    for (const id of await subjects.podIds())
        await node.removePod({id});
    await subjects.truthful();
    await node.noLeaks();
}

// Kills all processes of that program and waits until they are gone; whether there were any.
async function killed(program) {
    const pids = node.kill(program);
    await eventually('the processes are gone', () => node.kill(program).length === 0);
    return pids.length > 0;
}

// Calls each(subject, point, name) for `count` side effects of the verb, from the first one whose name begins with `from`, if
// there is one.
async function atPoints(t, one, {count, from = ''}, each) {
    await node.removeAllPods(); // those of a test that failed
    const names = await record(one);
    const begin = Math.max(names.findIndex((name) => name.startsWith(from)), 0);
    for (const {name: effect, point} of points(names.slice(begin), count))
        await t.test(`${begin + point}/${names.length}: ${effect}`, async () => {
            const name = subjects.name(one.verb);
            const subject = await one.prepare(subjects, name);
            await each(subject, begin + point, name);
        });
}

async function isHibernated(pod_sandbox_id) {
    const {containers: [container]} = await node.cri.call('ListContainers', {filter: {pod_sandbox_id}});
    return container !== undefined && (await node.containerStatus(container)).reason === 'Hibernated';
}

for (const one of [...VERBS, ...READS])
    test(`${one.verb} ends with a true message when QEMU dies meanwhile`, async (t) => {
        const where = {count: 2, from: /^(RunPodSandbox|RestorePod)$/.test(one.verb) ? 'virDomainCreateXML' : ''};
        await atPoints(t, one, where, async (subject, point) => {
            let died = false;
            const {error} = await crashing.during(point, () => one.work(subjects, subject), async () => {
                died = await killed(/qemu-system/);
            });
            truthfulFailure(error, /virtual machine|the VM has ended|cannot start QEMU|is not ready/);
            for (const id of died ? await subjects.podIds() : [])
                await eventually('the sandbox is not ready, or hibernated', async () =>
                    (await node.podStatus({id})).state === 'SANDBOX_NOTREADY' || await isHibernated(id));
            await subjects.truthful();
            await allGoes();
        });
    });

// The verbs that do something with volumes.
const WITH_VOLUMES = /^(CreateContainer|StartContainer|StopContainer|RemoveContainer|StopPodSandbox|RemovePodSandbox, |HibernatePod|WakePod)/;
for (const program of ['virtiofsd', 'crivirt-fsguard'])
    for (const one of VERBS.filter(({verb}) => WITH_VOLUMES.test(verb)))
        test(`${one.verb} ends with a true message when ${program} dies meanwhile`, async (t) => {
            await atPoints(t, one, {count: 1, from: 'clone'}, async (subject, point) => {
                const {error} = await crashing.during(point, () => one.work(subjects, subject),
                                                      () => killed(new RegExp(program)));
                truthfulFailure(error, /volumes|file server/);
                await subjects.truthful();
                await allGoes();
            });
        });

for (const one of [...VERBS, READS[0]])
    test(`${one.verb} can be repeated when the agent connection breaks meanwhile`, async (t) => {
        await atPoints(t, one, {count: 1, from: 'send'}, async (subject, point, name) => {
            const {error} = await crashing.disconnect(point, () => one.work(subjects, subject));
            truthfulFailure(error, /agent/);
            await subjects.truthful();
            await one.again(subjects, subject, name);
        });
    });
