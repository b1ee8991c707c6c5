// SPDX-License-Identifier: Apache-2.0
// Where the tests find what they test.
'use strict';
const path = require('path');

const root = path.join(__dirname, '../../..');
const build = process.env.CRIVIRT_BUILD || path.join(root, 'build/release');
const guests = {
    tuned: process.env.CRIVIRT_GUEST_TUNED || '/var/cache/crivirt/test-guests/tuned',
    stock: process.env.CRIVIRT_GUEST_STOCK || '/var/cache/crivirt/test-guests/stock',
};
// The QEMU of the pods: a value of the option hypervisor.qemu.
const qemu = process.env.CRIVIRT_TEST_QEMU || 'auto';
const programs = {
    crivirtd: path.join(build, 'cri-server/crivirtd'),
    crivirt: path.join(build, 'cri-server/cli/crivirt'),
    agent: path.join(build, 'agent/crivirt-agent'),
    serviceManager: path.join(build, 'tests/tools/service_manager'),
    guestTool: path.join(build, 'tests/tools/guest_tool'),
    stateful: path.join(build, 'tests/tools/stateful'),
    hostileAgent: path.join(build, 'tests/tools/hostile_agent'),
};

module.exports = {root, build, guests, qemu, programs};
