// SPDX-License-Identifier: Apache-2.0
// The verbs of pods and containers for tests that interrupt them: how each is prepared, called, and checked after it was called
// again.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {eventually} = require('./kit');

class Subjects {
    constructor(node) {
        this.node = node;
        this.volume = path.join(node.dir, 'volume');
        this.serial = 0;
        fs.mkdirSync(this.volume);
    }

    call(method, request) {
        return this.node.cri.call(method, request);
    }

    // A name for a container, which no other has.
    name(verb) {
        return `${verb.replace(/\W.*/, '').toLowerCase()}${++this.serial}`;
    }

    podIds() {
        return this.node.listedPodIds();
    }

    // Asserts that there are no orphans, and that every listed pod and container has a status.
    async truthful() {
        const ids = await this.podIds();
        for (const id of ids)
            await this.call('PodSandboxStatus', {pod_sandbox_id: id, verbose: true});
        for (const {id, pod_sandbox_id: podId} of (await this.call('ListContainers')).containers) {
            await this.call('ContainerStatus', {container_id: id, verbose: true});
            assert.ok(ids.includes(podId), `container ${id} belongs to no listed sandbox`);
        }
        await eventually('there are no orphans', () => this.node.orphans(ids).length === 0, 20000).catch(() => {});
        assert.deepStrictEqual(this.node.orphans(ids), []);
    }

    // The pod that the next subjects are in. It is replaced once a test has ended it.
    async livingPod() {
        if (!this.pod || !(await this.podIds()).includes(this.pod.id))
            this.pod = await this.node.runPod();
        assert.strictEqual((await this.node.podStatus(this.pod)).state, 'SANDBOX_READY');
        return this.pod;
    }

    async freshPod() {
        this.pod = undefined;
        return this.livingPod();
    }

    // Creates a container with a volume, in which it counts how often it was started.
    async make(name) {
        return this.node.create(await this.livingPod(), {
            metadata: {name, attempt: 0}, log_path: `${name}.log`,
            command: ['/bin/sh', '-c', `echo start >> /volume/${name}; echo started; exec sleep 100000`],
            mounts: [{container_path: '/volume', host_path: this.volume}],
        });
    }

    async start(name) {
        const container = await this.make(name);
        await this.call('StartContainer', {container_id: container.id});
        return container;
    }

    starts(name) {
        const file = path.join(this.volume, name);
        return fs.existsSync(file) ? fs.readFileSync(file, 'utf8').split('\n').length - 1 : 0;
    }

    async named(name) {
        return (await this.call('ListContainers')).containers.filter(({metadata}) => metadata.name === name);
    }

    resize(pod) {
        return this.call('UpdatePodSandboxResources', {pod_sandbox_id: pod.id, resources: {memory_limit_in_bytes: 300 << 20}});
    }

    // A pod that can be saved, with a container that has a volume, a directory for the checkpoint, and the name of the
    // restored pod.
    async saveable(more) {
        const pod = await this.node.runPod();
        const container = await this.node.runContainer(pod, {
            command: ['/bin/sh', '-c', 'exec 3>>/volume/open; cd /volume; sleep 100000'],
            mounts: [{container_path: '/volume', host_path: this.volume}],
            ...more,
        });
        const saved = path.join(this.node.dir, `checkpoint${++this.serial}`);
        fs.mkdirSync(saved);
        return {pod, container, saved, config: this.node.podConfig()};
    }

    // The same with a block device, which is a file: the container has it open, and has written to it.
    async hibernatable() {
        const disk = path.join(this.node.dir, `disk${++this.serial}`);
        fs.writeFileSync(disk, '');
        fs.truncateSync(disk, 1 << 20);
        const subject = await this.saveable({
            command: ['/bin/sh', '-c', 'exec 3>>/volume/open 4<>/dev/disk; echo kept >&4; cd /volume; sleep 100000'],
            devices: [{container_path: '/dev/disk', host_path: disk, permissions: 'rw'}],
        });
        return {...subject, disk};
    }

