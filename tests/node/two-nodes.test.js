// SPDX-License-Identifier: Apache-2.0
// Two virtual nodes with a network between them: pods reach each other across nodes, over routes of the nodes and over a vxlan,
// by hostPort and by a Service's address, and firewalls between them hold. The nodes have no kube-proxy: the rules of a Service are
// written here, as kube-proxy writes them, once with iptables and once with nftables. A pod that was saved on one node goes on on
// the other, whose processor is another one, also after a reboot.
//   tests/run.sh --node two-nodes     (not in CI: two emulated nodes take two to ten minutes)
'use strict';
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {after} = require('node:test');
const {eventually, refused} = require('../integration/support/kit');
const {step, onNodes} = require('./support/steps');

const SERVICE = '10.96.0.10';
const VXLAN_MTU = 1450;
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-wire-'));
const socket = path.join(directory, 'wire');
const mac = (number) => `52:54:00:77:00:0${number}`;

// Numbers of nodes are 1 and 2: addresses, pods' networks and names follow from them.
const address = (number) => `192.168.77.${number}`;
const podNetwork = (number) => `10.119.${number}.0/24`;
const other = (number) => 3 - number;

const nodes = [];
onNodes({
    one: {memory: '3G', cpu: 'EPYC', wire: {socket, server: true, mac: mac(1)}},
    // Without the protection that guests would have there alone.
    two: {memory: '3G', cpu: 'EPYC-Rome,-umip', wire: {socket, server: false, mac: mac(2)}},
}, ({one, two}) => { nodes.push(one, two); });
after(() => fs.rmSync(directory, {recursive: true, force: true}));

const onBoth = (work) => Promise.all(nodes.map((node, index) => work(node, index + 1)));

// The network of pods without masquerading, so that a pod sees the other pod's address.
const conflist = (number, mtu) => ({
    cniVersion: '1.0.0', name: 'pods',
    plugins: [
        {
            type: 'bridge', bridge: 'crivirt0', isGateway: true, ipMasq: false, hairpinMode: true, ...(mtu ? {mtu} : {}),
            ipam: {type: 'host-local', ranges: [[{subnet: podNetwork(number)}]], routes: [{dst: '0.0.0.0/0'}]},
        },
        {type: 'portmap', capabilities: {portMappings: true}},
    ],
});

// A web server that answers with its pod's name and the address of the client, and a server of a file of 2 MiB at port 81.
const SERVER = `mkdir -p /www/cgi-bin
    printf '#!/bin/sh\\necho; echo "$(hostname) $REMOTE_ADDR"\\n' > /www/cgi-bin/who
    chmod 755 /www/cgi-bin/who
    head -c 2097152 /dev/urandom > /www/big
    nc -ll -p 81 -e cat /www/big &
    exec httpd -f -p 0.0.0.0:80 -h /www`;

// A shell command that prints the answer of that web server. (The wget of Debian's static busybox may crash.)
const fetchFrom = (where, seconds = 20) => {
    const [ip, port = 80] = where.split(':');
    return `printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | busybox nc -w ${seconds} ${ip} ${port} | busybox sed '1,/^.\\?$/d'`;
};

// {node, pod, container, ip} of a pod with that server.
async function runServer(node, name, more = {}) {
    const pod = await node.runPod(name, {hostname: name, ...more});
    const container = await node.runContainer(pod, 'web', SERVER);
    const {network: {ip}} = await node.podStatus(pod);
    return {node, pod, container, name, ip};
}

const answerTo = async (client, where, seconds) => {
    const {stdout} = await client.node.call('ExecSync',
        {container_id: client.container.id, cmd: ['/bin/sh', '-c', fetchFrom(where, seconds)], timeout: 0});
    return stdout.toString().trim();
};

// What the server at an address (and port) answers to a pod: "NAME CLIENT".
const ask = (client, where) => eventually(`${where} answers pod ${client.name}`, () => answerTo(client, where));
const askFromNode = (node, where) => eventually(`${where} answers a node`, async () =>
    (await node.vm.run(fetchFrom(where))).stdout.trim());

let servers = [];

const runServers = async (prefix, more) => {
    servers = await onBoth((node, number) => runServer(node, `${prefix}${number}`, more));
};
const removeServers = () => Promise.all(servers.map(({node, pod}) => node.removePod(pod)));

