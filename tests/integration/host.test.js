// SPDX-License-Identifier: Apache-2.0
'use strict';
// Host pods, which run on the node itself: hostNetwork, hostPID and hostIPC, through a handler of kind host.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {programs} = require('./support/environment');
const {Node} = require('./support/node');
const {sleep, eventually, refused, must} = require('./support/kit');

const {agent} = programs;
const flags = ['--host-pods=always', `--host-agent=${agent}`];
const modes = (namespace_options) => ({security_context: {namespace_options}});
const host = {network: 'NODE', pid: 'NODE', ipc: 'NODE'};
const linux = modes(host);
let node;
before(async () => { node = await Node.start({flags}); });
after(() => node.end());

const runHost = (more = {}) => node.runPod({linux, ...more});

// The cgroups of these pods and containers. Each container and each agent has one.
function cgroups(ids) {
    return must('sh', '-c', `find /sys/fs/cgroup -type d -name 'crivirt-*'`).split('\n')
        .filter((name) => ids.some((id) => name.includes(id.slice(0, 24))));
}

const agentPid = (pod) => {
    for (const name of fs.readdirSync('/proc').filter((one) => /^\d+$/.test(one))) {
        let words = '';
        try {
            words = fs.readFileSync(`/proc/${name}/cmdline`, 'utf8');
        } catch {}
        if (words.startsWith(agent) && words.includes('--node') && words.includes(pod.id.slice(0, 24)))
            return Number(name);
    }
    return 0;
};

const alive = (pid) => fs.existsSync(`/proc/${pid}/stat`) && !/\) Z /.test(fs.readFileSync(`/proc/${pid}/stat`, 'utf8'));

test('a pod that asks for the node\'s namespaces gets the host handler, and has no address', async () => {
    const pod = await runHost();
    const status = await node.podStatus(pod);
    assert.strictEqual(status.runtime_handler, 'host');
    assert.strictEqual(status.state, 'SANDBOX_READY');
    assert.deepStrictEqual(status.network, {ip: '', additional_ips: []});
    assert.strictEqual(node.qemuPid(pod), undefined);
    await node.removePod(pod);
    assert.deepStrictEqual(cgroups([pod.id]), []);
});

test('containers of a host pod are in the node\'s PID, network and IPC namespaces', async () => {
    const pod = await runHost();
    const container = await node.runContainer(pod, {linux});
    const network = node.inNetwork('readlink', '/proc/self/ns/net').trim();
    assert.strictEqual(await node.output(container, 'readlink /proc/self/ns/net'), network);
    assert.strictEqual(await node.output(container, 'readlink /proc/self/ns/pid'), fs.readlinkSync('/proc/self/ns/pid'));
    assert.strictEqual(await node.output(container, 'readlink /proc/self/ns/ipc'), fs.readlinkSync('/proc/self/ns/ipc'));
    assert.notStrictEqual(await node.output(container, 'readlink /proc/self/ns/mnt'), fs.readlinkSync('/proc/self/ns/mnt'));
    assert.match(await node.output(container, 'ip addr show node0'), /192\.0\.2\.10/);
    assert.strictEqual(await node.output(container, `cat /proc/${process.pid}/comm`),
                       fs.readFileSync('/proc/self/comm', 'utf8').trim());
    const file = path.join('/dev/shm', path.basename(node.dir));
    fs.writeFileSync(file, 'of the node');
    assert.strictEqual(await node.output(container, `cat ${file}`), 'of the node');
    fs.rmSync(file);
    await node.removePod(pod);
});

test('a host pod has its own namespace of each kind that it does not ask of the node', async () => {
    const own = modes({network: 'NODE', pid: 'CONTAINER', ipc: 'POD'});
    const pod = await node.runPod({linux: own});
    const one = await node.runContainer(pod, {linux: own});
    const two = await node.runContainer(pod, {linux: own});
    assert.strictEqual(await node.output(one, 'cat /proc/1/comm'), 'sleep');
    const ipc = await node.output(one, 'readlink /proc/self/ns/ipc');
    assert.notStrictEqual(ipc, fs.readlinkSync('/proc/self/ns/ipc'));
    assert.strictEqual(await node.output(two, 'readlink /proc/self/ns/ipc'), ipc);
    await node.output(one, 'echo shared > /dev/shm/file');
    assert.strictEqual(await node.output(two, 'cat /dev/shm/file'), 'shared');
    await node.removePod(pod);
});

