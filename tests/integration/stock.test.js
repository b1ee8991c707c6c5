// SPDX-License-Identifier: Apache-2.0
'use strict';
// A guest with Debian's own kernel, as quickstart.sh uses it: the same daemon and agent, and a few modules.
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');

let node;
before(async () => { node = await Node.start({guest: 'stock'}); });
after(() => node.end());

test('a pod on the stock kernel has volumes, logs and exit codes, and can load no more modules', async () => {
    const pod = await node.runPod();
    const container = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'uname -r; cat /v/hostname > /dev/null && echo volume; sleep 100000'],
        mounts: [{container_path: '/v', host_path: '/etc', readonly: true}],
    });
    assert.doesNotMatch(await node.output(container, 'uname -r'), /crivirt/);
    assert.strictEqual(await node.output(container, 'cat /proc/sys/kernel/modules_disabled'), '1');
    assert.strictEqual(await node.output(container, 'test -e /v/passwd && echo yes'), 'yes');
    const short = await node.runContainer(pod, 'echo done; exit 4');
    assert.strictEqual((await node.ended(short)).exit_code, 4);
    assert.deepStrictEqual(node.logLines(short).map(({text}) => text), ['done']);
    await node.removePod(pod);
});
