// A node for tests: a network namespace with CNI networks, a registry when asked for, and a crivirtd of its own.
// Everything is below two directories, by which the leak check finds what is ours among all of the machine's.
'use strict';
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {fork, spawn} = require('child_process');
const {Cri} = require('./cri');
const {eventually, command, must, sleep} = require('./kit');

const root = path.join(__dirname, '../../..');
const build = process.env.CRIVIRT_BUILD || path.join(root, 'build/release');
const guests = {
    tuned: process.env.CRIVIRT_GUEST_TUNED || '/var/cache/crivirt/test-guests/tuned',
    stock: process.env.CRIVIRT_GUEST_STOCK || '/var/cache/crivirt/test-guests/stock',
};
// Guests boot, so that what is tested is not a matter of which pod came when; CRIVIRT_TEST_TEMPLATES=1 has all of them
// restored. template.test.js is about both.
const everywhere = process.env.CRIVIRT_TEST_TEMPLATES === '1';
const BUSYBOX = 'docker.io/library/busybox:latest';
const NODE_IP = '192.0.2.10';

let serial = 0;

// A test run that is interrupted takes its machines down, too.
const alive = new Set();
for (const signal of ['SIGINT', 'SIGTERM'])
    process.once(signal, () => process.exit(1));
process.on('exit', () => {
    for (const machine of alive)
        machine.destroy();
});

const conflist = (dataDir) => ({
    cniVersion: '1.0.0',
    name: 'test',
    plugins: [
        {
            type: 'bridge', bridge: 'cvt0', isGateway: true, ipMasq: true, hairpinMode: true,
            ipam: {
                type: 'host-local', dataDir,
                ranges: [[{subnet: '10.88.0.0/16'}], [{subnet: 'fd00:88::/64'}]],
                routes: [{dst: '0.0.0.0/0'}, {dst: '::/0'}],
            },
        },
        {type: 'portmap', capabilities: {portMappings: true}},
    ],
});

class Machine {
    // {guest: 'tuned'|'stock', cni: true|false, templates: true|false, flags: [], config: TOML, env: ['NAME=value'], initrd,
    // within: shell commands that change a mount namespace of the daemon's own before it starts};
    // started, with busybox imported unless image is false.
    static async start(options = {}) {
        const machine = new Machine(options);
        try {
            machine.makeNetwork();
            await machine.startDaemon();
            if (options.image !== false)
                await machine.loadBusybox();
        } catch (error) {
            await machine.end().catch(() => {});
            throw error;
        }
        return machine;
    }

    constructor({guest = 'tuned', cni = true, templates = everywhere, flags = [], config = '', env = [], initrd, within} = {}) {
        const name = `cvt${process.pid}-${++serial}`;
        this.dir = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-test-'));
        fs.chmodSync(this.dir, 0o755); // QEMU's user reads what is in it
        this.runDir = `/run/${name}`;
        this.netns = name;
        this.socket = `${this.runDir}/s.sock`;
        this.cniDir = path.join(this.dir, 'cni');
        this.ipamDir = path.join(this.dir, 'ipam');
        this.hostsDir = path.join(this.dir, 'certs.d');
        this.logDir = path.join(this.dir, 'log');
        this.stateDir = path.join(this.dir, 'state');
        for (const directory of [this.cniDir, this.hostsDir, this.logDir])
            fs.mkdirSync(directory);
        this.configFile = path.join(this.dir, 'crivirt.toml');
        fs.writeFileSync(this.configFile, config);
        this.withCni = cni;
        this.flags = templates ? flags : ['--guest-template=false', ...flags];
        this.env = !within ? env : [...env, 'unshare', '--mount', '--propagation=slave', 'sh', '-ec', `${within}; exec "$0" "$@"`];
        this.guest = guests[guest];
        this.initrd = initrd || path.join(this.guest, 'initrd.img');
        this.processes = [];
        this.podIds = [];
        this.mounts = []; // that a test made
        alive.add(this);
    }