test('a host pod with its own network gets it from CNI, and a shared PID namespace if it asks for one', async () => {
    const options = {linux: modes({network: 'POD', pid: 'POD', ipc: 'POD'})};
    const pod = await node.runPod({...options, hostname: 'of-its-own', dns_config: {servers: ['192.0.2.53']}}, 'host');
    const ip = (await node.podStatus(pod)).network.ip;
    assert.match(ip, /^10\.88\./);
    const server = await node.runContainer(pod, {...options, command: ['/bin/sh', '-c', 'echo served > /index.html; httpd -f -p 80']});
    const other = await node.runContainer(pod, options);
    assert.match(await node.output(other, 'ip addr show eth0'), new RegExp(ip.replaceAll('.', '\\.')));
    assert.strictEqual(await node.output(other, 'hostname'), 'of-its-own');
    assert.match(await node.output(other, 'cat /etc/resolv.conf'), /192\.0\.2\.53/);
    assert.match(await node.output(other, 'ps'), /httpd/);
    await eventually('the pod serves', async () =>
        (await node.run('curl', '-s', '--noproxy', '*', `http://${ip}/`)).stdout === 'served\n');
    assert.strictEqual((await node.containerStatus(server)).state, 'CONTAINER_RUNNING');
    await node.removePod(pod);
});

test('exit codes, logs, users, volumes and limits of a host pod are as in a VM', async () => {
    const pod = await runHost();
    const volume = path.join(node.dir, 'volume');
    fs.mkdirSync(volume);
    fs.writeFileSync(path.join(volume, 'in'), 'in');
    const short = await node.runContainer(pod, {
        command: ['/bin/sh', '-c', 'echo out; echo err >&2; id -u; cat /v/in; echo back > /v/out; exit 4'],
        linux: {...linux, security_context: {...linux.security_context, run_as_user: {value: '7'}}},
        mounts: [{container_path: '/v', host_path: volume}],
    });
    fs.chmodSync(volume, 0o777);
    const status = await node.ended(short);
    assert.strictEqual(status.exit_code, fs.existsSync(path.join(volume, 'out')) ? 4 : status.exit_code);
    assert.deepStrictEqual(node.logLines(short).filter(({stream}) => stream === 'stdout').map(({text}) => text),
                           ['out', '7', 'in']);
    const limited = await node.runContainer(pod, {
        linux: {...linux, resources: {memory_limit_in_bytes: `${64 << 20}`, cpu_shares: '512'}},
        mounts: [{container_path: '/v', host_path: volume, readonly: true}],
    });
    assert.notStrictEqual((await node.exec(limited, 'touch /v/more')).exit_code, 0);
    const eaten = await node.exec(limited, 'tail -c 200m /dev/zero | wc -c', 60);
    assert.notStrictEqual(eaten.stdout.trim(), `${200 << 20}`);
    const stats = await eventually('there are figures', async () => {
        const {stats: one} = await node.cri.call('ContainerStats', {container_id: limited.id});
        return one.memory && Number(one.memory.usage_bytes.value) > 0 && one.cpu && Number(one.cpu.usage_core_nano_seconds.value) > 0 && one;
    });
    assert.ok(Number(stats.memory.usage_bytes.value) <= 64 << 20);
    // The network is the node's. The kubelet crashes on network figures that lack those of the pod's interface.
    const whole = await eventually('there are figures of the pod', async () => {
        const {stats: {linux: figures}} = await node.cri.call('PodSandboxStats', {pod_sandbox_id: pod.id});
        return figures.process && figures;
    });
    assert.strictEqual(whole.network, null);
    await node.removePod(pod);
});

