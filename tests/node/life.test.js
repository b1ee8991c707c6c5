// SPDX-License-Identifier: Apache-2.0
// The life of a node that runs crivirt from its Debian package: installation, pods under KVM, a crash of the daemon, a
// reboot, an upgrade and a removal. The tests run in this order on one node, because a fresh one costs emulated minutes.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {eventually, must} = require('../integration/support/kit');
const {step, onNodes} = require('./support/steps');

const VERSION = must('dpkg-deb', '-f', process.env.CRIVIRT_DEB, 'Version').trim();
const NEXT_VERSION = `${VERSION}+1`;

let vm, node;
onNodes({life: {}}, ({life}) => {
    node = life;
    vm = node.vm;
});

// Counts from 0 in its log, so that a lost or repeated line shows.
const COUNTER = 'i=0; while :; do echo $i; i=$((i + 1)); sleep 0.2; done';

const daemonPid = () => vm.must('systemctl show -p MainPID --value crivirtd');

async function loggedNumbers(container) {
    const text = await vm.must(`cat ${container.log}`);
    return text.split('\n').filter((line) => line !== '').map((line) => Number(/^\S+ stdout F (\d+)$/.exec(line)?.[1]));
}

// Every number once and in order, and more than before: nothing was lost or written twice, and the log goes on.
async function assertLogIsWhole(container, atLeast = 0) {
    const numbers = await eventually(`the log of container ${container.id} has more than ${atLeast} lines`, async () => {
        const found = await loggedNumbers(container);
        return found.length > atLeast && found;
    });
    assert.deepStrictEqual(numbers, numbers.map((_, i) => i));
    return numbers.length;
}

async function assertRunsAsBefore(pod, container, before) {
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_READY');
    const status = await node.containerStatus(container);
    assert.deepStrictEqual([status.state, status.started_at], ['CONTAINER_RUNNING', before.started_at]);
    assert.strictEqual(await node.output(container, 'echo inside'), 'inside');
}

async function assertUsesKvm({id}) {
    const qemu = await vm.must(`tr '\\0' ' ' < /proc/$(pgrep -f 'qemu-system.*${id.slice(0, 12)}' | head -n 1)/cmdline`);
    assert.match(qemu, /-accel kvm/);
    assert.match(qemu, /"vhost":true/);
}

// ---- the steps ----

let pod, container, before_;

step('the package installs without a network, and its daemon is active and enabled', async () => {
    await node.install();
    assert.strictEqual(await vm.must('systemctl is-active crivirtd; systemctl is-enabled crivirtd'), 'active\nenabled');
});

step('the package loads the kernel modules and sets the sysctls that pods need', async () => {
    const modules = (await vm.must('cut -d " " -f 1 /proc/modules')).split('\n');
    for (const module of ['tun', 'vhost_net', 'erofs', 'loop', 'overlay', 'br_netfilter'])
        assert.ok(modules.includes(module), `${module} is not loaded`);
    assert.strictEqual(await vm.must(`cd /proc/sys/net
        cat ipv4/ip_forward bridge/bridge-nf-call-iptables bridge/bridge-nf-call-ip6tables`), '1\n1\n1');
});

step('QEMU\'s user may use KVM, and doctor finds nothing missing once a network is configured', async () => {
    assert.match(await vm.must('id -nG libvirt-qemu'), /\bkvm\b/);
    await node.configure();
    const {stdout} = await vm.run('crivirt doctor');
    assert.match(stdout, /^ok +KVM: KVM$/m);
    assert.doesNotMatch(stdout, /^(MISSING|warning)/m);
});

step('a pod from an image archive runs under KVM, as its guest says', async () => {
    await node.loadBusybox();
    pod = await node.runPod('first');
    container = await node.runContainer(pod, 'shell', 'exec sleep 1000000', {linux: {security_context: {privileged: true}}});
    const line = await node.output(container, 'dmesg | grep "Hypervisor detected"');
    process.stdout.write(`the guest says: ${line}\n`);
    assert.match(line, /Hypervisor detected: KVM/);
    await assertUsesKvm(pod);
});

