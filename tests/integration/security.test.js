// SPDX-License-Identifier: Apache-2.0
'use strict';
// The security context of containers and pods, seen from inside the guest.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test, before, after} = require('node:test');
const {Node} = require('./support/node');
const {makeImage} = require('./support/images');
const {eventually, refused, must} = require('./support/kit');

const IMAGE = 'docker.io/tests/users:latest';
const CHOWN = 1n << 0n, BIND = 1n << 10n, NET_RAW = 1n << 13n, SYS_ADMIN = 1n << 21n;

let node, pod;
before(async () => {
    node = await Node.start();
    await node.cri.call('LoadImage', {path: makeImage(node, IMAGE, {User: 'app'}, (dir) => {
        fs.mkdirSync(path.join(dir, 'etc'));
        fs.writeFileSync(path.join(dir, 'etc/passwd'), 'root:x:0:0::/:/bin/sh\napp:x:1001:1002::/home:/bin/sh\n');
        fs.writeFileSync(path.join(dir, 'etc/group'), 'root:x:0:\napp:x:1002:\nextra:x:5000:app\n');
    })});
    pod = await node.runPod();
});
after(() => node.end());

const run = (security_context, more = {}, where = pod) => node.runContainer(where, {linux: {security_context}, ...more});

// The output of a script in a container with that security context.
async function says(security_context, script, more, where) {
    const container = await run(security_context, more, where);
    try {
        return await node.output(container, script);
    } finally {
        await node.remove(container);
    }
}

// The processes of a pod's virtiofsd.
const serversOf = (one) => must('pgrep', '-f', `^[^ ]*virtiofsd.*${one.id.slice(0, 24)}`).trim().split('\n');

// {eff, bnd, amb, …} of /proc/self/status.
async function capabilities(security_context) {
    const text = await says(security_context, 'grep ^Cap /proc/self/status');
    return Object.fromEntries(text.split('\n').map((line) => [line.slice(3, 6).toLowerCase(), BigInt(`0x${line.split(/\s+/)[1]}`)]));
}

test('capabilities can be added and dropped, one or ALL, and made ambient', async () => {
    const usual = await capabilities({});
    assert.ok(usual.eff & CHOWN && !(usual.eff & SYS_ADMIN));
    assert.strictEqual((await capabilities({capabilities: {drop_capabilities: ['ALL']}})).eff, 0n);
    assert.strictEqual((await capabilities({capabilities: {drop_capabilities: ['ALL'], add_capabilities: ['NET_RAW']}})).bnd, NET_RAW);
    const all = await capabilities({capabilities: {add_capabilities: ['ALL'], drop_capabilities: ['CHOWN']}});
    assert.ok(all.eff & SYS_ADMIN && !(all.eff & CHOWN));
    const ambient = await capabilities({run_as_user: {value: 1000}, capabilities: {add_ambient_capabilities: ['NET_BIND_SERVICE']}});
    assert.deepStrictEqual([ambient.eff, ambient.amb], [BIND, BIND]);
    assert.strictEqual((await capabilities({run_as_user: {value: 1000}})).eff, 0n);
    await refused(run({capabilities: {add_capabilities: ['FLY']}}), 'INVALID_ARGUMENT', 'FLY');
});