test('a privileged host pod sees the node\'s devices, and its bidirectional mounts appear on the node', async () => {
    const privileged = {linux: {security_context: {namespace_options: host, privileged: true}}};
    const pod = await node.runPod(privileged);
    const shared = path.join(node.dir, 'shared');
    fs.mkdirSync(path.join(shared, 'below'), {recursive: true});
    must('mount', '--bind', shared, shared);
    must('mount', '--make-shared', shared);
    // systemd makes all mounts of a node shared.
    const unshared = path.join(node.dir, 'unshared');
    fs.mkdirSync(unshared);
    must('mount', '--bind', unshared, unshared);
    must('mount', '--make-private', unshared);
    try {
        // As the kubelet sends it, which lists the usual paths for a privileged container, too.
        const container = await node.runContainer(pod, {
            linux: {security_context: {...privileged.linux.security_context, readonly_paths: ['/proc/sys'], masked_paths: ['/proc/keys']}},
            mounts: [{container_path: '/both', host_path: shared, propagation: 'PROPAGATION_BIDIRECTIONAL'},
                     {container_path: '/in', host_path: shared, propagation: 'PROPAGATION_HOST_TO_CONTAINER'}],
        });
        assert.match(await node.output(container, 'ls /dev'), /loop-control/);
        await node.output(container, 'cat /proc/sys/net/ipv4/ip_forward > /proc/sys/net/ipv4/ip_forward');
        assert.strictEqual(await node.output(container, 'grep -c /proc/keys /proc/mounts || true'), '0');
        await node.output(container, 'mount -t tmpfs made-inside /both/below && echo 1 > /both/below/file');
        assert.strictEqual(fs.readFileSync(path.join(shared, 'below/file'), 'utf8'), '1\n');
        assert.strictEqual(await node.output(container, 'cat /in/below/file'), '1');
        must('umount', path.join(shared, 'below'));
        assert.notStrictEqual((await node.exec(container, 'cat /both/below/file')).exit_code, 0);
        await refused(node.create(pod, {
            ...privileged,
            mounts: [{container_path: '/v', host_path: unshared, propagation: 'PROPAGATION_BIDIRECTIONAL'}],
        }), 'FAILED_PRECONDITION', 'shared mount');
    } finally {
        must('umount', '-l', shared, unshared);
    }
    await node.removePod(pod);
});

test('exec, attach and port-forward work with a host pod', async () => {
    const pod = await runHost();
    const container = await node.runContainer(pod, {linux, stdin: true, command: ['/bin/cat']});
    const {stdout, code} = await node.cliWith({input: 'through the pipe\n'}, 'exec', '-i', container.id, 'cat');
    assert.strictEqual(code, 0);
    assert.strictEqual(stdout, 'through the pipe\n');
    const {url} = await node.cri.call('PortForward', {pod_sandbox_id: pod.id, port: [80]});
    assert.match(url, /^http:/);
    await node.removePod(pod);
});

test('a command in a host pod that exceeds its timeout is killed with daemons that it started, and with nothing else', async () => {
    const pod = await runHost();
    const container = await node.runContainer(pod, {linux});
    const running = () => must('sh', '-c', 'cat /proc/[0-9]*/cmdline 2> /dev/null | tr "\\0" " "; true');
    await node.exec(container, '(setsid sleep 64323 &)');
    await refused(node.exec(container, '(setsid sh -c "setsid sleep 64324 & exec sleep 64324" &); sleep 64324', 1), 'DEADLINE_EXCEEDED');
    await eventually('the daemons are gone', () => !running().includes('sleep 64324'));
    assert.ok(running().includes('sleep 64323'));
    await node.removePod(pod);
    assert.ok(!running().includes('sleep 64323'));
});

test('after kill -9 of crivirtd a host pod runs on, its log is complete, and the next daemon controls it', async () => {
    const pod = await runHost();
    const container = await node.runContainer(pod, {
        linux, command: ['/bin/sh', '-c', 'i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); usleep 10000; done; sleep 100000'],
    });
    const pid = agentPid(pod);
    await eventually('there is a log', () => fs.existsSync(container.log) && node.logLines(container).length > 20);
    await node.restartDaemon('SIGKILL');
    assert.strictEqual(agentPid(pod), pid);
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_READY');
    assert.strictEqual((await node.containerStatus(container)).state, 'CONTAINER_RUNNING');
    await eventually('the log is whole', () => node.logLines(container).length === 300);
    assert.deepStrictEqual(node.logLines(container).map(({text}) => text), Array.from({length: 300}, (_, i) => `line ${i}`));
    assert.strictEqual(await node.output(container, 'echo still'), 'still');
    const second = await node.runContainer(pod, {linux, command: ['/bin/sh', '-c', 'exit 3']});
    assert.strictEqual((await node.ended(second)).exit_code, 3);
    await node.removePod(pod);
    assert.ok(!alive(pid));
});

test('after kill -9 of its agent a host pod is NOTREADY, its containers are dead, and it can be removed', async () => {
    const pod = await runHost();
    const container = await node.runContainer(pod, {linux, command: ['/bin/sh', '-c', 'echo $$; sleep 100000']});
    const first = Number(await eventually('it runs', () => fs.existsSync(container.log) && node.logLines(container)[0]?.text));
    assert.ok(alive(first));
    process.kill(agentPid(pod), 'SIGKILL');
    await eventually('the pod is not ready', async () => (await node.podStatus(pod)).state === 'SANDBOX_NOTREADY');
    const status = await node.ended(container);
    assert.strictEqual(status.exit_code, 255);
    assert.strictEqual(status.reason, 'Unknown');
    await eventually('its processes are gone', () => !alive(first));
    await refused(node.create(pod, {linux}), 'FAILED_PRECONDITION');
    await node.removePod(pod);
    assert.deepStrictEqual(cgroups([pod.id, container.id]), []);
});

