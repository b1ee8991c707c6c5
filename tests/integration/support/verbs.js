// SPDX-License-Identifier: Apache-2.0
// The verbs of pods and containers as tests interrupt them: what each is done to, how it is done, and what shows that it
// has been done, once it was asked for again.
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

    // For a container that the verb is done to; no other has it.
    name(verb) {
        return `${verb.replace(/\W.*/, '').toLowerCase()}${++this.serial}`;
    }

    async podIds() {
        return (await this.call('ListPodSandbox')).items.map(({id}) => id);
    }

    // What of pods is on the node belongs to a sandbox that is listed, and every listed thing has a status.
    async truthful() {
        const ids = await this.podIds();
        for (const id of ids)
            await this.call('PodSandboxStatus', {pod_sandbox_id: id, verbose: true});
        for (const {id, pod_sandbox_id: podId} of (await this.call('ListContainers')).containers) {
            await this.call('ContainerStatus', {container_id: id, verbose: true});
            assert.ok(ids.includes(podId), `container ${id} is of no sandbox`);
        }
        const strays = await eventually('nothing is there that no sandbox speaks of', () => {
            const left = this.node.orphans(ids);
            return left.length === 0 && [left];
        }, 20000).catch(() => [this.node.orphans(ids)]);
        assert.deepStrictEqual(strays[0], []);
    }

    // The pod that the next subjects are in: it lives for as long as nothing ends it.
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

    // A container with a volume that counts how often it was started.
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

    // It runs, was started once, and can be used.
    async runs(container, name) {
        assert.strictEqual((await this.node.containerStatus(container)).state, 'CONTAINER_RUNNING');
        assert.strictEqual(await this.node.output(container, 'echo inside'), 'inside');
        await eventually('it has begun', () => this.starts(name) > 0);
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

// The same of a stopped pod and of one that runs.
const removal = {
    work: (s, {id}) => s.call('RemovePodSandbox', {pod_sandbox_id: id}),
    async again(s, {id}) {
        await s.call('RemovePodSandbox', {pod_sandbox_id: id});
        assert.deepStrictEqual((await s.call('ListContainers')).containers, []);
    },
};

// prepare(subjects, name) → what work and again are given; work(subjects, subject) is what is interrupted; after
// again(subjects, subject, name) the verb has been done, and nothing is left of what it was done to.
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
            await s.node.removePod(s.pod); // what it is resized to, the next one is not yet
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
            await eventually('its line is in the log', () => fs.readFileSync(log, 'utf8') !== '');
            assert.deepStrictEqual(s.node.logLines({log}).map(({text}) => text), ['started']);
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
        verb: 'ExecSync',
        prepare: (s, name) => s.start(name),
        work: (s, container) => s.node.exec(container, 'echo inside; echo done >> /done'),
        async again(s, container, name) {
            await s.runs(container, name);
            await s.goes(container);
        },
    },
];

// What asks the guest and changes nothing.
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
