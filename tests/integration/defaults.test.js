// SPDX-License-Identifier: Apache-2.0
'use strict';
// What a handler gives to its pods' containers: limits, variables, a time zone, sysctls, a number of processes.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {command, listing} = require('./support/kit');

const config = `
[handlers.vm]
ulimits = ["nofile=2048:4096", "core=0"]
environment = ["FROM_HANDLER=yes", "OVERRIDDEN=by nobody"]
time_zone = "Asia/Kathmandu"
sysctls = ["net.core.somaxconn=1234", "net.ipv4.ip_unprivileged_port_start=99"]
max_processes = 60
`;
let node, pod, container;
before(async () => {
    node = await Node.start({config});
    pod = await node.runPod({linux: {sysctls: {'net.ipv4.ip_unprivileged_port_start': '80'}}});
    container = await node.runContainer(pod, {envs: [{key: 'OVERRIDDEN', value: Buffer.from('by the container')}]});
});
after(() => node.end());

test('containers and commands in them have the limits and variables of the handler, unless their own differ', async () => {
    assert.strictEqual(await node.output(container, 'ulimit -Sn; ulimit -Hn; ulimit -c'), '2048\n4096\n0');
    assert.match(await node.output(container, 'cat /proc/$(pidof sleep)/limits'), /^Max open files +2048 +4096 /m);
    assert.strictEqual(await node.output(container, 'echo $FROM_HANDLER, $OVERRIDDEN'), 'yes, by the container');
});

test('containers have the time zone of the handler, with a mount of their own instead of it', async () => {
    assert.strictEqual(await node.output(container, 'date +%z'), '+0545');
    const own = path.join(node.dir, 'zone');
    fs.copyFileSync('/usr/share/zoneinfo/Asia/Tokyo', own);
    const other = await node.runContainer(pod, {mounts: [{container_path: '/etc/localtime', host_path: own, readonly: true}]});
    assert.strictEqual(await node.output(other, 'date +%z'), '+0900');
    await node.remove(other);
});

test('guests have the sysctls of the handler, and those of the pod override them', async () => {
    assert.strictEqual(await node.output(container, 'cat /proc/sys/net/core/somaxconn'), '1234');
    assert.strictEqual(await node.output(container, 'cat /proc/sys/net/ipv4/ip_unprivileged_port_start'), '80');
});

test('all containers of a pod together have no more processes than the handler allows', async () => {
    const {stdout} = await node.exec(container, 'for i in $(seq 100); do sleep 100 & done; ls -d /proc/[0-9]* | wc -l');
    assert.ok(Number(stdout) <= 60, stdout);
    await node.remove(container);
});

test('the limit of processes of the pod\'s cgroup on the node holds in the guest', async (t) => {
    const cgroup_parent = `/${node.name}`;
    const hierarchy = fs.existsSync('/sys/fs/cgroup/pids') ? '/sys/fs/cgroup/pids' : '/sys/fs/cgroup';
    fs.mkdirSync(`${hierarchy}${cgroup_parent}`);
    t.after(async () => {
        await node.removeAllPods();
        for (const one of [...listing('/sys/fs/cgroup').map((name) => `/sys/fs/cgroup/${name}`), '/sys/fs/cgroup'])
            if (fs.existsSync(`${one}${cgroup_parent}`))
                fs.rmdirSync(`${one}${cgroup_parent}`);
    });
    fs.writeFileSync(`${hierarchy}${cgroup_parent}/pids.max`, '50');
    const limited = await node.runPod({linux: {cgroup_parent}});
    await node.runContainer(limited, {});
    const read = async () => (await node.cliWith({}, 'shell', limited.config.metadata.name, 'cat', '/sys/fs/cgroup/crivirt/pids.max')).stdout;
    assert.strictEqual(await read(), '50\n');
    // A limit that was raised is followed at the next container, up to the handler's.
    fs.writeFileSync(`${hierarchy}${cgroup_parent}/pids.max`, '500');
    await node.runContainer(limited, {});
    assert.strictEqual(await read(), '60\n');
});

test('a bad value is refused when the configuration is read, with the file, the line and the key', async () => {
    for (const [line, message] of [['ulimits = ["nofiles=1"]', /handlers\.vm\.ulimits: "nofiles=1" is not NAME=SOFT/],
                                   ['environment = ["NAME"]', /handlers\.vm\.environment: "NAME" is not NAME=VALUE/],
                                   ['time_zone = "../shadow"', /handlers\.vm\.time_zone: .* is not the name of a time zone/]]) {
        const file = path.join(node.dir, 'bad.toml');
        fs.writeFileSync(file, `[handlers.vm]\n${line}\n`);
        const {code, stderr} = await command(node.daemonWords()[0], [`--config=${file}`, '--print-config']);
        assert.notStrictEqual(code, 0);
        assert.match(stderr, message);
    }
});