test('a privileged container has full access to the guest and none to the node', async () => {
    const script = 'grep CapEff /proc/self/status; mkdir /t; mount -t tmpfs none /t && echo mounted; ls /dev/kmsg; cat /proc/sys/kernel/random/boot_id; grep " /sys " /proc/mounts';
    const paths = {masked_paths: ['/proc/kcore', '/proc/acpi'], readonly_paths: ['/proc/sys']}; // the kubelet sends them all the same
    const lines = (await says({privileged: true, ...paths}, `${script}; echo crivirt > /proc/sys/kernel/domainname && echo written
        grep -c "/proc/" /proc/mounts || true`)).split('\n');
    assert.match(lines[0], /0000\d+1ffffffffff|000001ffffffffff/);
    assert.deepStrictEqual(lines.slice(1, 3), ['mounted', '/dev/kmsg']);
    assert.notStrictEqual(lines[3], fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
    assert.match(lines[4], / rw,/);
    assert.deepStrictEqual(lines.slice(5), ['written', '0']);
    assert.notStrictEqual(await says({}, 'mkdir /t; mount -t tmpfs none /t 2>&1 || echo no'), 'mounted');
});

test('root of a guest that mounts the share again writes to volumes only, and makes no device files there', async () => {
    const data = path.join(node.dir, 'share-data'), fixed = path.join(node.dir, 'share-fixed');
    const looksLike = path.join(node.dir, 'other/volumes/kubernetes.io~empty-dir/fixed');
    for (const dir of [data, fixed, looksLike])
        fs.mkdirSync(dir, {recursive: true});
    const other = await node.runPod();
    const container = await run({privileged: true}, {mounts: [
        {container_path: '/data', host_path: data}, {container_path: '/fixed', host_path: fixed, readonly: true},
        {container_path: '/like', host_path: looksLike, readonly: true},
    ]}, other);
    const fails = async (command) => (await node.exec(container, command)).stderr;
    await node.output(container, 'mkdir /again; mount -t virtiofs crivirt /again');
    for (const command of ['touch /again/x', 'mkdir /again/d', 'mkfifo /again/fifo', `ln -s / /again/${container.id}/9`,
                           `mv /again/${container.id} /again/moved`, `rmdir /again/${container.id}/0`, 'chmod 777 /again'])
        assert.match(await fails(command), /Read-only|busy/, command);
    // The mounts are writable for the guest's kernel; the node refuses.
    await node.output(container, 'mount -o remount,rw,bind /fixed; mount -o remount,rw,bind /like');
    for (const command of ['touch /fixed/x', 'touch /like/x', `touch /again/${container.id}/1/x`, 'touch "$(echo /again/v/*)/x"'])
        assert.match(await fails(command), /Read-only/, command);
    await node.output(container, `echo one >/data/file; echo two >/again/${container.id}/0/again; mkfifo /data/fifo`);
    assert.deepStrictEqual(fs.readdirSync(data).sort(), ['again', 'fifo', 'file']);
    // A device file of the node cannot be made, by either path.
    for (const where of ['/data', `/again/${container.id}/0`])
        for (const kind of ['b 8 0', 'c 1 3'])
            assert.match(await fails(`mknod ${where}/device ${kind}`), /not permitted/, `${where} ${kind}`);
    assert.ok(!fs.existsSync(path.join(data, 'device')));
    // A setuid program is a file of the volume as any other; what serves it has nosuid, and no capabilities but these.
    await node.output(container, 'cp /bin/busybox /data/su; chmod 4755 /data/su');
    assert.strictEqual(fs.statSync(path.join(data, 'su')).mode & 0o7777, 0o4755);
    const expected = 0xdbn; // chown, dac_override, fowner, fsetid, setgid, setuid
    const servers = serversOf(other);
    for (const pid of servers) {
        const mounts = fs.readFileSync(`/proc/${pid}/mountinfo`, 'utf8').trim().split('\n').map((line) => line.split(' '));
        for (const mount of mounts.filter(([,,,, target]) => target === '/' || target.startsWith(`/${container.id}`)))
            assert.match(mount[5], mount[4] === '/' ? /^ro,nosuid,nodev/ : /nosuid,nodev/, mount.join(' '));
        const effective = BigInt(`0x${/^CapEff:\s+(\w+)/m.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]}`);
        assert.strictEqual(effective & ~expected, 0n, `process ${pid} has the capabilities ${effective.toString(16)}`);
    }
    assert.ok(servers.some((pid) => /^Seccomp:\s+2/m.test(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))), 'no filter');
    // What comes later appears, also under the mount that the guest has made, and everything can be removed.
    const later = await run({privileged: true}, {mounts: [{container_path: '/data', host_path: data}]}, other);
    assert.strictEqual(await node.output(later, 'cat /data/file'), 'one');
    assert.strictEqual(await node.output(container, `cat /again/${later.id}/0/file`), 'one');
    await node.remove(later);
    await node.removePod(other);
    assert.strictEqual(fs.readFileSync(path.join(data, 'file'), 'utf8'), 'one\n');
});

