// SPDX-License-Identifier: Apache-2.0
'use strict';
// kill -9 of the daemon after each side effect of each verb that has any (tests/tools/crash_shim.c). The next daemon reports
// the true state of everything that exists, lets it be used, and completes the call when it is repeated.
const assert = require('assert');
const fs = require('fs');
const {test, before, after} = require('node:test');
const {startCrashingNode, points} = require('./support/crash');
const {busyboxArchive} = require('./support/images');
const {startRegistry, push} = require('./support/registry');
const {VERBS, Subjects} = require('./support/verbs');

let crashing, node, registry, subjects;
before(async () => {
    crashing = await startCrashingNode();
    ({node} = crashing);
    subjects = new Subjects(node);
    registry = await startRegistry(node);
});
after(() => crashing.end());

// What has become of the containers, and why, is gone with the node.
async function explain(error) {
    const {containers} = await node.cri.call('ListContainers', {}).catch(() => ({containers: []}));
    for (const {id} of containers) {
        const {status} = await node.cri.call('ContainerStatus', {container_id: id}).catch(() => ({status: 'unknown'}));
        error.message += `\ncontainer ${id}: ${JSON.stringify(status)}`;
        if (status.log_path && fs.existsSync(status.log_path))
            error.message += `\nits log: ${fs.readFileSync(status.log_path, 'utf8').slice(-1000)}`;
    }
    error.message += `\nthe daemon's log: ${node.daemonLog().slice(-6000)}`;
}

for (const {verb, prepare, work, again} of VERBS)
    test(`${verb} can be repeated after kill -9 of the daemon at each of its side effects`, async (t) => {
        const name = subjects.name(verb);
        await node.removeAllPods(); // those of a test that failed
        const first = await prepare(subjects, name);
        const names = await crashing.record(() => work(subjects, first));
        await again(subjects, first, name);
        for (const {name: effect, point} of points(names))
            await t.test(`${point}/${names.length}: ${effect}`, async () => {
                const mine = `${name}-${point}`;
                const subject = await prepare(subjects, mine);
                await crashing.crash(point, () => work(subjects, subject));
                try {
                    await subjects.truthful();
                    await again(subjects, subject, mine);
                    await subjects.truthful();
                } catch (error) {
                    await explain(error);
                    throw error;
                }
            });
        await node.removeAllPods();
        await node.noLeaks();
    });

const call = (method, request) => node.cri.call(method, request);

test('PullImage can be repeated after kill -9 of the daemon at each of its side effects', async (t) => {
    t.after(() => node.loadBusybox()); // for the other tests
    const image = `${registry.host}/tests/busybox:one`;
    push(node, `oci-archive:${busyboxArchive(node)}`, image);
    const pull = async () => (await call('PullImage', {image: {image}})).image_ref;
    const find = async () => (await call('ImageStatus', {image: {image}})).image;
    await call('RemoveImage', {image: {image: (await call('ListImages')).images[0].id}});
    const names = await crashing.record(pull);
    await call('RemoveImage', {image: {image}});
    for (const {name: effect, point} of points(names))
        await t.test(`${point}/${names.length}: ${effect}`, async () => {
            await crashing.crash(point, pull);
            const found = await find();
            assert.ok(found === null || BigInt(found.size) > 0n);
            const id = await pull();
            assert.strictEqual((await find()).id, id);
            const one = await node.runPod();
            const container = await node.runContainer(one, {image: {image}, command: ['/bin/true']});
            assert.strictEqual((await node.ended(container)).exit_code, 0);
            await node.removePod(one);
            await call('RemoveImage', {image: {image}});
            assert.deepStrictEqual((await call('ListImages')).images, []);
        });
});