    // The container of hibernatable() runs, and has its volume and its device, which is the file.
    async usableWithDisk({container, disk}) {
        await this.usable(container);
        assert.strictEqual(await this.node.output(container, 'head -c 4 /dev/disk'), 'kept');
        await this.node.output(container, 'echo more | dd of=/dev/disk bs=512 seek=1 conv=fsync 2>/dev/null');
        assert.strictEqual(fs.readFileSync(disk).subarray(512, 516).toString(), 'more');
    }

    // The container runs, and has its volume.
    async usable(container) {
        assert.strictEqual(await this.node.output(container, 'echo inside >> /volume/used; tail -n 1 /volume/used'), 'inside');
    }

    save({pod, container, saved}) {
        return this.call('CheckpointPod', {pod_sandbox_id: pod.id, output_path: saved, container_ids: [container.id]});
    }

    saveContainer({container, saved}) {
        return this.call('CheckpointContainer', {container_id: container.id, location: saved});
    }

    restore({container, saved, config}) {
        return this.call('RestorePod', {checkpoint_path: saved, config, container_configs: [container.config]});
    }

    async restoreAndUse(subject) {
        const {pod_sandbox_id: id, restored_containers: [{container_id: container}]} = await this.restore(subject);
        await this.call('StartContainer', {container_id: container});
        await this.usable({id: container});
        return id;
    }

    async removeNamed({metadata: {uid}}) {
        for (const {id, metadata} of (await this.call('ListPodSandbox')).items)
            if (metadata.uid === uid)
                await this.call('RemovePodSandbox', {pod_sandbox_id: id});
    }

    // Asserts that the container runs, was started once, and can be used.
    async runs(container, name) {
        assert.strictEqual((await this.node.containerStatus(container)).state, 'CONTAINER_RUNNING');
        assert.strictEqual(await this.node.output(container, 'echo inside'), 'inside');
        await eventually('the container has begun', () => this.starts(name) > 0);
        assert.strictEqual(this.starts(name), 1);
    }

    async goes(container) {
        await this.node.remove(container);
        await assert.rejects(this.node.containerStatus(container));
    }
}

async function freshRunningPod(s, name) {
    await s.freshPod();
    await s.start(name);
    return s.pod;
}

// RemovePodSandbox of a stopped pod and of one that runs.
const removal = {
    work: (s, {id}) => s.call('RemovePodSandbox', {pod_sandbox_id: id}),
    async again(s, {id}) {
        await s.call('RemovePodSandbox', {pod_sandbox_id: id});
        assert.deepStrictEqual((await s.call('ListContainers')).containers, []);
    },
};