// Each pod gets the other's answer, which has the first one's own address: nothing on the way has changed it.
async function assertPodsReachEachOther() {
    const [one, two] = servers;
    assert.strictEqual(await ask(one, two.ip), `${two.name} ${one.ip}`);
    assert.strictEqual(await ask(two, one.ip), `${one.name} ${two.ip}`);
}

// 2 MiB arrive as they were sent, in segments as long as the network allows.
async function assertLargeTransfer() {
    const [one, two] = servers;
    const wanted = await two.node.output(two.container, 'sha256sum < /www/big');
    assert.strictEqual(await one.node.output(one.container, `nc -w 60 ${two.ip} 81 < /dev/null | sha256sum`), wanted);
}

step('two nodes with the package reach each other, and route each other\'s pods', async () => {
    await onBoth(async (node, number) => {
        // The daemon's start waits until the node's networks are configured.
        await node.vm.must(`cat > /etc/systemd/network/70-wire.network << 'END'
[Match]
MACAddress=${mac(number)}
[Network]
Address=${address(number)}/24
LinkLocalAddressing=no
[Route]
Destination=${podNetwork(other(number))}
Gateway=${address(other(number))}
END
            systemctl restart systemd-networkd`);
        await node.install();
        await node.vm.must(`mkdir -p /etc/crivirt/crivirt.toml.d
            printf '[handlers.portable]\\ncpu = "x86-64-v3"\\n' > /etc/crivirt/crivirt.toml.d/portable.toml`);
        await node.configure(conflist(number));
        await node.loadBusybox();
    });
    await onBoth((node, number) => eventually(`node ${number} reaches the other`, async () =>
        (await node.vm.run(`busybox ping -c 1 -W 5 ${address(other(number))}`)).code === 0));
});

step('pods on two nodes reach each other by routes of the nodes, with their own addresses', async () => {
    await runServers('routed', {port_mappings: [{container_port: 80, host_port: 8080}]});
    assert.match(servers[0].ip, /^10\.119\.1\./);
    assert.match(servers[1].ip, /^10\.119\.2\./);
    await assertPodsReachEachOther();
    await assertLargeTransfer();
});

step('a hostPort is reached from the other node and from a pod there', async () => {
    const [one, two] = servers;
    assert.strictEqual(await askFromNode(nodes[0], `${address(2)}:8080`), `${two.name} ${address(1)}`);
    assert.strictEqual(await ask(one, `${address(2)}:8080`), `${two.name} ${one.ip}`);
});

// ---- a firewall between pods, as NetworkPolicies make it ----

// The ways in which a plugin lets only one address reach a pod, {name, rules, end, refused}: by iptables, which sees what the bridge
// forwards because br_netfilter passes it on, and by the bridge's own hooks, where what comes from other nodes is the bridge's output.
// refused prints how many packets the rules have stopped.
const firewalls = (to, from) => [
    {
        name: 'iptables',
        rules: `iptables -N POLICY
            iptables -I FORWARD -d ${to} -j POLICY
            iptables -A POLICY -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
            iptables -A POLICY -s ${from} -j RETURN
            iptables -A POLICY -j REJECT`,
        end: `iptables -D FORWARD -d ${to} -j POLICY; iptables -F POLICY; iptables -X POLICY`,
        refused: 'iptables -nvxL POLICY | awk \'/REJECT/ { print $1 }\'',
    },
    {
        name: 'nftables on the bridge',
        rules: `nft -f - << 'END'
table bridge pods {
    counter refused { }
    chain guard {
        ip saddr ${from} accept
        tcp flags & (syn | ack) == syn counter name refused drop
    }
    chain forward { type filter hook forward priority filter; ip daddr ${to} jump guard; }
    chain output { type filter hook output priority filter; ip daddr ${to} jump guard; }
}
END`,
        end: 'nft delete table bridge pods',
        refused: 'nft list counter bridge pods refused | awk \'/packets/ { print $2 }\'',
    },
];

