// SPDX-License-Identifier: Apache-2.0
'use strict';
// Saves pods and restores them, as most tests of checkpoints do.
const path = require('path');
const {serial} = require('./kit');

// Saves the containers of the pod into a new directory, whose path it returns. more: fields of the request.
async function checkpoint(node, pod, containers, more = {}) {
    const output_path = node.directory(`checkpoint${serial()}`);
    await node.cri.call('CheckpointPod', {
        pod_sandbox_id: pod.id, output_path, container_ids: containers.map(({id}) => id), ...more,
    });
    return output_path;
}

// Restores the containers into a pod of another name. pod: fields of its configuration; container: fields of those of the
// containers, or a function that makes these of the saved ones; request: fields of the request.
async function restore(node, checkpoint_path, containers, {pod, container = {}, request = {}} = {}) {
    const config = node.podConfig(pod);
    const changes = typeof container === 'function' ? container : () => container;
    const container_configs = containers.map(({config: one}) => ({...one, ...changes(one)}));
    const answer = await node.cri.call('RestorePod', {checkpoint_path, config, container_configs, ...request});
    node.podIds.push(answer.pod_sandbox_id);
    return {
        pod: {id: answer.pod_sandbox_id, config},
        containers: answer.restored_containers.map(({name, container_id: id}) => {
            const one = container_configs.find(({metadata}) => metadata.name === name);
            return {id, config: one, log: path.join(config.log_directory, one.log_path)};
        }),
    };
}

module.exports = {checkpoint, restore};