// prepare(subjects, name) returns the subject for the other two functions; work(subjects, subject) is what is interrupted;
// again(subjects, subject, name) repeats it, checks that it has been done, and removes the subject.
const VERBS = [
    {
        verb: 'RunPodSandbox',
        prepare: (s) => s.node.podConfig(),
        work: (s, config) => s.call('RunPodSandbox', {config}),
        async again(s, config) {
            const {pod_sandbox_id: id} = await s.call('RunPodSandbox', {config});
            assert.deepStrictEqual(await s.podIds(), [id]);
            const container = await s.node.runContainer({id, config}, 'exit 3');
            assert.strictEqual((await s.node.ended(container)).exit_code, 3);
            await s.call('RemovePodSandbox', {pod_sandbox_id: id});
        },
    },
    {
        verb: 'StopPodSandbox',
        prepare: freshRunningPod,
        work: (s, {id}) => s.call('StopPodSandbox', {pod_sandbox_id: id}),
        async again(s, {id}) {
            await s.call('StopPodSandbox', {pod_sandbox_id: id});
            assert.strictEqual((await s.node.podStatus({id})).state, 'SANDBOX_NOTREADY');
            for (const {state} of (await s.call('ListContainers')).containers)
                assert.strictEqual(state, 'CONTAINER_EXITED');
            await s.call('RemovePodSandbox', {pod_sandbox_id: id});
        },
    },
    {
        verb: 'RemovePodSandbox',
        async prepare(s, name) {
            const pod = await freshRunningPod(s, name);
            await s.call('StopPodSandbox', {pod_sandbox_id: pod.id});
            return pod;
        },
        ...removal,
    },
    {
        verb: 'RemovePodSandbox, of one that runs',
        prepare: freshRunningPod,
        ...removal,
    },
    {
        verb: 'UpdatePodSandboxResources',
        prepare: (s, name) => s.start(name),
        work: (s) => s.resize(s.pod),
        async again(s, container, name) {
            await s.resize(s.pod);
            await s.runs(container, name);
            await s.node.removePod(s.pod); // the next pod has the usual size again
        },
    },
    {
        verb: 'CreateContainer, the first of a pod',
        async prepare(s, name) {
            await s.freshPod();
            return name;
        },
        work: (s, name) => s.make(name),
        async again(s, name) {
            const container = await s.make(name);
            assert.deepStrictEqual((await s.named(name)).map(({id}) => id), [container.id]);
            await s.call('StartContainer', {container_id: container.id});
            await s.runs(container, name);
            await s.goes(container);
            await s.node.removePod(s.pod);
        },
    },
    {
        verb: 'CreateContainer',
        prepare: async (s, name) => { await s.livingPod(); return name; },
        work: (s, name) => s.make(name),
        async again(s, name) {
            const container = await s.make(name);
            assert.deepStrictEqual((await s.named(name)).map(({id}) => id), [container.id]);
            await s.call('StartContainer', {container_id: container.id});
            await s.runs(container, name);
            await s.goes(container);
        },
    },
    {
        verb: 'StartContainer',
        prepare: (s, name) => s.make(name),
        work: (s, {id}) => s.call('StartContainer', {container_id: id}),
        async again(s, {id, log}, name) {
            const {state} = await s.node.containerStatus({id});
            if (state === 'CONTAINER_CREATED')
                await s.call('StartContainer', {container_id: id});
            await s.runs({id}, name);
            await eventually('the line is in the log', () => fs.readFileSync(log, 'utf8') !== '');
            assert.deepStrictEqual(s.node.logTexts({log}), ['started']);
            await s.goes({id});
        },
    },
    {
        verb: 'UpdateContainerResources',
        prepare: (s, name) => s.start(name),
        work: (s, {id}) => s.call('UpdateContainerResources', {container_id: id, linux: {memory_limit_in_bytes: 96 << 20}}),
        async again(s, container, name) {
            await s.call('UpdateContainerResources', {container_id: container.id, linux: {memory_limit_in_bytes: 96 << 20}});
            const {resources} = await s.node.containerStatus(container);
            assert.strictEqual(Number(resources.linux.memory_limit_in_bytes), 96 << 20);
            assert.strictEqual(await s.node.output(container, 'cat /sys/fs/cgroup/memory.max'), String(96 << 20));
            await s.runs(container, name);
            await s.goes(container);
        },
    },
    {
        verb: 'StopContainer',
        prepare: (s, name) => s.start(name),
        work: (s, {id}) => s.call('StopContainer', {container_id: id, timeout: 0}),
        async again(s, {id}) {
            await s.call('StopContainer', {container_id: id, timeout: 0});
            const status = await s.node.containerStatus({id});
            assert.deepStrictEqual([status.state, status.exit_code], ['CONTAINER_EXITED', 137]);
            await s.goes({id});
        },
    },
    {
        verb: 'RemoveContainer',
        prepare: (s, name) => s.start(name),
        work: (s, {id}) => s.call('RemoveContainer', {container_id: id}),
        async again(s, {id}, name) {
            await s.call('RemoveContainer', {container_id: id});
            assert.deepStrictEqual(await s.named(name), []);
            const successor = await s.start(name); // the name is free
            await s.goes(successor);
        },
    },
    {
        verb: 'CheckpointPod',
        prepare: (s) => s.saveable(),
        work: (s, subject) => s.save(subject),
        async again(s, subject) {
            const {pod, container, saved} = subject;
            await s.usable(container);
            if (!fs.existsSync(path.join(saved, 'manifest.json'))) {
                assert.deepStrictEqual(fs.readdirSync(saved), []);
                await s.save(subject);
            }
            await s.usable(container);
            await s.node.removePod(pod);
            await s.call('RemovePodSandbox', {pod_sandbox_id: await s.restoreAndUse(subject)});
        },
    },
    {
        verb: 'CheckpointContainer',
        async prepare(s) {
            const subject = await s.saveable();
            return {...subject, saved: path.join(subject.saved, 'archive.tar')};
        },
        work: (s, subject) => s.saveContainer(subject),
        async again(s, subject) {
            const {pod, container, saved} = subject;
            assert.strictEqual(await s.node.output(container, 'echo inside'), 'inside'); // it is not frozen
            const scratch = path.join(s.node.stateDir, 'checkpoint-archives');
            assert.deepStrictEqual(fs.existsSync(scratch) ? fs.readdirSync(scratch) : [], []);
            if (!fs.existsSync(saved)) {
                assert.deepStrictEqual(fs.readdirSync(path.dirname(saved)), []);
                await s.saveContainer(subject);
            }
            await s.node.removePod(pod);
            await s.call('RemovePodSandbox', {pod_sandbox_id: await s.restoreAndUse(subject)});
        },
    },
    {
        verb: 'RestorePod',
        async prepare(s) {
            const subject = await s.saveable();
            await s.save(subject);
            await s.node.removePod(subject.pod);
            return subject;
        },
        work: (s, subject) => s.restore(subject),
        async again(s, subject) {
            await s.removeNamed(subject.config); // what became of a call that was cut off is one pod, or none
            await s.call('RemovePodSandbox', {pod_sandbox_id: await s.restoreAndUse(subject)});
        },
    },
    {
        verb: 'HibernatePod',
        prepare: (s) => s.hibernatable(),
        work: (s, {pod}) => s.call('HibernatePod', {pod_sandbox_id: pod.id}),
        async again(s, subject) {
            const {pod, container} = subject;
            await s.call('HibernatePod', {pod_sandbox_id: pod.id});
            assert.strictEqual((await s.node.containerStatus(container)).reason, 'Hibernated');
            await s.usableWithDisk(subject);
            await s.node.removePod(pod);
        },
    },
    {
        verb: 'WakePod',
        async prepare(s) {
            const subject = await s.hibernatable();
            await s.call('HibernatePod', {pod_sandbox_id: subject.pod.id});
            return subject;
        },
        work: (s, {pod}) => s.call('WakePod', {pod_sandbox_id: pod.id}),
        async again(s, subject) {
            const {pod, container} = subject;
            await s.call('WakePod', {pod_sandbox_id: pod.id});
            assert.strictEqual((await s.node.containerStatus(container)).reason, '');
            await s.usableWithDisk(subject);
            await s.node.removePod(pod);
        },
    },
    {
        verb: 'ExecSync',
        prepare: (s, name) => s.start(name),
        work: (s, container) => s.node.exec(container, 'echo inside; echo done >> /done'),
        async again(s, container, name) {
            await s.runs(container, name);
            await s.goes(container);
        },
    },
];

// Verbs that ask the guest and change nothing.
const reading = (s, verb, {id}) =>
    s.call(verb, {ContainerStats: {container_id: id}, PodSandboxStats: {pod_sandbox_id: s.pod.id}}[verb]);
const READS = ['ContainerStats', 'PodSandboxStats', 'ListContainerStats', 'ListPodSandboxMetrics'].map((verb) => ({
    verb,
    prepare: (s, name) => s.start(name),
    work: (s, container) => reading(s, verb, container),
    async again(s, container, name) {
        await reading(s, verb, container);
        await s.runs(container, name);
        await s.goes(container);
    },
}));

module.exports = {VERBS, READS, Subjects};
