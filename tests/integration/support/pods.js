// SPDX-License-Identifier: Apache-2.0
// The verbs of the CRI on pods and containers, in the few words that tests need.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {programs} = require('./environment');
const {DaemonNode} = require('./daemon');
const {BUSYBOX, busyboxArchive} = require('./images');
const {processesOf, killProcesses} = require('./processes');
const {eventually, serial} = require('./kit');

class PodNode extends DaemonNode {
    constructor(name, dir, options) {
        super(name, dir, options);
        this.logDir = path.join(dir, 'log');
        this.podIds = []; // of all pods that were run
        fs.mkdirSync(this.logDir);
    }

    async loadBusybox() {
        await this.cri.call('LoadImage', {path: busyboxArchive(this)});
    }

    // ---- pods ----

    podConfig(more = {}) {
        const name = `pod${serial()}`;
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

    async listedPodIds() {
        return (await this.cri.call('ListPodSandbox')).items.map(({id}) => id);
    }

    async removeAllPods() {
        for (const id of await this.listedPodIds())
            await this.cri.call('RemovePodSandbox', {pod_sandbox_id: id});
    }

    // ---- containers ----

    containerConfig(more = {}) {
        const name = `container${serial()}`;
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

    // Creates and starts a container; a string is a shell script.
    async runContainer(pod, more) {
        const config = typeof more === 'string' ? {command: ['/bin/sh', '-c', more]} : more;
        const container = await this.create(pod, config);
        await this.cri.call('StartContainer', {container_id: container.id});
        return container;
    }

    // Makes a directory on the node.
    directory(name) {
        const dir = path.join(this.dir, name);
        fs.mkdirSync(dir, {recursive: true});
        return dir;
    }

    // The mount of a program that can do what busybox cannot (tests/tools/guest_tool.c).
    toolMount() {
        return {container_path: '/tool', readonly: true, host_path: programs.guestTool};
    }

    async containerStatus(container) {
        return (await this.cri.call('ContainerStatus', {container_id: container.id})).status;
    }

    // Waits until the container has ended; returns its status.
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

    // Runs a command by ExecSync; a string is a shell script. {exit_code, stdout, stderr}, as text.
    async exec(container, words, timeout = 0) {
        const cmd = typeof words === 'string' ? ['/bin/sh', '-c', words] : words;
        const answer = await this.cri.call('ExecSync', {container_id: container.id, cmd, timeout});
        return {...answer, stdout: answer.stdout.toString(), stderr: answer.stderr.toString()};
    }

    // The standard output of a command by ExecSync, which must end with 0.
    async output(container, words) {
        const {exit_code: code, stdout, stderr} = await this.exec(container, words);
        assert.strictEqual(code, 0, `${words}: ${stderr}`);
        return stdout.trim();
    }

    // The lines of a log: {time, stream, tag, text}.
    logLines(container, file = container.log) {
        return fs.readFileSync(file, 'utf8').split('\n').slice(0, -1).map((line) => {
            const parts = /^(\S+) (stdout|stderr) ([PF]) (.*)$/s.exec(line);
            assert.ok(parts, `this is not a line of a CRI log: ${line.slice(0, 100)}`);
            return {time: parts[1], stream: parts[2], tag: parts[3], text: parts[4]};
        });
    }

    logTexts(container, file) {
        return this.logLines(container, file).map(({text}) => text);
    }

    // Waits until the log has a line; returns the text of the first one.
    async firstLine(container) {
        const [line] = await eventually(`container ${container.id} has logged a line`, () => {
            const lines = fs.existsSync(container.log) ? this.logTexts(container) : [];
            return lines.length > 0 && lines;
        });
        return line;
    }

    // ---- processes ----

    qemuPid(pod) {
        return processesOf(this).find(({words}) =>
            words[0].includes('qemu-system') && words.join(' ').includes(pod.id.slice(0, 12)))?.pid;
    }

    fileServerPid(pod) {
        return parseInt(fs.readFileSync(path.join(this.runDir, 'share', `${pod.id.slice(0, 24)}.server`), 'utf8'), 10);
    }

    // Kills all QEMUs and file servers at once.
    killGuests() {
        this.kill(/qemu-system|virtiofsd/);
    }

    // Kills the processes of the pods whose program's name matches; returns their pids.
    kill(program) {
        return killProcesses(this, program);
    }
}

module.exports = {PodNode};