    makeNetwork() {
        must('ip', 'netns', 'add', this.netns);
        must('ip', '-n', this.netns, 'link', 'set', 'lo', 'up');
        must('ip', '-n', this.netns, 'link', 'add', 'node0', 'type', 'bridge');
        must('ip', '-n', this.netns, 'addr', 'add', `${NODE_IP}/24`, 'dev', 'node0');
        must('ip', '-n', this.netns, 'link', 'set', 'node0', 'up');
        this.inNetwork('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
        if (this.withCni)
            this.writeCni();
    }

    writeCni(text = JSON.stringify(conflist(this.ipamDir))) {
        fs.writeFileSync(path.join(this.cniDir, '10-test.conflist.tmp'), text);
        fs.renameSync(path.join(this.cniDir, '10-test.conflist.tmp'), path.join(this.cniDir, '10-test.conflist'));
    }

    removeCni() {
        fs.rmSync(path.join(this.cniDir, '10-test.conflist'), {force: true});
    }

    nsenter(...words) {
        return [`--net=/run/netns/${this.netns}`, ...words];
    }

    inNetwork(...words) {
        return must('nsenter', ...this.nsenter(...words));
    }

    run(...words) {
        return command('nsenter', this.nsenter(...words));
    }

    // A long-lived process in the node's network; it ends with the machine.
    spawn(words, logName) {
        const log = fs.openSync(path.join(this.dir, logName), 'a');
        const child = spawn('nsenter', this.nsenter(...words), {stdio: ['ignore', log, log], detached: true});
        fs.closeSync(log);
        child.ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve({code, signal})));
        child.on('exit', () => { child.gone = true; });
        this.processes.push(child);
        return child;
    }

    // A TCP connection that is made in the node's network: a net.Socket.
    connect(host, port) {
        if (!this.connector) {
            this.connector = fork(path.join(__dirname, 'connector.js'), [], {
                execPath: 'nsenter', execArgv: this.nsenter(process.execPath), stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
            });
            this.connector.waiting = new Map();
            this.connector.on('message', ({id, error}, socket) => {
                const {resolve, reject} = this.connector.waiting.get(id);
                this.connector.waiting.delete(id);
                if (error)
                    reject(Object.assign(new Error(`connecting to ${id}: ${error}`), {code: error}));
                else
                    resolve(socket);
            });
            this.connector.on('exit', () => { this.connector.gone = true; });
            this.processes.push(this.connector);
        }
        const id = `${host} port ${port} (${++serial})`;
        return new Promise((resolve, reject) => {
            this.connector.waiting.set(id, {resolve, reject});
            this.connector.send({id, host, port});
        });
    }

    daemonWords(more = []) {
        return [
            path.join(build, 'cri-server/crivirtd'), `--config=${this.configFile}`, `--socket=${this.socket}`,
            `--state-dir=${this.stateDir}`, `--run-dir=${this.runDir}`, `--cni-config-dir=${this.cniDir}`,
            `--guest-kernel=${path.join(this.guest, 'kernel')}`, `--guest-initrd=${this.initrd}`,
            `--registry-hosts-dir=${this.hostsDir}`, '--boot-timeout=3m', '--log-level=debug', ...this.flags, ...more,
        ];
    }

    async startDaemon(more) {
        this.daemon = this.spawn(['env', ...this.env, ...this.daemonWords(more)], 'crivirtd.log');
        this.cri = new Cri(this.socket);
        const daemon = this.daemon;
        await eventually('crivirtd answers', async () => {
            if (daemon.gone)
                throw new Error(`crivirtd did not start: ${this.daemonLog().slice(-2000)}`);
            return fs.existsSync(this.socket) && this.cri.call('Version').catch(() => null);
        });
    }

    daemonLog() {
        return fs.readFileSync(path.join(this.dir, 'crivirtd.log'), 'utf8');
    }

    async stopDaemon(signal = 'SIGTERM') {
        this.cri.close();
        this.daemon.kill(signal);
        return this.daemon.ended;
    }

    async restartDaemon(signal) {
        const end = await this.stopDaemon(signal);
        await this.startDaemon();
        return end;
    }

    busyboxArchive() {
        const file = path.join(this.dir, 'busybox.tar');
        if (!fs.existsSync(file))
            must('bash', path.join(root, 'deploy/busybox-archive.sh'), file, BUSYBOX);
        return file;
    }

    async loadBusybox() {
        await this.cri.call('LoadImage', {path: this.busyboxArchive()});
    }

    // crivirt ARGS…
    cli(...args) {
        return this.cliWith({}, ...args);
    }

    cliWith(options, ...args) {
        const env = {CRIVIRT_SOCKET: this.socket, CRIVIRT_LOG_DIR: path.join(this.dir, 'cli-log'), ...options.env};
        // In the node's network, where the streaming server is.
        return command('nsenter', this.nsenter(path.join(build, 'cri-server/cli/crivirt'), ...args), {...options, env});
    }

    // ---- pods and containers ----

    podConfig(more = {}) {
        const name = `pod${++serial}`;
        return {
            metadata: {name, uid: `uid-${name}`, namespace: 'tests', attempt: 0},
            log_directory: path.join(this.logDir, name), linux: {}, ...more,
        };
    }

    async runPod(more, runtime_handler = '') {
        const config = this.podConfig(more);
        const {pod_sandbox_id: id} = await this.cri.call('RunPodSandbox', {config, runtime_handler});
        this.podIds.push(id);
        return {id, config};
    }

    async podStatus(pod) {
        return (await this.cri.call('PodSandboxStatus', {pod_sandbox_id: pod.id})).status;
    }

    async removePod(pod) {
        await this.cri.call('StopPodSandbox', {pod_sandbox_id: pod.id});
        await this.cri.call('RemovePodSandbox', {pod_sandbox_id: pod.id});
    }

    async removeAllPods() {
        for (const {id} of (await this.cri.call('ListPodSandbox')).items)
            await this.cri.call('RemovePodSandbox', {pod_sandbox_id: id});
    }

    containerConfig(more = {}) {
        const name = `container${++serial}`;
        return {
            metadata: {name, attempt: 0}, image: {image: BUSYBOX}, command: ['/bin/sleep', '100000'],
            log_path: `${name}.log`, linux: {}, ...more,
        };
    }

    async create(pod, more) {
        const config = this.containerConfig(more);
        const {container_id: id} = await this.cri.call(
            'CreateContainer', {pod_sandbox_id: pod.id, config, sandbox_config: pod.config});
        return {id, config, log: path.join(pod.config.log_directory, config.log_path)};
    }

    // Created and started; a string is a shell script.
    async runContainer(pod, more) {
        const config = typeof more === 'string' ? {command: ['/bin/sh', '-c', more]} : more;
        const container = await this.create(pod, config);
        await this.cri.call('StartContainer', {container_id: container.id});
        return container;
    }

    // A mount of a program that can do what busybox cannot (tests/tools/guest_tool.c).
    toolMount() {
        return {container_path: '/tool', readonly: true,
                host_path: path.resolve(path.dirname(this.daemonWords()[0]), '../tests/tools/guest_tool')};
    }

    async containerStatus(container) {
        return (await this.cri.call('ContainerStatus', {container_id: container.id})).status;
    }

    ended(container) {
        return eventually(`container ${container.id} has ended`, async () => {
            const one = await this.containerStatus(container);
            return one.state === 'CONTAINER_EXITED' && one;
        });
    }

    async remove(container) {
        await this.cri.call('StopContainer', {container_id: container.id, timeout: 0});
        await this.cri.call('RemoveContainer', {container_id: container.id});
    }

    // {exit_code, stdout, stderr}, as text; a string is a shell script.
    async exec(container, words, timeout = 0) {
        const cmd = typeof words === 'string' ? ['/bin/sh', '-c', words] : words;
        const answer = await this.cri.call('ExecSync', {container_id: container.id, cmd, timeout});
        return {...answer, stdout: answer.stdout.toString(), stderr: answer.stderr.toString()};
    }

    async output(container, words) {
        const {exit_code: code, stdout, stderr} = await this.exec(container, words);
        assert.strictEqual(code, 0, `${words}: ${stderr}`);
        return stdout.trim();
    }

    // The log's lines: {time, stream, tag, text}.
    logLines(container, file = container.log) {
        return fs.readFileSync(file, 'utf8').split('\n').slice(0, -1).map((line) => {
            const parts = /^(\S+) (stdout|stderr) ([PF]) (.*)$/s.exec(line);
            assert.ok(parts, `it is no line of a CRI log: ${line.slice(0, 100)}`);
            return {time: parts[1], stream: parts[2], tag: parts[3], text: parts[4]};
        });
    }

    qemuPid(pod) {
        return ours(this).find(({words}) => words[0].includes('qemu-system') && words.join(' ').includes(pod.id.slice(0, 12)))?.pid;
    }

    // All QEMUs and file servers, at once.
    killGuests() {
        this.kill(/qemu-system|virtiofsd/);
    }

    // Every process of the pods' whose program is called so; their pids.
    kill(program) {
        const pids = ours(this).filter(({words}) => program.test(words[0])).map(({pid}) => pid);
        for (const pid of pids)
            quietly(() => process.kill(pid, 'SIGKILL'));
        return pids;
    }

    // ---- the end ----

    // It is of a machine without a pod that the daemon keeps account of: one that waits, or that a template is made of.
    waits(text) {
        return listing(path.join(this.stateDir, 'guests')).some((id) => text.includes(id.slice(0, 12)));
    }

    // What is left on the node of the pods; [] is what everybody hopes for. The daemon may still run.
    leaks() {
        const mine = (text) => text.includes(this.dir) || text.includes(this.runDir);
        const known = new Set(this.processes.map((child) => child.pid));
        const found = ours(this).filter(({pid, words}) => !known.has(pid) && !this.waits(words.join(' '))).map(({pid, words}) => `process ${pid}: ${words[0]}`);
        for (const line of fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n'))
            if (mine(line) && !this.mounts.includes(line.split(' ')[4]))
                found.push(`mount ${line.split(' ')[4]}`);
        for (const name of listing('/run/netns'))
            if (this.podIds.some((id) => name.includes(id.slice(0, 12))))
                found.push(`network namespace ${name}`);
        for (const name of listing('/sys/block')) {
            const file = `/sys/block/${name}/loop/backing_file`;
            if (fs.existsSync(file) && mine(fs.readFileSync(file, 'utf8')))
                found.push(`loop device ${name}`);
        }
        for (const {ifname} of JSON.parse(must('ip', '-n', this.netns, '-j', 'link')))
            if (!['lo', 'node0', 'cvt0'].includes(ifname) && !this.waits(ifname))
                found.push(`interface ${ifname}`);
        const rules = this.inNetwork('sh', '-c', 'iptables-save; ip6tables-save');
        for (const id of this.podIds)
            if (rules.includes(id) || /CNI-DN-|CNI-[0-9a-f]{24}/.test(rules))
                found.push(`packet filter rule of ${id}`);
        for (const file of files(this.ipamDir))
            if (/\/[0-9a-f.:]*[.:][0-9a-f.:]*$/.test(file)) // host-local's files are called as the addresses are
                found.push(`address ${file}`);
        // By name: a file or directory that belongs to a pod carries its id.
        for (const file of [...files(this.stateDir), ...files(this.runDir)])
            if (this.podIds.some((id) => file.includes(id.slice(0, 12))))
                found.push(`file ${file}`);
        return found;
    }

    // What is kept of pods on the node that none of these ids speaks of.
    strays(ids) {
        const known = (name) => ids.some((id) => name.includes(id.slice(0, 12))) || this.waits(name);
        const places = [path.join(this.stateDir, 'pods'), path.join(this.stateDir, 'libvirt/run/qemu'),
                        path.join(this.stateDir, 'libvirt/log/qemu'),
                        ...['vm', 'share', 'netns'].map((name) => path.join(this.runDir, name))];
        const found = places.flatMap((place) => listing(place).map((name) => path.join(place, name)))
            .filter((file) => /[0-9a-f]{12}/.test(path.basename(file)) && !known(path.basename(file)));
        // A namespace that is being made or removed is a mere file; its name is found above.
        const links = (netns) => {
            try {
                return JSON.parse(must('nsenter', `--net=${netns}`, 'ip', '-j', 'link'));
            } catch {
                return [];
            }
        };
        for (const netns of [`/run/netns/${this.netns}`,
                             ...listing(path.join(this.runDir, 'netns')).map((name) => path.join(this.runDir, 'netns', name))])
            for (const {ifname} of links(netns))
                if (/^cv[0-9a-f]{12}$/.test(ifname) && !known(ifname))
                    found.push(`interface ${ifname}`);
        found.push(...ours(this).filter(({words}) => /qemu-system|virtiofsd/.test(words[0]) && !known(words.join(' ')))
            .map(({pid, words}) => `process ${pid}: ${words[0]}`));
        const addresses = files(this.ipamDir).filter((file) => /\/[0-9a-f.:]*[.:][0-9a-f.:]*$/.test(file))
            .filter((file) => !known(contents(file))); // host-local writes the id into them
        return [...found, ...addresses];
    }

    async noLeaks() {
        let found = [];
        // Processes that were told to end may take a moment.
        for (let i = 0; i < 100; i++) {
            found = this.leaks();
            if (found.length === 0)
                return;
            await sleep(100);
        }
        assert.deepStrictEqual(found, []);
    }

    // Removes what is there, checks that nothing is left, and takes the machine down, whatever happened.
    async end() {
        try {
            if (this.daemon && !this.daemon.gone) {
                const {items} = await this.cri.call('ListPodSandbox');
                for (const {id} of items)
                    await this.removePod({id});
                this.podIds.push(...items.map(({id}) => id));
                await this.noLeaks();
                const {code} = await this.stopDaemon();
                assert.strictEqual(code, 0, `crivirtd ended with ${code}: ${this.daemonLog().slice(-2000)}`);
                assert.deepStrictEqual(listing(this.runDir).filter((name) => name.endsWith('.sock')), []);
            }
        } finally {
            this.destroy();
        }
    }

    // Whatever state it is in; nothing here waits for an event, because a process that exits gets none.
    destroy() {
        alive.delete(this);
        if (this.cri)
            this.cri.close();
        for (const child of this.processes.filter((one) => !one.gone))
            child.kill('SIGKILL');
        for (const {pid} of ours(this))
            quietly(() => process.kill(pid, 'SIGKILL'));
        for (const target of must('findmnt', '-rno', 'TARGET').split('\n').reverse())
            if (target.startsWith(this.dir) || target.startsWith(this.runDir))
                quietly(() => must('umount', '-l', target));
        quietly(() => must('ip', 'netns', 'del', this.netns));
        if (!process.env.CRIVIRT_TEST_KEEP)
            fs.rmSync(this.dir, {recursive: true, force: true, maxRetries: 5, retryDelay: 200});
        fs.rmSync(this.runDir, {recursive: true, force: true, maxRetries: 5, retryDelay: 200});
        fs.rmSync(`${this.socket}.lock`, {force: true});
    }
}

function quietly(act) {
    try {
        act();
    } catch {}
}

// It may be gone by now.
function contents(file) {
    try {
        return fs.readFileSync(file, 'utf8');
    } catch {
        return '';
    }
}

const listing = (directory) => fs.existsSync(directory) ? fs.readdirSync(directory) : [];

function files(directory) {
    return listing(directory).flatMap((name) => {
        const file = path.join(directory, name);
        return fs.lstatSync(file).isDirectory() ? [file, ...files(file)] : [file];
    });
}

// Processes whose command line names one of the machine's directories.
function ours(machine) {
    return listing('/proc').filter((name) => /^\d+$/.test(name)).map((pid) => {
        try {
            return {pid: Number(pid), words: fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')};
        } catch {
            return {pid: 0, words: ['']};
        }
    }).filter(({words}) => words.join(' ').includes(machine.dir) || words.join(' ').includes(machine.runDir));
}

module.exports = {Machine, root, build, guests, BUSYBOX, NODE_IP};
