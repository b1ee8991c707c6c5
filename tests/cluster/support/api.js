// SPDX-License-Identifier: Apache-2.0
// An API server with one node, for switch.sh: what a kubelet may do there, with the answers that Kubernetes gives. The node's status
// follows the files of a Scratch: its kubelet runs while /kubelet-runs exists, with the runtime that its configuration names.
'use strict';
const http = require('http');

const NODE = 'node-1';

class Api {
    constructor(node, endpoint) {
        this.node = node;
        this.endpoint = endpoint; // () => the endpoint that the kubelet's configuration names
        this.labels = {};
        this.annotations = {};
        this.unschedulable = undefined;
        this.pods = [];
        this.events = [];
        this.requests = [];
        this.mayEvict = () => true;
        this.onDelete = () => {};
        this.becomesReady = () => true; // (endpoint) => whether a kubelet with this runtime becomes ready
        this.server = http.createServer((request, response) => this.serve(request, response));
    }

    async listen() {
        await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
        this.url = `http://127.0.0.1:${this.server.address().port}`;
    }

    close() {
        this.server.close();
        this.server.closeAllConnections();
    }

    get object() {
        const runs = this.node.exists('kubelet-runs');
        const endpoint = this.endpoint();
        const ready = runs && this.becomesReady(endpoint);
        if (ready)
            this.runtime = endpoint.includes('crivirtd') ? 'crivirt://0.1.0' : 'containerd://1.7';
        return {
            metadata: {name: NODE, labels: this.labels, annotations: this.annotations}, spec: {unschedulable: this.unschedulable},
            status: {nodeInfo: {containerRuntimeVersion: this.runtime}, conditions: [
                {type: 'Ready', status: ready ? 'True' : 'Unknown', lastHeartbeatTime: new Date().toISOString().replace(/\.\d+/, '')}]},
        };
    }

    async serve(request, response) {
        let body = '';
        for await (const data of request)
            body += data;
        const {status, answer} = this.answer(request, request.url, body && JSON.parse(body));
        response.writeHead(status, {'content-type': 'application/json'});
        response.end(JSON.stringify(answer));
    }

    answer({method, headers}, url, body) {
        const ok = (answer) => ({status: 200, answer});
        this.requests.push({method, url, body});
        if (headers.authorization !== 'Bearer of-the-kubelet')
            return {status: 401, answer: {message: 'Unauthorized'}};
        if (url === '/apis/authentication.k8s.io/v1/selfsubjectreviews')
            return {status: 201, answer: {status: {userInfo: {username: `system:node:${NODE}`}}}};
        if (url === `/api/v1/nodes/${NODE}`) {
            if (method === 'PATCH')
                this.patch(headers, body);
            return ok(this.object);
        }
        if (url.startsWith(`/api/v1/pods?fieldSelector=spec.nodeName%3D${NODE}`))
            return ok({items: this.pods.filter((pod) => !url.includes('canary') || pod.metadata.canary)});
        const deletion = method === 'DELETE' && /^\/api\/v1\/namespaces\/[^/]+\/pods\/([^/]+)$/.exec(url);
        if (deletion) {
            this.onDelete(this.pods.find(({metadata}) => metadata.name === deletion[1]));
            return ok({});
        }
        const eviction = /^\/api\/v1\/namespaces\/([^/]+)\/pods\/([^/]+)\/eviction$/.exec(url);
        if (eviction)
            return this.evict(eviction[1], eviction[2]);
        if (url === '/api/v1/namespaces/default/events') {
            this.events.push(body);
            return {status: 201, answer: body};
        }
        return {status: 403, answer: {message: `forbidden: ${method} ${url}`}};
    }

    // A merge patch of what switch.sh changes; a value of null removes the key.
    patch(headers, {metadata = {}, spec = {}}) {
        if (headers['content-type'] !== 'application/merge-patch+json')
            throw new Error(`a patch of type ${headers['content-type']}`);
        for (const kind of ['labels', 'annotations'])
            for (const [key, value] of Object.entries(metadata[kind] || {}))
                if (value === null)
                    delete this[kind][key];
                else
                    this[kind][key] = value;
        if ('unschedulable' in spec)
            this.unschedulable = spec.unschedulable ?? undefined;
    }

    evict(namespace, name) {
        if (!this.mayEvict(name))
            return {status: 429, answer: {message: 'Cannot evict pod as it would violate the disruption budget'}};
        this.pods = this.pods.filter(({metadata}) => metadata.namespace !== namespace || metadata.name !== name);
        return {status: 201, answer: {}};
    }
}

const pod = (name, metadata = {}, status = {phase: 'Running'}) => ({metadata: {namespace: 'shop', name, ...metadata}, status});

module.exports = {Api, NODE, pod};