// An earlier daemon left the root of the share writable, and this one adopts its guests.
test('whatever a guest has put at the root of its share, containers start, the daemon restarts and the pod can be removed', async () => {
    const data = path.join(node.dir, 'hostile-data'), outside = path.join(node.dir, 'outside');
    const other = await node.runPod();
    const volume = path.join(node.dir, `kubelet/pods/${other.config.metadata.uid}/volumes/kubernetes.io~empty-dir/joint`);
    for (const dir of [data, outside, volume])
        fs.mkdirSync(dir, {recursive: true});
    const mounts = [{container_path: '/data', host_path: data}, {container_path: '/joint', host_path: volume}];
    const container = await run({privileged: true}, {mounts: [mounts[0]]}, other);
    for (const pid of serversOf(other))
        must('mount', '-N', pid, '-o', 'remount,bind,rw', '/');
    // Return: a container with the common volume, which works and whose mount point has not been made outside.
    const works = async () => {
        let one;
        // The guest itself sees for a second what it had there.
        await eventually('a container starts', async () => (one = await run({privileged: true}, {mounts}, other).catch(() => null)));
        await node.output(one, 'echo good >/joint/file; echo good >/data/file');
        assert.strictEqual(fs.readFileSync(path.join(volume, 'file'), 'utf8'), 'good\n');
        assert.deepStrictEqual(fs.readdirSync(outside), []);
        return one;
    };
    const deep = (where) => `(cd ${where} && i=0 && while [ $i -lt 400 ]; do mkdir d && cd -P d || exit 1; i=$((i+1)); done) 2>/dev/null`;
    await node.output(container, 'mkdir /again; mount -t virtiofs crivirt /again; mkfifo /again/v; cp /bin/busybox /again/su; chmod 4755 /again/su');
    await node.remove(await works());
    await node.output(container, `rmdir /again/v; ln -s ${outside} /again/v`);
    const later = await works();
    assert.notStrictEqual((await node.exec(container, 'mknod /again/disk b 8 0')).exit_code, 0);
    // Deep trees, in what a container's removal removes and in what the pod's does; and a directory of binds that leads outside.
    await node.output(container, `mkdir /again/deep; ${deep('/again/deep')}; ${deep(`/again/${later.id}`)}`);
    await node.output(container, `mv /again/${container.id} /again/moved; ln -s ${outside} /again/${container.id}; mkfifo /again/${later.id}/7`);
    await node.restartDaemon('SIGKILL');
    await node.remove(later);
    await node.remove(await works());
    await node.remove(container);
    await node.removePod(other);
    assert.deepStrictEqual(fs.readdirSync(outside), []);
    assert.deepStrictEqual(fs.readdirSync(data), ['file']);
    assert.doesNotMatch(must('find', node.runDir, '-name', `*${other.id.slice(0, 20)}*`), /./);
});

// The ids of a process: of its users, groups, and further groups.
const ids = (pid) => ['Uid', 'Gid', 'Groups'].map((key) => new RegExp(`^${key}:\\s+(.*)$`, 'm')
    .exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1].trim().split(/\s+/));
const guardsOf = (one) => must('pgrep', '-f', `crivirt-fsguard.*${one.id.slice(0, 24)}`).trim().split('\n');