step('a firewall lets one pod reach another, and refuses pods of both nodes', async () => {
    const [one, two] = servers;
    const others = await onBoth((node, number) => runServer(node, `other${number}`));
    for (const {name, rules, end, refused} of firewalls(two.ip, one.ip)) {
        for (const client of [one, ...others])
            await ask(client, two.ip);
        await two.node.vm.must(rules);
        let before = 0;
        for (const other of others) {
            assert.strictEqual(await answerTo(other, two.ip, 5), '', `${name}: pod ${other.name} is refused`);
            const packets = Number(await two.node.vm.must(refused));
            assert.ok(packets > before, `${name} has stopped what pod ${other.name} sent`);
            before = packets;
        }
        assert.strictEqual(await ask(one, two.ip), `${two.name} ${one.ip}`);
        assert.strictEqual(await ask(two, others[1].ip), `${others[1].name} ${two.ip}`);
        await two.node.vm.must(end);
    }
    await Promise.all(others.map(({node, pod}) => node.removePod(pod)));
});

// ---- a Service with both pods as endpoints: kube-proxy's rules ----

// Every second connection goes to each endpoint. A pod that reaches itself this way is masqueraded, as is the node.
const iptablesService = (endpoints) => `
    iptables -t nat -N KUBE-SVC
    iptables -t nat -A PREROUTING -d ${SERVICE}/32 -p tcp --dport 80 -j KUBE-SVC
    iptables -t nat -A OUTPUT -d ${SERVICE}/32 -p tcp --dport 80 -j KUBE-SVC
    ${endpoints.map(({ip}) => `iptables -t nat -A POSTROUTING -s ${ip}/32 -d ${ip}/32 -p tcp --dport 80 -j MASQUERADE`).join('\n')}
    iptables -t nat -A KUBE-SVC -p tcp -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination ${endpoints[0].ip}:80
    iptables -t nat -A KUBE-SVC -p tcp -j DNAT --to-destination ${endpoints[1].ip}:80`;

const iptablesServiceEnd = (endpoints) => `
    iptables -t nat -D PREROUTING -d ${SERVICE}/32 -p tcp --dport 80 -j KUBE-SVC
    iptables -t nat -D OUTPUT -d ${SERVICE}/32 -p tcp --dport 80 -j KUBE-SVC
    ${endpoints.map(({ip}) => `iptables -t nat -D POSTROUTING -s ${ip}/32 -d ${ip}/32 -p tcp --dport 80 -j MASQUERADE`).join('\n')}
    iptables -t nat -F KUBE-SVC
    iptables -t nat -X KUBE-SVC`;

const nftService = (endpoints) => `nft -f - << 'END'
table ip kube-proxy {
    chain service {
        dnat to numgen inc mod 2 map { 0 : ${endpoints[0].ip}, 1 : ${endpoints[1].ip} }
    }
    chain prerouting {
        type nat hook prerouting priority dstnat; policy accept;
        ip daddr ${SERVICE} tcp dport 80 jump service
    }
    chain output {
        type nat hook output priority -100; policy accept;
        ip daddr ${SERVICE} tcp dport 80 jump service
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ${endpoints.map(({ip}) => `ip saddr ${ip} ip daddr ${ip} masquerade`).join('\n        ')}
    }
}
END`;

// From a pod, several calls get answers of both endpoints, the pod itself among them.
async function assertServiceWorks() {
    const names = servers.map(({name}) => name).sort();
    for (const client of servers) {
        const answers = [];
        for (let i = 0; i < 4; i++)
            answers.push((await ask(client, SERVICE)).split(' ')[0]);
        assert.deepStrictEqual([...new Set(answers)].sort(), names);
    }
    assert.match(await askFromNode(nodes[0], SERVICE), /^routed[12] /);
}

step('a Service\'s address leads pods to pods of both nodes, by rules of iptables', async () => {
    await onBoth((node) => node.vm.must(iptablesService(servers)));
    await assertServiceWorks();
    await onBoth((node) => node.vm.must(iptablesServiceEnd(servers)));
});

step('a Service\'s address leads pods to pods of both nodes, by rules of nftables', async () => {
    await onBoth((node) => node.vm.must(nftService(servers)));
    await assertServiceWorks();
    await onBoth((node) => node.vm.must('nft delete table ip kube-proxy'));
});

// ---- an overlay ----

