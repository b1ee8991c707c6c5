// SPDX-License-Identifier: Apache-2.0
// What pods leave behind on a test's node: processes, mounts, namespaces, devices, rules, addresses and files.
'use strict';
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {INTERFACES} = require('./network');
const {processesOf} = require('./processes');
const {listing, must, sleep} = require('./kit');

// A file that vanishes meanwhile may be among them.
function files(directory) {
    return listing(directory).flatMap((name) => {
        const file = path.join(directory, name);
        return fs.lstatSync(file, {throwIfNoEntry: false})?.isDirectory() ? [file, ...files(file)] : [file];
    });
}

// A file that may vanish meanwhile.
function contents(file) {
    try {
        return fs.readFileSync(file, 'utf8');
    } catch {
        return '';
    }
}

// The names of host-local's files are the addresses that are taken; their contents name the pod.
const addressFiles = (node) => files(node.ipamDir).filter((file) => /\/[0-9a-f.:]*[.:][0-9a-f.:]*$/.test(file));

// Whether the text names a VM without a pod that the daemon has a record of: one of the pool, or one for a template.
const isUnassigned = (node, text) =>
    listing(path.join(node.stateDir, 'guests')).some((id) => text.includes(id.slice(0, 12)));

function mounts(node) {
    return contents('/proc/self/mountinfo').split('\n')
        .filter((line) => line.includes(node.dir) || line.includes(node.runDir))
        .map((line) => line.split(' ')[4]).filter((target) => !node.mounts.includes(target));
}

function loopDevices(node) {
    return listing('/sys/block').filter((name) => {
        const file = contents(`/sys/block/${name}/loop/backing_file`);
        return file.includes(node.dir) || file.includes(node.runDir);
    });
}

// A VM of the pool may have a network. The chains of its rules have names of their own, which the rules with its id tell.
function rulesOfPods(node) {
    const lines = node.inNetwork('sh', '-c', 'iptables-save; ip6tables-save').split('\n');
    const chain = /CNI-[0-9a-f]{24}/;
    const ofPool = lines.filter((line) => isUnassigned(node, line)).map((line) => chain.exec(line)?.[0]);
    return lines.filter((line) => /CNI-DN-/.test(line) || (chain.test(line) && !ofPool.includes(chain.exec(line)[0])) ||
        node.podIds.some((id) => line.includes(id)));
}

// The directory of network namespaces is a mount while it has one.
const isOfPool = (node, mount) => isUnassigned(node, mount) ||
    (mount === path.join(node.runDir, 'netns') && listing(mount).some((name) => isUnassigned(node, name)));

// The paths of the network namespaces of pods and VMs of the pool.
const namespaces = (node) => listing(path.join(node.runDir, 'netns')).map((name) => path.join(node.runDir, 'netns', name));

// The interfaces in a network namespace, which the daemon may have mounted where only it sees that. One that is being made or
// removed is a mere file.
function links(node, netns) {
    const asDaemon = node.daemon && !node.daemon.gone ? [`--mount=/proc/${node.daemon.pid}/ns/mnt`, 'nsenter'] : [];
    try {
        return JSON.parse(must('nsenter', ...asDaemon, `--net=${netns}`, 'ip', '-j', 'link'));
    } catch {
        return [];
    }
}

// The indices of the interfaces on the node that those of VMs of the pool are attached to.
const peersOfPool = (node) =>
    namespaces(node).filter((netns) => isUnassigned(node, netns)).flatMap((netns) => links(node, netns)).map((link) => link.link_index);

// Descriptions of everything that is left of the node's pods, which should all have been removed. The daemon may still run.
function leaks(node) {
    const known = new Set(node.processes.map((child) => child.pid));
    const isOfPod = (text) => node.podIds.some((id) => text.includes(id.slice(0, 12)));
    const ofPool = peersOfPool(node);
    const interfaces = JSON.parse(must('ip', '-n', node.netns, '-j', 'link'))
        .filter(({ifindex}) => !ofPool.includes(ifindex)).map(({ifname}) => ifname);
    return [
        ...processesOf(node).filter(({pid, words}) => !known.has(pid) && !isUnassigned(node, words.join(' ')))
            .map(({pid, words}) => `process ${pid}: ${words[0]}`),
        ...mounts(node).filter((target) => !isOfPool(node, target)).map((target) => `mount ${target}`),
        ...listing('/run/netns').filter(isOfPod).map((name) => `network namespace ${name}`),
        ...loopDevices(node).map((name) => `loop device ${name}`),
        ...interfaces.filter((name) => !INTERFACES.includes(name) && !isUnassigned(node, name)).map((name) => `interface ${name}`),
        ...rulesOfPods(node).map((rule) => `packet filter rule ${rule}`),
        ...addressFiles(node).filter((file) => !isUnassigned(node, contents(file))).map((file) => `address ${file}`),
        // A file or directory that belongs to a pod has the pod's id in its name.
        ...[...files(node.stateDir), ...files(node.runDir)].filter(isOfPod).map((file) => `file ${file}`),
    ];
}

// The taps in the network namespaces of the node and of its pods.
const taps = (node) => [`/run/netns/${node.netns}`, ...namespaces(node)].flatMap((netns) => links(node, netns))
    .map(({ifname}) => ifname).filter((name) => /^cv[0-9a-f]{12}$/.test(name));

// What is on the node for pods other than those with these ids.
function orphans(node, ids) {
    const isKnown = (text) => ids.some((id) => text.includes(id.slice(0, 12))) || isUnassigned(node, text);
    const places = [
        path.join(node.stateDir, 'pods'), path.join(node.stateDir, 'libvirt/run/qemu'), path.join(node.stateDir, 'libvirt/log/qemu'),
        ...['vm', 'share', 'netns'].map((name) => path.join(node.runDir, name)),
    ];
    return [
        ...places.flatMap((place) => listing(place).map((name) => path.join(place, name)))
            .filter((file) => /[0-9a-f]{12}/.test(path.basename(file)) && !isKnown(path.basename(file))),
        ...taps(node).filter((name) => !isKnown(name)).map((name) => `interface ${name}`),
        ...processesOf(node).filter(({words}) => /qemu-system|virtiofsd/.test(words[0]) && !isKnown(words.join(' ')))
            .map(({pid, words}) => `process ${pid}: ${words[0]}`),
        ...addressFiles(node).filter((file) => !isKnown(contents(file))),
    ];
}

// Asserts that nothing is left. Processes that have been told to end get a while to do so.
async function noLeaks(node) {
    let found = leaks(node);
    for (const end = Date.now() + 20000; found.length > 0 && Date.now() < end; found = leaks(node))
        await sleep(100);
    assert.deepStrictEqual(found, []);
}

module.exports = {leaks, noLeaks, orphans};
