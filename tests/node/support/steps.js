// SPDX-License-Identifier: Apache-2.0
// Tests that build on each other: they run in their order on nodes that are booted once, because a fresh node costs emulated
// minutes. A failed step leaves nothing to build on, and its reason must not be hidden by the failures that follow.
'use strict';
const {test, before, after, afterEach} = require('node:test');
const {NodeClient} = require('./client');
const {NodeVm} = require('./vm');

let failed = false;
const nodes = {};

function step(name, work) {
    test(name, async (context) => {
        if (failed) {
            context.skip('an earlier step failed');
            return;
        }
        try {
            await work(context);
        } catch (error) {
            failed = true;
            for (const {vm} of Object.values(nodes))
                error.message += `\n${await vm.lastWords()}`;
            throw error;
        }
    });
}

// Prints how to log in to the nodes, and waits for the signal that ends this process (vm.js).
function untilInterrupted() {
    for (const {vm} of Object.values(nodes))
        process.stderr.write(`node ${vm.name}: ssh ${vm.sshOptions().join(' ')} -p ${vm.port} root@127.0.0.1\n`);
    return new Promise(() => { setInterval(() => {}, 60000); });
}

// Boots the nodes before the steps, {NAME: options of NodeVm.boot}, and passes their clients {NAME: NodeClient} to use(). It ends
// the nodes after the steps, and keeps their consoles and journals when a step failed. With CRIVIRT_TEST_KEEP=1 the nodes
// run on until Ctrl-C.
function onNodes(wanted, use) {
    before(async () => {
        const boots = await Promise.allSettled(Object.entries(wanted).map(async ([name, options]) => {
            nodes[name] = new NodeClient(await NodeVm.boot(name, options));
        }));
        const failure = boots.find(({status}) => status === 'rejected');
        if (failure)
            throw failure.reason;
        use(nodes);
    });
    afterEach((context) => { failed ||= context.passed === false; });
    after(async () => {
        for (const node of Object.values(nodes)) {
            node.close();
            if (failed)
                await node.vm.keepLogs();
        }
        if (process.env.CRIVIRT_TEST_KEEP)
            await untilInterrupted();
        for (const node of Object.values(nodes)) {
            node.vm.destroy();
        }
    });
}

module.exports = {step, onNodes};