test('a process with the user of one QEMU reads neither the memory nor the disk nor the sockets of another VM', async () => {
    const other = await node.runPod();
    const data = path.join(node.dir, 'neighbour-data');
    fs.mkdirSync(data);
    await run({}, {mounts: [{container_path: '/data', host_path: data}]}, other);
    const [mine, theirs] = [pod, other].map((one) => ids(node.qemuPid(one)));
    assert.notStrictEqual(mine[0][0], theirs[0][0]);
    for (const [uids, gids, groups] of [mine, theirs]) {
        assert.ok(Number(uids[0]) >= 2000000000, uids[0]);
        assert.deepStrictEqual(new Set([...uids, ...gids, ...groups]), new Set([uids[0]]));
    }
    const [user] = mine[0];
    // Those of the paths that the user can read.
    const reads = (paths) => must('setpriv', '--reuid', user, '--regid', user, '--clear-groups', '--inh-caps=-all', 'sh', '-c',
        'for path; do if [ -d "$path" ]; then ls "$path"; else cat "$path"; fi >/dev/null 2>&1 && echo "$path"; done; true', 'sh', ...paths)
        .split('\n').filter(Boolean);
    const qemuPaths = (one) => {
        const pid = node.qemuPid(one);
        const memory = fs.readdirSync(`/proc/${pid}/fd`).find((fd) => fs.readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith('/memfd:'));
        const sockets = must('find', path.join(node.stateDir, 'libvirt/lib/qemu'), '-name', `*-${one.id.slice(0, 20)}`).trim().split('\n');
        return [`/proc/${pid}/fd`, `/proc/${pid}/fd/${memory}`, `/proc/${pid}/maps`, ...sockets,
                path.join(node.runDir, 'vm', one.id.slice(0, 24)), path.join(node.stateDir, 'pods', one.id.slice(0, 24), 'upper.ext4')];
    };
    const layers = must('find', path.join(node.stateDir), '-path', '*/layers/*', '-type', 'f').trim().split('\n');
    assert.deepStrictEqual(reads(qemuPaths(pod)), qemuPaths(pod)); // its own: the attempts are good ones
    assert.deepStrictEqual(reads(qemuPaths(other)), []);
    assert.ok(layers.length > 1);
    assert.deepStrictEqual(reads(layers), []); // also its own, once QEMU has opened them
    // Nor can it use the file server of the other's volumes, which belongs to the other's user.
    for (const pid of guardsOf(other))
        assert.strictEqual(ids(pid)[0][0], theirs[0][0]);
    await node.restartDaemon('SIGKILL');
    const third = await node.runPod();
    const third_user = ids(node.qemuPid(third))[0][0];
    assert.ok(third_user !== mine[0][0] && third_user !== theirs[0][0], 'a restart has forgotten who has which user');
    await run({}, {mounts: [{container_path: '/data', host_path: data}]}, pod); // its file server starts only now
    assert.deepStrictEqual(reads(qemuPaths(other)), []);
    await node.removePod(third);
    await node.removePod(other);
});

test('a QEMU has a /dev of its own, with the devices of its VM and no other device file of the node', async () => {
    const pid = node.qemuPid(pod);
    const seen = must('find', `/proc/${pid}/root/dev`, '-xdev', '(', '-type', 'b', '-o', '-type', 'c', ')', '-printf', '%P\n')
        .trim().split('\n');
    const usual = ['full', 'kvm', 'null', 'ptmx', 'random', 'urandom', 'zero'];
    assert.deepStrictEqual(seen.filter((name) => !usual.includes(name)), []);
    assert.ok(seen.includes('null') && fs.existsSync('/dev/net/tun') && !fs.existsSync(`/proc/${pid}/root/dev/net/tun`));
    // What the node mounts and removes later follows.
    const mounts = () => fs.readFileSync(`/proc/${pid}/mountinfo`, 'utf8').split('\n').filter((line) => line.includes(other.id));
    const other = await node.runPod();
    await node.removePod(other);
    assert.deepStrictEqual(mounts(), []);
});