step('crivirt exec runs a command in a container', async () => {
    assert.strictEqual(await vm.must(`crivirt exec ${container.id} echo inside`), 'inside');
});

// A container's clock and the node's, in seconds.
async function clocks() {
    const before = Number(await vm.must('date +%s'));
    const inside = Number(await node.output(container, 'date +%s'));
    return {before, inside, after: Number(await vm.must('date +%s'))};
}

step('a step of the node\'s clock reaches the guest that runs', async () => {
    for (const move of ['+1 hour', '-1 hour']) {
        const start = Number(await vm.must('date +%s'));
        await vm.must(`date -s "${move}" > /dev/null`);
        const {before} = await clocks();
        assert.ok(Math.abs(before - start) > 3000, `the node's clock went from ${start} to ${before}`);
        await eventually('the guest has the time of the node', async () => {
            const shown = await clocks();
            return shown.inside >= shown.before - 2 && shown.inside <= shown.after + 2;
        });
    }
    assert.match(await vm.must('journalctl -u crivirtd -o cat'), /the node's clock was set by \+3\d\d\d/);
});

step('a container is created with the swap limit that the kubelet sends on cgroup v2', async () => {
    const limited = await node.runContainer(pod, 'limited', 'exec sleep 1000000', {
        linux: {resources: {memory_limit_in_bytes: 64 << 20, memory_swap_limit_in_bytes: 64 << 20, unified: {'memory.swap.max': '0'}}},
    });
    assert.strictEqual(await node.output(limited, 'cat /sys/fs/cgroup/memory.max'), String(64 << 20));
});

step('a container and its node share a volume', async () => {
    await vm.must('mkdir -p /srv/volume; echo of the node > /srv/volume/node');
    const sharing = await node.runContainer(pod, 'sharing', 'exec sleep 1000000',
        {mounts: [{container_path: '/volume', host_path: '/srv/volume'}]});
    assert.strictEqual(await node.output(sharing, 'cat /volume/node; echo of the guest > /volume/guest'), 'of the node');
    assert.strictEqual(await vm.must('cat /srv/volume/guest'), 'of the guest');
});

// What each process of the pod has, by its name: "oom_score_adj/limit of core files". VMs of the pool have other scores.
const processesOfVm = async () => Object.fromEntries((await vm.must(`
    for pid in $(pgrep -f ${pod.id.slice(0, 12)}); do
        echo "$(cat /proc/$pid/comm) $(cat /proc/$pid/oom_score_adj)/$(awk '/^Max core/ { print $5 }' /proc/$pid/limits)"
    done | grep -E '^(qemu-system|virtiofsd|crivirt-fsguard|fsguard-standby)' | sort -u`)).split('\n').map((line) => line.split(' ')).map(([name, values]) => [name.replace(/-.*/, ''), values]));

step('under its unit the daemon is protected from the OOM killer, and its children have the scores of their pod', async () => {
    const pid = await daemonPid();
    assert.strictEqual(await vm.must(`cat /proc/${pid}/oom_score_adj`), '-999');
    assert.match(await vm.must(`grep 'core file' /proc/${pid}/limits`), /^Max core file size +0 +0 /);
    assert.deepStrictEqual(await processesOfVm(), {crivirt: '-998/0', fsguard: '-998/0', qemu: '0/0', virtiofsd: '0/0'});
    // As the kubelet does for a Guaranteed pod.
    await node.runContainer(pod, 'guaranteed', 'exec sleep 1000000', {linux: {resources: {oom_score_adj: -997}}});
    assert.deepStrictEqual(await processesOfVm(), {crivirt: '-998/0', fsguard: '-998/0', qemu: '-997/0', virtiofsd: '-997/0'});
    await node.removePod(pod);
});

// ---- systemd's cgroup driver ----

// Makes the slice of a pod as the kubelet's driver "systemd" does, and returns the path that the kubelet sends.
async function makeSlice(name, memoryMax) {
    const slice = `kubepods-burstable-pod${name}.slice`;
    await vm.must(`busctl call -q org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \\
        StartTransientUnit 'ssa(sv)a(sa(sv))' ${slice} replace 5 MemoryAccounting b true CPUAccounting b true \\
        TasksAccounting b true DefaultDependencies b false MemoryMax t ${memoryMax} 0`);
    const cgroup = `/kubepods.slice/kubepods-burstable.slice/${slice}`;
    await eventually(`there is ${cgroup}`, async () => (await vm.run(`test -d /sys/fs/cgroup${cgroup}`)).code === 0);
    return {slice, cgroup};
}

// The kubelet changes a property of the slice to resize a pod, and systemd then applies what it has a record of.
async function changeSlice({slice}, memoryMax) {
    await vm.must(`systemctl set-property --runtime ${slice} MemoryMax=${memoryMax}; systemctl daemon-reload`);
    await eventually('systemd has set the limit', async () =>
        (await vm.must(`cat /sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/${slice}/memory.max`)) === String(memoryMax));
}

async function assertOomKilled(one, more) {
    const hungry = await node.runContainer(one, 'hungry', 'exec dd if=/dev/zero of=/dev/null bs=128M count=9', more);
    const {exit_code, reason} = await eventually('the container has ended', async () => {
        const status = await node.containerStatus(hungry);
        return status.state === 'CONTAINER_EXITED' && status;
    });
    assert.deepStrictEqual([exit_code, reason], [137, 'OOMKilled']);
}

const resources = {memory_limit_in_bytes: 64 << 20, cpu_quota: 50000, cpu_period: 100000};
const limits = {resources: {...resources, unified: {'memory.swap.max': '0'}}};

step('a VM in a slice of systemd keeps its CPU limit and its CPUs when the slice changes, and its container is OOMKilled', async (t) => {
    await vm.setSecondCpu(true);
    t.after(() => vm.setSecondCpu(false));
    for (const [name, memoryMax, place] of [['roomy', 2 ** 30, 'SLICE/crivirt-ID.scope'],
                                            ['narrow', 2 ** 26, 'SLICE/../crivirt-ID-beside.scope']]) {
        const {slice, cgroup} = await makeSlice(name, memoryMax);
        const one = await node.runPod(name, {linux: {cgroup_parent: cgroup, resources}});
        await node.call('UpdatePodSandboxResources', {pod_sandbox_id: one.id, resources});
        await node.runContainer(one, 'pinned', 'exec sleep 1000000', {linux: {resources: {...resources, cpuset_cpus: '1'}}});
        const scope = `/sys/fs/cgroup${place.replace('SLICE', cgroup).replace('ID', one.id.slice(0, 24))}`;
        const look = () => vm.must(`cat ${scope}/cpu.max ${scope}/cpuset.cpus; tr '\\0' ' ' < /proc/$(head -n 1 ${scope}/cgroup.procs)/cmdline | cut -c 1-40
            cat ${scope}/memory.max; systemctl is-active $(basename ${scope})`);
        const before = await look();
        assert.match(before, /^50000 100000\n1\n.*qemu-system.*\nmax\nactive$/);
        await changeSlice({slice}, memoryMax + 2 ** 20);
        assert.strictEqual(await look(), before);
        await assertOomKilled(one, {linux: limits});
        await node.removePod(one);
        assert.strictEqual(await vm.must(`ls -d ${scope} 2>/dev/null || true; systemctl stop ${slice}`), '');
        assert.strictEqual(await vm.must('systemctl list-units --all --no-legend "crivirt-*.scope"'), '');
    }
});

step('a host pod\'s container in a slice of systemd keeps its limits when the slice changes, and is OOMKilled', async () => {
    const {slice, cgroup} = await makeSlice('host', 2 ** 29);
    const security_context = {namespace_options: {network: 'NODE', pid: 'CONTAINER'}};
    const one = await node.runPod('host', {linux: {cgroup_parent: cgroup, security_context}});
    assert.strictEqual((await node.podStatus(one)).runtime_handler, 'host');
    const limited = await node.runContainer(one, 'limited', 'exec sleep 1000000', {linux: {...limits, security_context}});
    const look = () => vm.must(`cd /sys/fs/cgroup${cgroup}/crivirt-${limited.id}; cat memory.max memory.swap.max cpu.max`);
    assert.strictEqual(await look(), `${64 << 20}\n0\n50000 100000`);
    await changeSlice({slice}, 2 ** 29 + 2 ** 20);
    assert.strictEqual(await look(), `${64 << 20}\n0\n50000 100000`);
    await assertOomKilled(one, {linux: {...limits, security_context}});
    await node.removePod(one);
    assert.strictEqual(await vm.must(`find /sys/fs/cgroup${cgroup} -name 'crivirt-*'; systemctl stop ${slice}`), '');
});

step('a pod goes on when the daemon is killed, and systemd starts the next daemon, which takes it over', async () => {
    pod = await node.runPod('second');
    container = await node.runContainer(pod, 'counter', COUNTER);
    before_ = await node.containerStatus(container);
    const lines = await assertLogIsWhole(container);
    const pid = await daemonPid();
    await vm.must(`kill -KILL ${pid}`);
    await eventually('systemd has started another daemon', async () => ![pid, '0'].includes(await daemonPid()));
    await node.answers();
    await assertRunsAsBefore(pod, container, before_);
    await assertLogIsWhole(container, lines + 10);
});

step('systemctl reload applies a change of the configuration, and fails for a file with an error', async () => {
    const pid = await daemonPid();
    const dropIn = (line) => vm.run(`mkdir -p /etc/crivirt/crivirt.toml.d
        printf '[log]\\n%s\\n' '${line}' >/etc/crivirt/crivirt.toml.d/test.toml; systemctl reload crivirtd`);
    assert.strictEqual((await dropIn('level = "debug"')).code, 0);
    await eventually('the change is in the log', async () =>
        /log\.level changes from .*info.* to .*debug/.test(await vm.must('journalctl -b -u crivirtd -o cat')));
    assert.notStrictEqual((await dropIn('level = "loud"')).code, 0);
    await vm.must('rm -r /etc/crivirt/crivirt.toml.d; systemctl reload crivirtd');
    assert.strictEqual(await vm.must('systemctl is-active crivirtd'), 'active');
    assert.strictEqual(await daemonPid(), pid);
    await assertRunsAsBefore(pod, container, before_);
});

step('systemd replaces a daemon that no longer feeds its watchdog, and the pod goes on', async () => {
    const override = '/run/systemd/system/crivirtd.service.d';
    await vm.must(`mkdir -p ${override}; printf '[Service]\\nWatchdogSec=20\\n' >${override}/test.conf
        systemctl daemon-reload; systemctl restart crivirtd`);
    await node.answers();
    const pid = await daemonPid();
    await vm.must(`kill -STOP ${pid}`);
    await eventually('systemd has started another daemon', async () => ![pid, '0'].includes(await daemonPid()));
    assert.match(await vm.must('journalctl -b -u crivirtd -o cat'), /Watchdog timeout/);
    await vm.must(`rm -r ${override}; systemctl daemon-reload; systemctl restart crivirtd`);
    await node.answers();
    await assertRunsAsBefore(pod, container, before_);
});

step('after a reboot the pods are recorded as ended, and can be removed', async () => {
    await vm.reboot();
    await node.answers();
    assert.strictEqual((await node.podStatus(pod)).state, 'SANDBOX_NOTREADY');
    const {state, exit_code, reason} = await node.containerStatus(container);
    assert.deepStrictEqual([state, exit_code, reason], ['CONTAINER_EXITED', 255, 'Unknown']);
    assert.deepStrictEqual((await node.call('ListContainers', {filter: {state: {state: 'CONTAINER_RUNNING'}}})).containers, []);
    await node.removePod(pod);
    assert.deepStrictEqual((await node.call('ListPodSandbox')).items, []);
    // VMs of the pool have addresses, too (docs/networking.md).
    assert.strictEqual(await vm.must(`for file in /var/lib/cni/networks/crivirt/10.*; do
        [ ! -e "$file" ] || [ -e "/var/lib/crivirt/guests/$(head -n 1 "$file" | tr -d '\\r')" ] || echo "$file"
    done`), '', 'an address is still taken');
});

step('after a reboot the daemon uses KVM as before', async () => {
    pod = await node.runPod('third');
    await assertUsesKvm(pod);
});

step('an upgrade to a higher version leaves a running container as it is', async () => {
    container = await node.runContainer(pod, 'counter', COUNTER);
    before_ = await node.containerStatus(container);
    assert.strictEqual(await node.output(container, 'echo inside'), 'inside');
    const lines = await assertLogIsWhole(container);
    const pid = await daemonPid();
    await vm.copy(nextPackage(), '/root/next.deb');
    await vm.must('DEBIAN_FRONTEND=noninteractive dpkg -i /root/next.deb');
    assert.strictEqual(await vm.must('dpkg-query -W -f \'${Version}\' crivirt'), NEXT_VERSION);
    assert.notStrictEqual(await daemonPid(), pid);
    assert.strictEqual(await vm.must('systemctl is-active crivirtd'), 'active');
    await assertRunsAsBefore(pod, container, before_);
    await assertLogIsWhole(container, lines + 10);
    assert.match(await vm.must('cat /etc/crivirt/crivirt.toml'), /boot_timeout = "10m"/);
    await node.removePod(pod);
});

// The same package with a higher version.
function nextPackage() {
    const unpacked = path.join(vm.dir, 'next'), control = path.join(unpacked, 'DEBIAN/control');
    must('dpkg-deb', '-R', process.env.CRIVIRT_DEB, unpacked);
    fs.writeFileSync(control, fs.readFileSync(control, 'utf8').replace(/^Version: .*$/m, `Version: ${NEXT_VERSION}`));
    must('dpkg-deb', '--root-owner-group', '-Zgzip', '-z1', '-b', unpacked, `${unpacked}.deb`);
    return `${unpacked}.deb`;
}

step('RunPodSandbox reports QEMU\'s own reason at once when QEMU may no longer use KVM', async () => {
    const reported = /Permission denied/;
    // Of all the VMs so far; udev changes the device's permissions at each.
    assert.strictEqual(await vm.must('journalctl -u crivirtd --no-pager | grep "failed to initialize kvm" || true'), '');
    await vm.must('chmod 600 /dev/kvm');
    // The first pods may get a VM of the pool, which runs already.
    let error;
    for (let i = 0; error === undefined && i < 4; i++)
        await node.runPod(`refused${i}`).then((one) => node.removePod(one), (thrown) => { error = thrown; });
    await vm.must('chmod 660 /dev/kvm');
    assert.match(error?.details ?? 'no pod was refused', reported);
    pod = await node.runPod('allowed');
    await node.removePod(pod);
});

step('a removal ends the daemon and all its VMs, and keeps configuration and state', async () => {
    await vm.must('dpkg -r crivirt');
    assert.strictEqual(await vm.must('pgrep -l "crivirt|qemu-system|virtiofsd" || true'), '');
    assert.strictEqual(await vm.must('ls -d /etc/crivirt/crivirt.toml /var/lib/crivirt'), '/etc/crivirt/crivirt.toml\n/var/lib/crivirt');
});

step('a purge leaves nothing of crivirt', async () => {
    await vm.must('dpkg -P crivirt');
    // What the administrator (this test) and CNI made is not the package's.
    assert.strictEqual(await vm.must(`find / -ignore_readdir_race -xdev \\
        \\( -path /root -o -path /etc/cni -o -path /var/lib/cni \\) -prune \\
        -o -name '*crivirt*' -print; find /run -ignore_readdir_race -name '*crivirt*'`), '');
    assert.strictEqual(await vm.must('dpkg-query -W -f \'${Status}\' crivirt 2>/dev/null || echo unknown'), 'unknown');
    assert.strictEqual(await vm.must('ls /run/netns 2>/dev/null || true; ip -o link | grep -c tap || true'), '0');
});
