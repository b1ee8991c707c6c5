'use strict';
// Debian's own kernel, as quickstart.sh uses it: the same daemon and agent, a few modules more.
const assert = require('assert');
const {test, before, after} = require('node:test');
const {Machine} = require('./support/machine');

let machine;
before(async () => { machine = await Machine.start({guest: 'stock'}); });
after(() => machine.end());

test('a pod on the stock kernel: its kernel, an exit code, a log, a volume, no more modules', async () => {
    const pod = await machine.runPod();
    const container = await machine.runContainer(pod, {
        command: ['/bin/sh', '-c', 'uname -r; cat /v/hostname > /dev/null && echo volume; sleep 100000'],
        mounts: [{container_path: '/v', host_path: '/etc', readonly: true}],
    });
    assert.doesNotMatch(await machine.output(container, 'uname -r'), /crivirt/);
    assert.strictEqual(await machine.output(container, 'cat /proc/sys/kernel/modules_disabled'), '1');
    assert.strictEqual(await machine.output(container, 'test -e /v/passwd && echo yes'), 'yes');
    const short = await machine.runContainer(pod, 'echo done; exit 4');
    assert.strictEqual((await machine.ended(short)).exit_code, 4);
    assert.deepStrictEqual(machine.logLines(short).map(({text}) => text), ['done']);
    await machine.removePod(pod);
});
