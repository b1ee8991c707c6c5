// SPDX-License-Identifier: Apache-2.0
// A client of the crivirtd of a virtual node: pods, containers and commands in them.
'use strict';
const assert = require('assert');
const path = require('path');
const {Cri} = require('../../integration/support/cri');
const {root} = require('../../integration/support/environment');
const {eventually, must} = require('../../integration/support/kit');

const IMAGE = 'localhost/busybox:debian';
// An emulated guest boots for minutes where the machine is busy.
const START_LIMIT_MS = 600000;

class NodeClient {
    constructor(vm) {
        this.vm = vm;
        this.cri = new Cri(vm.socket);
    }

    call(method, request, limitMs) {
        return this.cri.call(method, request, limitMs);
    }

    answers() {
        return eventually('crivirtd answers', () => this.call('Version', {}, 30000).catch(() => null), START_LIMIT_MS);
    }

    // Installs the package under test. An emulated node needs longer time-outs.
    async install() {
        await this.vm.copy(process.env.CRIVIRT_DEB, '/root/crivirt.deb');
        await this.vm.must('DEBIAN_FRONTEND=noninteractive dpkg -i /root/crivirt.deb');
    }

    // The VM pool stays small: the node's processor is slow, and each daemon that starts would fill it.
    async configure(conflist) {
        await this.vm.must(`mkdir -p /etc/cni/net.d
            ${conflist === undefined ? 'cp /usr/share/crivirt/cni/10-crivirt.conflist /etc/cni/net.d/' :
        `cat > /etc/cni/net.d/10-crivirt.conflist << 'END'\n${JSON.stringify(conflist)}\nEND`}
            printf '[hypervisor]\\nboot_timeout = "10m"\\nagent_timeout = "10m"\\n[host]\\npods = "always"\\n' > /etc/crivirt/crivirt.toml
            printf '[guest]\\nvm_pool_max_size = 0\\n' >> /etc/crivirt/crivirt.toml
            systemctl restart crivirtd`);
    }

    async loadBusybox() {
        const archive = path.join(this.vm.dir, 'busybox.tar');
        must('bash', path.join(root, 'deploy/busybox-archive.sh'), archive, IMAGE);
        await this.vm.copy(archive, '/root/busybox.tar');
        await this.vm.must('crivirt load -i /root/busybox.tar');
    }

    podConfig(name, more = {}) {
        return {
            metadata: {name, uid: `uid-${name}`, namespace: 'tests', attempt: 0}, log_directory: `/var/log/pods/${name}`,
            linux: {security_context: {privileged: true}}, ...more,
        };
    }

    async runPod(name, more = {}, runtime_handler = '') {
        const config = this.podConfig(name, more);
        const {pod_sandbox_id: id} = await this.call('RunPodSandbox', {config, runtime_handler}, START_LIMIT_MS);
        return {id, config};
    }

    async runContainer(pod, name, script, more = {}) {
        const config = {
            metadata: {name, attempt: 0}, image: {image: IMAGE}, command: ['/bin/sh', '-c', script], log_path: `${name}.log`,
            linux: {}, ...more,
        };
        const {container_id: id} = await this.call('CreateContainer', {pod_sandbox_id: pod.id, config, sandbox_config: pod.config});
        await this.call('StartContainer', {container_id: id});
        return {id, config, log: `${pod.config.log_directory}/${config.log_path}`};
    }

    // Saves the pod with that container into a directory of the node, which it makes.
    async checkpoint(pod, container, directory) {
        await this.vm.must(`mkdir -p ${directory}`);
        await this.call('CheckpointPod', {pod_sandbox_id: pod.id, output_path: directory, container_ids: [container.id]}, START_LIMIT_MS);
    }

    // Restores that container in a pod of that name, and starts it; {pod, container}.
    async restore(directory, name, {config: saved}, runtime_handler = '') {
        const config = this.podConfig(name);
        const request = {checkpoint_path: directory, config, container_configs: [saved], runtime_handler};
        const {pod_sandbox_id, restored_containers: [{container_id}]} = await this.call('RestorePod', request, START_LIMIT_MS);
        await this.call('StartContainer', {container_id});
        return {pod: {id: pod_sandbox_id, config}, container: {id: container_id, log: `${config.log_directory}/${saved.log_path}`}};
    }

    async output(container, script) {
        const answer = await this.call('ExecSync', {container_id: container.id, cmd: ['/bin/sh', '-c', script], timeout: 0});
        assert.strictEqual(answer.exit_code, 0, answer.stderr.toString());
        return answer.stdout.toString().trim();
    }

    async podStatus({id}) {
        return (await this.call('PodSandboxStatus', {pod_sandbox_id: id})).status;
    }

    async containerStatus({id}) {
        return (await this.call('ContainerStatus', {container_id: id})).status;
    }

    async removePod({id}) {
        await this.call('StopPodSandbox', {pod_sandbox_id: id});
        await this.call('RemovePodSandbox', {pod_sandbox_id: id});
    }

    close() {
        this.cri.close();
    }
}

module.exports = {NodeClient, IMAGE};
