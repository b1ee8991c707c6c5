// SPDX-License-Identifier: Apache-2.0
'use strict';
// kill -9 of the daemon at points all along the life of a pod: the next daemon knows of everything that exists, can use
// or remove it, and nothing is left that no sandbox speaks of.
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {sleep} = require('./support/kit');

const POINTS = 9;
let node;
before(async () => { node = await Node.start(); });
after(() => node.end());

// A pod's whole life; what fails because the daemon is killed meanwhile is not of interest here.
async function life(config) {
    const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config});
    const pod = {id, config};
    const container = await node.runContainer(pod, 'echo alive; sleep 100000');
    await node.cri.call('ExecSync', {container_id: container.id, cmd: ['true']});
    await node.cri.call('StopContainer', {container_id: container.id, timeout: 0});
    await node.cri.call('StopPodSandbox', {pod_sandbox_id: id});
    await node.cri.call('RemovePodSandbox', {pod_sandbox_id: id});
}

const podIds = async () => (await node.cri.call('ListPodSandbox')).items.map(({id}) => id);

test('an undisturbed life leaves nothing', async () => {
    await life(node.podConfig());
    assert.deepStrictEqual(await podIds(), []);
    await node.noLeaks();
});

test(`the daemon is killed at ${POINTS} points of a pod's life, and the next one puts everything right`, async (suite) => {
    const begin = Date.now();
    await life(node.podConfig());
    const duration = Date.now() - begin;

    for (let point = 1; point <= POINTS; point++)
        await suite.test(`after ${point}/${POINTS + 1} of it`, async (t) => {
            const config = node.podConfig();
            const ending = life(config).catch(() => {});
            await sleep(duration * point / (POINTS + 1));
            await node.restartDaemon('SIGKILL');
            await ending;
            t.after(() => node.removeAllPods()); // one failure is not the next points'

            const pods = await node.cri.call('ListPodSandbox');
            assert.ok(pods.items.length <= 1);
            for (const pod of pods.items) {
                const {status} = await node.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id});
                assert.strictEqual(status.metadata.name, config.metadata.name);
                if (status.state === 'SANDBOX_READY') { // it works as if nothing had happened
                    const container = await node.runContainer({id: pod.id, config}, 'true');
                    assert.strictEqual((await node.ended(container)).exit_code, 0);
                }
            }
            // A client that was cut off tries again, and gets its sandbox.
            const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config});
            assert.deepStrictEqual(await podIds(), [id]);
            await node.cri.call('RemovePodSandbox', {pod_sandbox_id: id});
            assert.deepStrictEqual((await node.cri.call('ListContainers')).containers, []);
            await node.noLeaks();
        });
});