test('VMs of a daemon that gave all the same user keep it, work on, and leave nothing', () =>
    Node.use({flags: ['--vm-users=0']}, async (own) => {
        const old = await own.runPod();
        const data = path.join(own.dir, 'data');
        fs.mkdirSync(data);
        const container = await own.runContainer(old);
        const account = ids(own.qemuPid(old))[0][0];
        assert.strictEqual(account, must('id', '-u', 'libvirt-qemu').trim());
        own.flags[own.flags.indexOf('--vm-users=0')] = '--vm-users=2';
        await own.restartDaemon();
        // A layer, and a file server that starts only now.
        const later = await own.runContainer(old, {mounts: [{container_path: '/data', host_path: data}]});
        assert.strictEqual(await own.output(later, 'echo good >/data/x; cat /data/x'), 'good');
        assert.strictEqual(await own.output(container, 'echo good'), 'good');
        for (const pid of guardsOf(old))
            assert.strictEqual(ids(pid)[0][0], account);
        const pods = [await own.runPod(), await own.runPod()];
        assert.deepStrictEqual(pods.map((one) => ids(own.qemuPid(one))[0][0]).sort(), ['2000000000', '2000000001']);
        await refused(own.runPod(), 'RESOURCE_EXHAUSTED', 'hypervisor.vm_users');
        await own.removePod(pods[0]);
        await own.removePod(await own.runPod());
    }));

test('a container runs with the default seccomp profile, with one from a file of the node, or with none', async () => {
    const mode = 'grep ^Seccomp: /proc/self/status | tr -d "[:space:]"';
    const profile = path.join(node.dir, 'no-mkdir.json');
    fs.writeFileSync(profile, JSON.stringify({
        defaultAction: 'SCMP_ACT_ALLOW', syscalls: [{names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1}],
    }));
    assert.strictEqual(await says({seccomp: {profile_type: 'RuntimeDefault'}}, mode), 'Seccomp:2');
    assert.strictEqual(await says({seccomp: {profile_type: 'Unconfined'}}, mode), 'Seccomp:0');
    assert.strictEqual(await says({privileged: true, seccomp: {profile_type: 'RuntimeDefault'}}, mode), 'Seccomp:0');
    const local = {seccomp: {profile_type: 'Localhost', localhost_ref: profile}};
    assert.match(await says(local, 'mkdir /x 2>&1; touch /y && echo other'), /not permitted\nother$/);
    // The default profile allows no new user namespaces without the capability.
    assert.match(await says({seccomp: {profile_type: 'RuntimeDefault'}}, 'unshare -U true 2>&1 || echo no'), /not permitted[^]*no$/);
    await refused(run({seccomp: {profile_type: 'Localhost', localhost_ref: '/no/such.json'}}), 'NOT_FOUND', '/no/such.json');
});

test('users and groups come from the request and the image, by either policy', async () => {
    const of = (context, more) => says(context, 'id -u; id -g; id -G', {image: {image: IMAGE}, ...more}).then((text) => text.split('\n'));
    assert.deepStrictEqual(await of({}), ['1001', '1002', '1002 5000']);
    assert.deepStrictEqual(await of({run_as_username: 'app', supplemental_groups: [77]}), ['1001', '1002', '1002 77 5000'].map(String));
    assert.deepStrictEqual(await of({supplemental_groups: [77], supplemental_groups_policy: 'Strict'}), ['1001', '1002', '1002 77']);
    assert.deepStrictEqual(await of({run_as_user: {value: 4242}, run_as_group: {value: 99}}), ['4242', '99', '99']);
    assert.deepStrictEqual(await of({run_as_user: {value: 1001}}), ['1001', '1002', '1002 5000']);
    await refused(run({run_as_group: {value: 1}}), 'INVALID_ARGUMENT', 'run_as_group');
    await refused(run({run_as_username: 'nobody-here'}), 'INVALID_ARGUMENT', 'nobody-here');
});

