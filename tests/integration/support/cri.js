// SPDX-License-Identifier: Apache-2.0
// A CRI client that shares no code with gRPC's C core. It reads the .proto files that crivirtd is built from.
'use strict';
const path = require('path');
const grpc = require('@grpc/grpc-js');
const loader = require('@grpc/proto-loader');

const protos = path.join(__dirname, '../../../common/cri-api');
const load = (file) => grpc.loadPackageDefinition(
    loader.loadSync(path.join(protos, file), {keepCase: true, longs: String, enums: String, defaults: true}));
const services = [
    load('api.proto').runtime.v1.RuntimeService,
    load('api.proto').runtime.v1.ImageService,
    load('crivirt.proto').crivirt.v1.Crivirt,
    load('health.proto').grpc.health.v1.Health,
];
// The same messages under the name of the API before v1, which some clients know alone.
const alphaServices = services.slice(0, 2).map((Service) => grpc.makeGenericClientConstructor(Object.fromEntries(
    Object.entries(Service.service).map(([name, method]) => [name, {...method, path: method.path.replace('.v1.', '.v1alpha2.')}]))));
const options = {'grpc.max_send_message_length': -1, 'grpc.max_receive_message_length': -1};

// Far beyond what is needed, because the machine may be busy and have no KVM. No test asserts on a time.
const DEADLINE_MS = 300000;

class Cri {
    constructor(socket, constructors = services) {
        this.clients = constructors.map((Service) => new Service(`unix://${socket}`, grpc.credentials.createInsecure(),
                                                             options));
    }

    // Calls a method of any service of the socket.
    call(method, request = {}, deadlineMs = DEADLINE_MS, metadata = new grpc.Metadata()) {
        const client = this.clients.find((one) => typeof one[method] === 'function');
        return new Promise((resolve, reject) => client[method](
            request, metadata, {deadline: Date.now() + deadlineMs}, (error, answer) => error ? reject(error) : resolve(answer)));
    }

    // Calls a method by its path, with bytes instead of a message.
    raw(methodPath, bytes) {
        return new Promise((resolve, reject) => this.clients[0].makeUnaryRequest(
            methodPath, (value) => value, (value) => value, bytes, {deadline: Date.now() + DEADLINE_MS},
            (error, value) => error ? reject(error) : resolve(value)));
    }

    close() {
        for (const client of this.clients)
            client.close();
    }
}

module.exports = {Cri, status: grpc.status, services, alphaServices};