step('pods on two nodes reach each other over a vxlan, and their guests have its MTU', async () => {
    await removeServers();
    await onBoth(async (node, number) => {
        await node.configure(conflist(number, VXLAN_MTU));
        await node.vm.must(`ip route del ${podNetwork(other(number))}
            ip link del crivirt0
            ip link add overlay type vxlan id 42 dstport 4789 local ${address(number)} remote ${address(other(number))}
            ip link set overlay mtu ${VXLAN_MTU} up
            ip addr add 10.118.0.${number}/24 dev overlay
            ip route add ${podNetwork(other(number))} via 10.118.0.${other(number)} dev overlay`);
        await node.answers();
    });
    await runServers('overlaid');
    for (const {node, container} of servers)
        assert.strictEqual(await node.output(container, 'cat /sys/class/net/eth0/mtu'), String(VXLAN_MTU));
    await assertPodsReachEachOther();
    await assertLargeTransfer();
    await removeServers();
});

// ---- checkpoints ----

// Counts in memory. Each number is a line of the log and of a file on a volume, which stays open.
const COUNTER = 'exec 3>> /data/numbers; n=0; while sleep 0.2; do n=$((n + 1)); echo $n; echo $n >&3; done';
const DATA = '/srv/data', SAVED = '/srv/saved';
const mounts = [{host_path: DATA, container_path: '/data'}];
const numbersOf = async (node, file) => (await node.vm.must(`cat ${file} 2>/dev/null | sed 's/.* F //'`)).split('\n').map(Number);

let saved; // the container

async function save(node, handler, directory) {
    await node.vm.must(`mkdir -p ${DATA}`);
    const pod = await node.runPod(`saved-${handler || 'host'}`, {}, handler);
    const container = await node.runContainer(pod, 'counter', COUNTER, {mounts});
    await eventually('it has counted', async () => (await numbersOf(node, container.log)).length > 5);
    await node.checkpoint(pod, container, directory);
    await node.removePod(pod);
    return container;
}

// The count goes on where it was saved: in the log, and in the file, whose lines are those of the saved pod and of this one.
async function assertGoesOn({pod, container}) {
    const [, two] = nodes;
    const logged = await eventually('it goes on', async () => {
        const found = await numbersOf(two, container.log);
        return found.length > 10 && found;
    });
    assert.ok(logged[0] > 5, `it begins with ${logged[0]}`);
    assert.deepStrictEqual(logged, logged.map((_, i) => logged[0] + i));
    const written = await numbersOf(two, `${DATA}/numbers`);
    assert.ok(written.includes(logged[0]) && written.length >= logged.length + logged[0] - 1);
    const model = await two.output(container, 'sed -n "s/^model name.*: //p" /proc/cpuinfo');
    await two.removePod(pod);
    return model;
}

step('a pod that was saved with a level of x86-64 goes on on a node with another processor', async () => {
    const [one, two] = nodes;
    const models = await onBoth((node) => node.vm.must('sed -n "s/^model name.*: //p" /proc/cpuinfo | head -n 1'));
    assert.notStrictEqual(models[0], models[1]);
    saved = await save(one, 'portable', SAVED);
    one.vm.send(SAVED, two.vm);
    one.vm.send(DATA, two.vm);
    assert.strictEqual(await assertGoesOn(await two.restore(SAVED, 'moved', saved, 'portable')), 'x86-64-v3');
});

step('a pod that was saved with the processor of its node is refused on the other, by its name', async () => {
    const [one, two] = nodes;
    const container = await save(one, '', `${SAVED}-host`);
    one.vm.send(`${SAVED}-host`, two.vm);
    await refused(two.restore(`${SAVED}-host`, 'refused', container), 'FAILED_PRECONDITION',
                  'processor: the checkpoint has', 'EPYC', 'EPYC-Rome');
    await refused(two.restore(`${SAVED}-host`, 'refused', container, 'portable'), 'FAILED_PRECONDITION', 'processor', 'x86-64-v3');
});

step('after a reboot of the node pods go on that were saved there and on the other', async () => {
    const [one, two] = nodes;
    const local = await save(two, '', `${SAVED}-local`);
    await two.vm.reboot();
    await two.answers();
    assert.match(await assertGoesOn(await two.restore(`${SAVED}-local`, 'local', local)), /EPYC-Rome/);
    one.vm.send(DATA, two.vm);
    assert.strictEqual(await assertGoesOn(await two.restore(SAVED, 'rebooted', saved, 'portable')), 'x86-64-v3');
});