test('an image with links that lead out of it, files at mount points and device files stays inside its root', async () => {
    const name = 'docker.io/tests/hostile:latest', image = {image: name};
    await node.cri.call('LoadImage', {path: makeImage(node, name, {WorkingDir: '/climb/work'}, (dir) => {
        fs.mkdirSync(path.join(dir, 'run/crivirt/sandbox'), {recursive: true}); // as the guest has, for its own ends
        fs.symlinkSync('../../../../../../run/crivirt/sandbox', path.join(dir, 'etc'));
        fs.symlinkSync('/nowhere', path.join(dir, 'dangling'));
        fs.symlinkSync('/../../../../../../run/crivirt', path.join(dir, 'climb'));
        fs.symlinkSync('climb/../crivirt', path.join(dir, 'twice'));
        fs.writeFileSync(path.join(dir, 'plain'), 'plain');
        must('mknod', path.join(dir, 'disk'), 'b', '8', '0');
    })});
    const data = path.join(node.dir, 'hostile'), file = path.join(data, 'file');
    fs.mkdirSync(data);
    fs.writeFileSync(file, 'of the volume');
    const mount = (container_path, host_path = data) => ({container_path, host_path});
    const container = await run({masked_paths: ['/twice/volume/file'], readonly_paths: ['/climb/part']},
                                {image, mounts: [mount('/twice/volume'), mount('/climb/part'), mount('/climb/one', file)]});
    // Every link leads to a place inside the root.
    const lines = (await node.output(container, 'cd /run/crivirt; cat part/file; echo; cat one; echo; wc -c <volume/file; pwd; ' +
        'grep -c ^127 sandbox/hosts; touch part/x 2>&1 | grep -o Read-only; ls -d work')).split('\n');
    assert.deepStrictEqual(lines, ['of the volume', 'of the volume', '0', '/run/crivirt', '1', 'Read-only', 'work']);
    // The cgroup's device filter decides which device files may be opened.
    for (const device of ['/disk', '/tmp/disk'])
        assert.match((await node.exec(container, `mkdir -p /tmp; mknod /tmp/disk b 8 0; head -c 1 ${device}`)).stderr, /not permitted/);
    for (const where of ['/plain', '/plain/below'])
        assert.match((await run({}, {image, mounts: [mount(where)]}).catch((error) => error)).details, /plain/);
    await node.remove(container);
    // The target of a link that leads nowhere is made, inside the root.
    const dangling = await run({}, {image, mounts: [mount('/dangling/volume')]});
    assert.strictEqual(await node.output(dangling, 'cat /nowhere/volume/file'), 'of the volume');
    await node.remove(dangling);
    // The same for a link in a volume, which another mount covers.
    const outer = path.join(node.dir, 'outer');
    fs.mkdirSync(outer);
    fs.symlinkSync('made/here', path.join(outer, 'linked'));
    const nested = await run({}, {image, mounts: [mount('/volume', outer), mount('/volume/linked')]});
    assert.strictEqual(await node.output(nested, 'cat /volume/made/here/file'), 'of the volume');
    await node.remove(nested);
    // The guest's own files are unchanged.
    assert.match(await says({}, 'cat /etc/hosts'), /localhost/);
});