test('a daemon notices at its start that an agent has died, and kills its containers', async () => {
    const pod = await runHost();
    const container = await node.runContainer(pod, {linux, command: ['/bin/sh', '-c', 'echo $$; sleep 100000']});
    const first = Number(await eventually('it runs', () => fs.existsSync(container.log) && node.logLines(container)[0]?.text));
    const pid = agentPid(pod);
    await node.stopDaemon('SIGKILL');
    process.kill(pid, 'SIGKILL');
    await node.startDaemon();
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    assert.strictEqual((await node.containerStatus(container)).exit_code, 255);
    await eventually('its processes are gone', () => !alive(first));
    await node.removePod(pod);
});

test('a host pod whose start is cut off by kill -9 of crivirtd leaves nothing', async () => {
    for (const wait of [0, 5, 15, 30]) {
        const run = node.cri.call('RunPodSandbox', {config: node.podConfig({linux})}).catch(() => null);
        await sleep(wait); // the moment is what differs between the rounds
        await node.restartDaemon('SIGKILL');
        await run;
        const {items} = await node.cri.call('ListPodSandbox');
        for (const {id, state} of items) {
            assert.strictEqual(state, 'SANDBOX_READY');
            await node.removePod({id});
        }
        await node.noLeaks();
    }
});

test('containers of a host pod start at once under a daemon that reports to systemd', async () => {
    await Node.use({flags, env: ['NOTIFY_SOCKET=/run/no-such.sock']}, async (one) => {
        const pod = await one.runPod({linux});
        const container = await one.runContainer(pod, {linux});
        assert.doesNotMatch(await one.output(container, 'env'), /NOTIFY_SOCKET/);
    });
});

test('a removed host pod leaves no process, mount, loop device, cgroup or file', async () => {
    const pod = await runHost();
    const container = await node.runContainer(pod, {linux, mounts: [{container_path: '/v', host_path: node.logDir}]});
    await node.output(container, '(setsid sleep 4711 &) ; echo');
    await node.removePod(pod);
    assert.deepStrictEqual(cgroups([pod.id, container.id]), []);
    await node.noLeaks();
});

test('a host pod is refused what would change the node for all or needs a VM, and the message names the field', async () => {
    const run = (linuxConfig, handler = '') => node.cri.call('RunPodSandbox', {
        config: node.podConfig({linux: linuxConfig}), runtime_handler: handler});
    await refused(run({...linux, sysctls: {'net.ipv4.ip_forward': '1'}}), 'INVALID_ARGUMENT', 'net.ipv4.ip_forward');
    await refused(run({...linux, sysctls: {'vm.swappiness': '1'}}, 'host'), 'INVALID_ARGUMENT', 'vm.swappiness');
    await refused(run(linux, 'vm'), 'INVALID_ARGUMENT', 'namespace_options.network');
    const ids = [{host_id: 100000, container_id: 0, length: 65536}];
    await refused(run(modes({userns_options: {mode: 'POD', uids: ids, gids: ids}}), 'host'), 'INVALID_ARGUMENT', 'userns_options');
    const annotations = {'io.crivirt.vcpus': '2'};
    await refused(node.cri.call('RunPodSandbox', {config: node.podConfig({linux, annotations})}), 'INVALID_ARGUMENT',
                  'io.crivirt.vcpus', '"host"');
    const handlers = (await node.cri.call('Status')).runtime_handlers;
    assert.deepStrictEqual(handlers.map(({name, features}) => [name, features.user_namespaces]),
                           [['', true], ['vm', true], ['host', false]]);
});

test('an agent that cannot be started fails the host pod with a message, and leaves nothing', async () => {
    await node.stopDaemon();
    await node.startDaemon(['--host-agent=/nonexistent/agent']);
    await refused(node.cri.call('RunPodSandbox', {config: node.podConfig({linux})}), 'FAILED_PRECONDITION', '/nonexistent/agent');
    await node.stopDaemon();
    await node.startDaemon(['--host-agent=/bin/false']);
    await refused(node.cri.call('RunPodSandbox', {config: node.podConfig({linux})}), 'INTERNAL', 'agent');
    await node.noLeaks();
    await node.stopDaemon();
    await node.startDaemon();
});

