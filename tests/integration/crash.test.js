// SPDX-License-Identifier: Apache-2.0
'use strict';
// kill -9 of the daemon at moments spread over the life of a pod. The next daemon has a record of everything that exists, can
// use or remove it, and no orphan is left.
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {sleep} = require('./support/kit');

const POINTS = 9;
let node;
before(async () => { node = await Node.start(); });
after(() => node.end());

// A pod's whole life. Callers ignore that it fails because the daemon is killed meanwhile.
async function life(config) {
    const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config});
    const pod = {id, config};
    const container = await node.runContainer(pod, 'echo alive; sleep 100000');
    await node.cri.call('ExecSync', {container_id: container.id, cmd: ['true']});
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 0});
    await node.cri.call('StopPodSandbox', {pod_sandbox_id: id});
    await node.cri.call('RemovePodSandbox', {pod_sandbox_id: id});
}

const podIds = () => node.listedPodIds();

test('a pod\'s undisturbed life leaves nothing behind', async () => {
    await life(node.podConfig());
    assert.deepStrictEqual(await podIds(), []);
    await node.noLeaks();
});

test(`after kill -9 at ${POINTS} moments of a pod's life the next daemon puts everything right`, async (suite) => {
    const begin = Date.now();
    await life(node.podConfig());
    const duration = Date.now() - begin;

    for (let point = 1; point <= POINTS; point++)
        await suite.test(`after ${point}/${POINTS + 1} of the life`, async (t) => {
            const config = node.podConfig();
            const ending = life(config).catch(() => {});
            await sleep(duration * point / (POINTS + 1)); // the moment is what differs between these tests
            await node.restartDaemon('SIGKILL');
            await ending;
            t.after(() => node.removeAllPods()); // so that a failure does not fail the next moments, too

            const pods = await node.cri.call('ListPodSandbox');
            assert.ok(pods.items.length <= 1);
            for (const pod of pods.items) {
                const {status} = await node.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id});
                assert.strictEqual(status.metadata.name, config.metadata.name);
                if (status.state === 'SANDBOX_READY') { // then it works
                    const container = await node.runContainer({id: pod.id, config}, 'true');
                    assert.strictEqual((await node.ended(container)).exit_code, 0);
                }
            }
            // A client whose call was cut off calls again and gets its sandbox.
            const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config});
            assert.deepStrictEqual(await podIds(), [id]);
            await node.cri.call('RemovePodSandbox', {pod_sandbox_id: id});
            assert.deepStrictEqual((await node.cri.call('ListContainers')).containers, []);
            await node.noLeaks();
        });
});