test('noNewPrivileges, a read-only root, masked paths and read-only paths take effect', async () => {
    const container = await run({
        no_new_privs: true, readonly_rootfs: true, masked_paths: ['/proc/kcore', '/proc/acpi', '/proc/timer_list'],
        readonly_paths: ['/proc/sys', '/proc/bus'],
    }, {mounts: [{container_path: '/data', host_path: path.join(node.dir, 'data')}]});
    assert.strictEqual(await node.output(container, 'grep NoNewPrivs /proc/self/status | tr -d "[:space:]"'), 'NoNewPrivs:1');
    assert.match((await node.exec(container, 'touch /x')).stderr, /Read-only/);
    assert.strictEqual(await node.output(container, 'touch /data/x /dev/shm/x && echo fine'), 'fine');
    assert.strictEqual(await node.output(container, 'cat /proc/timer_list | wc -c; ls /proc/acpi | wc -l'), '0\n0');
    assert.match((await node.exec(container, 'echo 1 >/proc/sys/kernel/panic')).stderr, /Read-only/);
    await node.remove(container);
    assert.strictEqual(await says({}, 'grep NoNewPrivs /proc/self/status | tr -d "[:space:]"; touch /x && echo fine'), 'NoNewPrivs:0fine');
});

test('a container ends with all that it started, also in the PID namespace of its pod', async () => {
    const shared = {namespace_options: {pid: 'POD'}};
    const other = await run(shared, {command: ['/bin/sleep', '33333']});
    const container = await run(shared, {command: ['/bin/sh', '-c', 'setsid sleep 44444 >/dev/null 2>&1 & sleep 1; exit 3']});
    assert.strictEqual((await node.ended(container)).exit_code, 3);
    const processes = await node.output(other, 'ps');
    assert.ok(!processes.includes('sleep 44444'), processes);
    assert.match(processes, /sleep 33333/);
});

test('ids of users and groups that do not fit are refused by name', async () => {
    for (const value of ['4294967296', '4294967295', '-1', '9223372036854775807']) {
        await refused(run({run_as_user: {value}}), 'INVALID_ARGUMENT', value);
        await refused(run({run_as_user: {value: 1}, run_as_group: {value}}), 'INVALID_ARGUMENT', value);
        await refused(run({supplemental_groups: [value]}), 'INVALID_ARGUMENT', value);
        await refused(run({run_as_username: value}), 'INVALID_ARGUMENT', value);
    }
});

test('a user without an entry in passwd has the home /', async () => {
    assert.strictEqual((await says({run_as_user: {value: 4242}}, 'echo $HOME')).trim(), '/');
});

test('PID and IPC namespaces are shared as requested, and those of the node are refused', async () => {
    const shared = {namespace_options: {pid: 'POD'}}, own = {namespace_options: {pid: 'CONTAINER'}};
    const one = await run(shared, {command: ['/bin/sleep', '11111']});
    assert.match(await says(shared, 'ps'), /sleep 11111/);
    assert.doesNotMatch(await says(own, 'ps'), /11111/);
    assert.match(await says({namespace_options: {pid: 'TARGET', target_id: one.id}}, 'ps'), /sleep 11111/);
    const alone = await run(own, {command: ['/bin/sleep', '22222']});
    assert.match(await says({namespace_options: {pid: 'TARGET', target_id: alone.id}}, 'ps'), /1 0 +[\d:.]+ \/?\S*sleep 22222|sleep 22222/);
    for (const kind of ['pid', 'ipc'])
        await refused(run({namespace_options: {[kind]: 'NODE'}}), 'INVALID_ARGUMENT', 'node');
    const refusal = await node.runPod({linux: {security_context: {namespace_options: {network: 'NODE'}}}}).catch((error) => error);
    assert.match(String(refusal.details), /node/);
    await refused(run({namespace_options: {pid: 'TARGET', target_id: 'f'.repeat(64)}}), 'INVALID_ARGUMENT', 'target_id');
    await node.output(one, 'echo word >/dev/shm/x');
    assert.strictEqual(await says({}, 'cat /dev/shm/x'), 'word');
    await node.remove(one);
    await node.remove(alone);
});

test('profiles of AppArmor and SELinux are refused, and a request for none is accepted', async () => {
    await refused(run({apparmor: {profile_type: 'Localhost', localhost_ref: 'mine'}}), 'UNIMPLEMENTED', 'AppArmor', 'mine');
    await refused(run({selinux_options: {type: 'container_t'}}), 'UNIMPLEMENTED', 'SELinux');
    assert.strictEqual(await says({apparmor: {profile_type: 'RuntimeDefault'}, selinux_options: {}}, 'echo fine'), 'fine');
});