test('a node without loop devices refuses host pods and names what it lacks', async () => {
    const poor = await Node.start({flags, cni: false, image: false, within: 'mount --bind /dev/null /dev/loop-control'});
    try {
        await refused(poor.cri.call('RunPodSandbox', {config: poor.podConfig({linux})}), 'FAILED_PRECONDITION', '/dev/loop-control');
        assert.deepStrictEqual((await poor.cri.call('ListPodSandbox')).items, []);
    } finally {
        await poor.end();
    }
});

// crun may lift a limit there, for its device filter, which takes CAP_SYS_RESOURCE unless there is none.
const mayFilterDevices = () => (BigInt(`0x${/CapEff:\s*(\w+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]}`) >> 24n & 1n) === 1n ||
    /Max locked memory\s+\S+\s+unlimited/.test(fs.readFileSync('/proc/self/limits', 'utf8'));

test('on a node with cgroups of version 2 alone, host pods and VM pods are in the cgroup that the kubelet names', async (context) => {
    const parent = `/crivirt-test-${process.pid}`, cgroup_parent = `${parent}/pod`;
    const unified = await Node.start({flags, within: 'umount -R /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup'});
    const cgroupOf = (pid) => /^0::(.*)$/m.exec(fs.readFileSync(`/proc/${pid}/cgroup`, 'utf8'))[1];
    try {
        const onNode = await unified.runPod({linux: {...linux, cgroup_parent}}), inVm = await unified.runPod({linux: {cgroup_parent}});
        for (const [pod, pid] of [[onNode, agentPid(onNode)], [inVm, unified.qemuPid(inVm)]])
            assert.strictEqual(cgroupOf(pid), `${cgroup_parent}/crivirt-${pod.id.slice(0, 24)}`);
        if (mayFilterDevices()) {
            const container = await unified.runContainer(onNode, {linux, command: ['/bin/sh', '-c', 'cat /proc/self/cgroup; exec sleep 100000']});
            const line = await eventually('it says where it is', () => fs.existsSync(container.log) && unified.logLines(container)[0]);
            assert.strictEqual(line.text, '0::/');
            const {stats} = await unified.cri.call('ContainerStats', {container_id: container.id});
            assert.ok(BigInt(stats.cpu.usage_core_nano_seconds.value) > 0n);
        } else {
            context.diagnostic('no container was run: crun may not load a device filter here');
        }
        for (const pod of [onNode, inVm])
            await unified.removePod(pod);
        assert.deepStrictEqual(cgroups([onNode.id, inVm.id]), []);
    } finally {
        await unified.end();
        must('sh', '-c', `find /sys/fs/cgroup -depth -type d -path '*${parent}*' -exec rmdir {} +`);
    }
});

test('host.namespaces limits host pods to some namespaces', async (t) => {
    t.after(() => node.restartDaemon());
    const inNamespace = (namespace, more = {}) => {
        const config = node.podConfig(more);
        return {...config, metadata: {...config.metadata, namespace}};
    };
    await node.stopDaemon();
    await node.startDaemon(['--host-pods=namespaces', '--host-namespaces=kube-system,monitoring']);
    const {pod_sandbox_id: id} = await node.cri.call('RunPodSandbox', {config: inNamespace('monitoring', {linux})});
    const {status} = await node.cri.call('PodSandboxStatus', {pod_sandbox_id: id});
    assert.strictEqual(status.runtime_handler, 'host');
    const complaint = ['namespace "shop" may not run on the node itself', 'kube-system, monitoring'];
    await refused(node.cri.call('RunPodSandbox', {config: inNamespace('shop', {linux})}), 'PERMISSION_DENIED', ...complaint);
    await refused(node.cri.call('RunPodSandbox', {config: inNamespace('shop'), runtime_handler: 'host'}), 'PERMISSION_DENIED',
                  ...complaint);
    await node.removePod({id});
});

test('host pods run on after host.pods was set to never, but no new one starts', async (t) => {
    t.after(() => node.restartDaemon());
    const pod = await runHost();
    const container = await node.runContainer(pod, {linux});
    await node.stopDaemon();
    await node.startDaemon(['--host-pods=never']);
    assert.strictEqual(await node.output(container, 'echo on'), 'on');
    await refused(node.cri.call('RunPodSandbox', {config: node.podConfig({linux})}), 'INVALID_ARGUMENT', 'network');
    await refused(node.cri.call('RunPodSandbox', {config: node.podConfig(), runtime_handler: 'host'}), 'INVALID_ARGUMENT', 'host');
    await node.removePod(pod);
});
