// SPDX-License-Identifier: Apache-2.0
// The network of a test's node: a network namespace with a bridge, and CNI's configuration. The namespace keeps apart what
// nodes that are tested at the same time have in common: addresses, ports, bridges and packet filter rules.
'use strict';
const fs = require('fs');
const path = require('path');
const {fork, spawn} = require('child_process');
const {command, must, serial} = require('./kit');

const NODE_IP = '192.0.2.10';
const BRIDGE = 'cvt0'; // of the CNI plugin
const INTERFACES = ['lo', 'node0', BRIDGE]; // which a node without pods may have

const conflist = (dataDir, more = []) => ({
    cniVersion: '1.0.0',
    name: 'test',
    plugins: [
        {
            type: 'bridge', bridge: BRIDGE, isGateway: true, ipMasq: true, hairpinMode: true,
            ipam: {
                type: 'host-local', dataDir,
                ranges: [[{subnet: '10.88.0.0/16'}], [{subnet: 'fd00:88::/64'}]],
                routes: [{dst: '0.0.0.0/0'}, {dst: '::/0'}],
            },
        },
        {type: 'portmap', capabilities: {portMappings: true}},
        ...more.map((type) => ({type})),
    ],
});

class Network {
    // The namespace gets that name; CNI's configuration, its addresses and the logs of processes are below the directory.
    constructor(name, dir) {
        this.netns = name;
        this.dir = dir;
        this.cniDir = path.join(dir, 'cni');
        this.ipamDir = path.join(dir, 'ipam');
        this.processes = [];
        fs.mkdirSync(this.cniDir);
    }

    // plugins: types of plugins behind those of the usual network.
    makeNetwork({cni = true, plugins = []} = {}) {
        must('ip', 'netns', 'add', this.netns);
        must('ip', '-n', this.netns, 'link', 'set', 'lo', 'up');
        must('ip', '-n', this.netns, 'link', 'add', 'node0', 'type', 'bridge');
        must('ip', '-n', this.netns, 'addr', 'add', `${NODE_IP}/24`, 'dev', 'node0');
        must('ip', '-n', this.netns, 'link', 'set', 'node0', 'up');
        this.inNetwork('sysctl', '-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
        if (cni)
            this.writeCni(JSON.stringify(conflist(this.ipamDir, plugins)));
    }

    writeCni(text = JSON.stringify(conflist(this.ipamDir))) {
        fs.writeFileSync(path.join(this.cniDir, '10-test.conflist.tmp'), text);
        fs.renameSync(path.join(this.cniDir, '10-test.conflist.tmp'), path.join(this.cniDir, '10-test.conflist'));
    }

    removeCni() {
        fs.rmSync(path.join(this.cniDir, '10-test.conflist'), {force: true});
    }

    // The command line of nsenter that runs these words in the network.
    nsenter(...words) {
        return [`--net=/run/netns/${this.netns}`, ...words];
    }

    // The output of a command in the network, which must succeed.
    inNetwork(...words) {
        return must('nsenter', ...this.nsenter(...words));
    }

    // {code, stdout, stderr} of a command in the network.
    run(...words) {
        return command('nsenter', this.nsenter(...words));
    }

    // Starts a long-lived process in the network, which is killed with the node.
    spawn(words, logName) {
        const log = fs.openSync(path.join(this.dir, logName), 'a');
        const child = spawn('nsenter', this.nsenter(...words), {stdio: ['ignore', log, log], detached: true});
        fs.closeSync(log);
        child.ended = new Promise((resolve) => child.on('exit', (code, signal) => resolve({code, signal})));
        child.on('exit', () => { child.gone = true; });
        this.processes.push(child);
        return child;
    }

    // A net.Socket of a TCP connection that is made in the network.
    connect(host, port) {
        if (!this.connector)
            this.connector = this.startConnector();
        const id = `${host} port ${port} (${serial()})`;
        return new Promise((resolve, reject) => {
            this.connector.waiting.set(id, {resolve, reject});
            this.connector.send({id, host, port});
        });
    }

    startConnector() {
        const connector = fork(path.join(__dirname, 'connector.js'), [], {
            execPath: 'nsenter', execArgv: this.nsenter(process.execPath), stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        });
        connector.waiting = new Map();
        connector.on('message', ({id, error}, socket) => {
            const {resolve, reject} = connector.waiting.get(id);
            connector.waiting.delete(id);
            if (error)
                reject(Object.assign(new Error(`connecting to ${id}: ${error}`), {code: error}));
            else
                resolve(socket);
        });
        connector.on('exit', () => { connector.gone = true; });
        this.processes.push(connector);
        return connector;
    }
}

module.exports = {BRIDGE, Network, NODE_IP, INTERFACES};