test('sysctls belong to the pod, also those that only a kernel of its own can have', async () => {
    const own = await node.runPod({linux: {sysctls: {
        'net.core.somaxconn': '1234', 'kernel.shm_rmid_forced': '1', 'vm.max_map_count': '300000', 'vm.nr_hugepages': '4',
    }}});
    const container = await run({}, {linux: {resources: {hugepage_limits: [{page_size: '2MB', limit: 4 << 20}]}}}, own);
    assert.strictEqual(await node.output(container, 'cd /proc/sys; cat net/core/somaxconn kernel/shm_rmid_forced vm/max_map_count'),
                       '1234\n1\n300000');
    // The guest has huge pages, of which a container may use a limited number.
    assert.match(await node.output(container, 'grep HugePages_Total /proc/meminfo; cat /sys/fs/cgroup/hugetlb.2MB.max'),
                 /HugePages_Total: +4\n4194304$/);
    await node.removePod(own);
    await refused(node.runPod({linux: {sysctls: {'net.no.such': '1'}}}), 'INTERNAL', 'net.no.such').catch(() =>
        refused(node.runPod({linux: {sysctls: {'net.no.such': '1'}}}), 'NOT_FOUND', 'net.no.such'));
});

test('a program that is neither root nor has a capability listens on low ports', async () => {
    const container = await run({run_as_user: {value: 1000}, no_new_privs: true, capabilities: {drop_capabilities: ['ALL']}});
    assert.strictEqual(await node.output(container, '(nc -l -p 81 >/dev/null &) ; sleep 1; netstat -ltn | grep -c ":81 "'), '1');
    assert.strictEqual(await node.output(container, 'tr "\\t" " " < /proc/sys/net/ipv4/ping_group_range'), '0 2147483647');
    await node.remove(container);
});

test('root in a user namespace is unprivileged in the guest, owns its volumes, and binds low ports', async () => {
    const mapping = [{container_id: 0, host_id: 200000, length: 65536}];
    const userns = {mode: 'POD', uids: mapping, gids: mapping};
    const config = {linux: {security_context: {namespace_options: {userns_options: userns}}}};
    const volume = path.join(node.dir, 'userns-volume');
    fs.mkdirSync(volume);
    const own = await node.runPod(config);
    const container = await run({namespace_options: {userns_options: userns}, capabilities: {drop_capabilities: ['ALL']}, run_as_user: {value: 1000}}, {
        mounts: [{container_path: '/data', host_path: volume, uidMappings: mapping, gidMappings: mapping}],
    }, own);
    assert.match(await node.output(container, 'cat /proc/self/uid_map'), /^0 +200000 +65536$/);
    assert.strictEqual(await node.output(container, 'stat -c %u /data /bin'), '0\n0');
    assert.strictEqual(await node.output(container, 'nc -l -p 80 -w 1 </dev/null; echo $?').then((text) => /denied/.test(text)), false);
    assert.strictEqual(await node.output(container, '(nc -l -p 81 >/dev/null &) ; sleep 1; netstat -ltn | grep -c ":81 "'), '1');
    await refused(run({privileged: true, namespace_options: {userns_options: userns}}, {}, own), 'INVALID_ARGUMENT', 'user namespace');
    await node.removePod(own);
    const bad = (uids) => node.runPod({linux: {security_context: {namespace_options: {userns_options: {mode: 'POD', uids, gids: uids}}}}});
    await refused(bad([{container_id: 5, host_id: 200000, length: 10}]), 'INVALID_ARGUMENT');
    await refused(bad([...mapping, ...mapping]), 'INVALID_ARGUMENT');
});
