// SPDX-License-Identifier: Apache-2.0
// The script that switches a kubelet to crivirtd and back, in a directory as the root of a node, against an API server of the test.
'use strict';
const assert = require('assert');
const fs = require('fs');
const {spawn} = require('child_process');
const {test, beforeEach, afterEach} = require('node:test');
const {Scratch} = require('./support/scratch');
const {Api, NODE, pod} = require('./support/api');

const OLD = 'unix:///run/containerd/containerd.sock';
const CRIVIRT = 'unix:///run/crivirt/crivirtd.sock';
const CONFIG = `kind: KubeletConfiguration\ncontainerRuntimeEndpoint: ${OLD}\nfailSwapOn: false\n`;
const OLD_PODS = 'pods/_run_containerd_containerd.sock';
const CRIVIRT_PODS = 'pods/_run_crivirt_crivirtd.sock';
let node, api, kubelet;

// A process with the arguments of a kubelet.
function startKubelet(...words) {
    kubelet = spawn('sh', ['-c', 'read line', 'kubelet', '--kubeconfig=/etc/kubernetes/kubelet.conf', ...words]);
    node.write('kubelet.pid', String(kubelet.pid));
}

beforeEach(async () => {
    node = new Scratch();
    node.bundle('0.1.0-amd64', 'opt/crivirt/versions/0.1.0-amd64');
    await node.run('ln', ['-s', 'versions/0.1.0-amd64', node.at('opt/crivirt/current')]);
    node.addPrograms('opt/crivirt/current', 'curl', 'jq');
    api = new Api(node, () => /containerRuntimeEndpoint: (.*)/.exec(node.read('var/lib/kubelet/config.yaml'))[1]);
    await api.listen();
    node.write('etc/kubernetes/kubelet.conf', `clusters:\n- cluster:\n    server: ${api.url}\nusers:\n- user:\n    token: of-the-kubelet\n`);
    node.write('etc/systemd/system/kubelet.service', '[Service]\n');
    node.write('etc/crivirt/switch.conf', 'drain_seconds=4 ready_seconds=4 check_seconds=4 canary_seconds=0\n');
    node.write('var/lib/kubelet/config.yaml', CONFIG);
    node.write('kubelet-runs', '');
    node.write(OLD_PODS, 'old1\nold2\n');
    node.write(CRIVIRT_PODS, '');
    startKubelet('--config=/var/lib/kubelet/config.yaml');
});
afterEach(() => {
    kubelet.kill();
    api.close();
    node.end();
});

async function reconcile() {
    const {code, output} = await node.chrooted('switch.sh');
    assert.strictEqual(code, 0, output);
    return output;
}

const labels = () => Object.fromEntries(Object.entries(api.labels).map(([key, value]) => [key.replace('crivirt.io/', ''), value]));
const READY = {switch: 'true', state: 'ready', runtime: 'crivirt', version: '0.1.0', accelerator: 'kvm'};
const INSTALLED = {state: 'installed', version: '0.1.0', accelerator: 'kvm'};
const config = () => node.read('var/lib/kubelet/config.yaml');

async function switchOn() {
    api.labels['crivirt.io/switch'] = 'true';
    const output = await reconcile();
    assert.deepStrictEqual(labels(), READY, output);
    return output;
}

test('without the label nothing is changed, and the labels report the installation', async () => {
    await reconcile();
    assert.deepStrictEqual(labels(), INSTALLED);
    assert.strictEqual(config(), CONFIG);
    assert.ok(!node.calls().some((call) => /^(stop|start) /.test(call)));
});

test('the label switches the kubelet: drained, old pods ended, another endpoint, ready, uncordoned', async () => {
    api.pods = [pod('web'), pod('db', {ownerReferences: [{kind: 'StatefulSet', controller: true}]}),
                pod('proxy', {ownerReferences: [{kind: 'DaemonSet', controller: true}]}),
                pod('static', {annotations: {'kubernetes.io/config.mirror': 'x'}}), pod('done', {}, {phase: 'Succeeded'})];
    await switchOn();
    assert.deepStrictEqual(api.pods.map(({metadata}) => metadata.name), ['proxy', 'static', 'done']);
    assert.strictEqual(config(), `kind: KubeletConfiguration\nfailSwapOn: false\ncontainerRuntimeEndpoint: ${CRIVIRT}\n`);
    assert.strictEqual(api.unschedulable, undefined);
    const calls = node.calls();
    const at = (call) => calls.findIndex((one) => one.startsWith(call));
    const order = ['crivirt run', 'stop kubelet.service', 'crivirt -H /run/containerd/containerd.sock rmp -f old1 old2', 'start kubelet.service'];
    assert.deepStrictEqual(order.map(at).filter((index) => index < 0), []);
    assert.deepStrictEqual(order.map(at), order.map(at).sort((a, b) => a - b));
    assert.deepStrictEqual(api.events.map(({reason}) => reason), ['CrivirtSwitching', 'CrivirtSwitched']);
    assert.ok(node.exists('etc/crictl.yaml'));
});

test('nothing is done again once the kubelet uses crivirt', async () => {
    await switchOn();
    node.calls();
    await reconcile();
    assert.ok(!node.calls().some((call) => /^(stop|start) |crivirt run/.test(call)));
    assert.deepStrictEqual(labels(), READY);
});

test('without the label again, the kubelet gets the runtime and the file that it had', async () => {
    await switchOn();
    node.write(CRIVIRT_PODS, 'new1\n');
    delete api.labels['crivirt.io/switch'];
    await reconcile();
    assert.deepStrictEqual(labels(), INSTALLED);
    assert.strictEqual(config(), CONFIG);
    assert.ok(node.calls().includes('crivirt -H /run/crivirt/crivirtd.sock rmp -f new1'));
    assert.ok(!node.exists('etc/crictl.yaml'));
    assert.ok(!node.exists('var/lib/crivirt-switch/kubelet'));
});

test('a node that an administrator has cordoned stays cordoned', async () => {
    api.unschedulable = true;
    await switchOn();
    assert.strictEqual(api.unschedulable, true);
});

// A switch that fails: what the labels say, and that all is as before.
async function fails(reason, complaint) {
    api.labels['crivirt.io/switch'] = 'true';
    await reconcile();
    assert.deepStrictEqual(labels(), {...INSTALLED, switch: 'true', state: 'failed', reason});
    assert.strictEqual(config(), CONFIG);
    assert.strictEqual(api.unschedulable, undefined);
    assert.ok(node.exists('kubelet-runs'));
    const {type, message, involvedObject} = api.events.at(-1);
    assert.deepStrictEqual([type, involvedObject.kind, involvedObject.name], ['Warning', 'Node', NODE]);
    assert.match(message, complaint);
}

test('a node on which crivirt runs no pod is left alone, and is not tried again until the label changes', async () => {
    node.write('guest-boot-id', fs.readFileSync('/proc/sys/kernel/random/boot_id', 'utf8'));
    api.pods = [pod('web')];
    await fails('crivirt-runs-no-pod', /did not run in a VM/);
    assert.strictEqual(api.pods.length, 1);
    assert.ok(!node.calls().includes('stop kubelet.service'));
    await reconcile();
    assert.ok(!node.calls().some((call) => call.startsWith('crivirt run')));
    delete api.labels['crivirt.io/switch'];
    await reconcile();
    assert.deepStrictEqual(labels(), INSTALLED);
    node.write('guest-boot-id', 'of a guest');
    await switchOn();
});

test('a disruption budget that refuses the drain stops the switch before the kubelet is stopped', async () => {
    api.pods = [pod('web'), pod('db')];
    api.mayEvict = (name) => name !== 'db';
    await fails('cannot-drain', /after 4 s these pods are still on the node: shop db/);
    assert.ok(!node.calls().includes('stop kubelet.service'));
});

test('an old runtime that cannot end its pods stops the switch, and the kubelet runs again', async () => {
    node.write('fails/rmp', '');
    await fails('cannot-end-pods', /containerd\.sock still has pods/);
});

test('a kubelet that does not become ready gets its old runtime back', async () => {
    api.becomesReady = (endpoint) => endpoint !== CRIVIRT;
    node.write(CRIVIRT_PODS, 'new1\n');
    await fails('node-not-ready', /not Ready after 4 s/);
    assert.ok(node.calls().includes('crivirt -H /run/crivirt/crivirtd.sock rmp -f new1'));
});

test('a canary that does not run gives the kubelet its old runtime back', async () => {
    api.pods = [{...pod('canary-1', {canary: true, ownerReferences: [{kind: 'DaemonSet', controller: true}]}), status: {phase: 'Pending'}}];
    await fails('test-pod-failed', /DaemonSet crivirt-canary is not ready/);
});

test('a switch back that fails leaves the kubelet with crivirt', async () => {
    await switchOn();
    api.becomesReady = (endpoint) => endpoint === CRIVIRT;
    delete api.labels['crivirt.io/switch'];
    await reconcile();
    assert.deepStrictEqual(labels(), {...INSTALLED, state: 'failed', reason: 'node-not-ready', runtime: 'crivirt'});
    assert.ok(config().includes(CRIVIRT));
    assert.strictEqual(api.unschedulable, undefined);
});

test('a switch that was interrupted is undone by the next run', async () => {
    api.becomesReady = (endpoint) => endpoint !== CRIVIRT;
    api.labels['crivirt.io/switch'] = 'true';
    node.write('etc/crivirt/switch.conf', 'ready_seconds=600 check_seconds=4 canary_seconds=0\n');
    const run = node.chrooted('switch.sh');
    while (!node.exists('var/lib/crivirt-switch/step') || node.read('var/lib/crivirt-switch/step') !== 'node-not-ready\n')
        await new Promise((resolve) => setTimeout(resolve, 50));
    node.child.kill('SIGKILL');
    await run;
    node.write('etc/crivirt/switch.conf', 'ready_seconds=4 check_seconds=4 canary_seconds=0\n');
    assert.match(await reconcile(), /the last move was interrupted at its step 'node-not-ready'/);
    assert.deepStrictEqual(labels(), {...INSTALLED, switch: 'true', state: 'failed', reason: 'node-not-ready'});
    assert.strictEqual(config(), CONFIG);
    assert.strictEqual(api.unschedulable, undefined);
});

test('an API server that does not answer changes nothing', async () => {
    node.write('etc/kubernetes/kubelet.conf', node.read('etc/kubernetes/kubelet.conf').replace('of-the-kubelet', 'of-nobody'));
    api.labels['crivirt.io/switch'] = 'true';
    assert.match(await reconcile(), /401: Unauthorized/);
    assert.strictEqual(config(), CONFIG);
});

const canaryPod = (uid, ready) => ({
    ...pod('canary-1', {canary: true, uid, ownerReferences: [{kind: 'DaemonSet', controller: true}]}),
    status: {phase: 'Running', conditions: [{type: 'Ready', status: ready ? 'True' : 'False'}]},
});

test('check runs a pod without the kubelet, unless the kubelet uses crivirt', async () => {
    assert.strictEqual((await node.chrooted('switch.sh', 'check')).code, 0);
    assert.ok(node.calls().some((call) => call.startsWith('crivirt run')));
    node.write('guest-boot-id', '');
    assert.strictEqual((await node.chrooted('switch.sh', 'check')).code, 1);
});

test('check renews the canary where the kubelet uses crivirt, and fails when the new one is not ready', async () => {
    api.pods = [canaryPod('one', true)];
    await switchOn();
    node.calls();
    api.onDelete = () => { api.pods = [canaryPod('two', true)]; };
    const {code, output} = await node.chrooted('switch.sh', 'check');
    assert.strictEqual(code, 0, output);
    assert.ok(!node.calls().some((call) => call.startsWith('crivirt run')));
    api.onDelete = () => { api.pods = [canaryPod('three', false)]; };
    assert.strictEqual((await node.chrooted('switch.sh', 'check')).code, 1);
});

test('a check beside a run of the timer disturbs neither', async () => {
    const runs = await Promise.all([1, 2, 3, 4].map((number) => node.chrooted('switch.sh', ...(number > 2 ? ['check'] : []))));
    assert.deepStrictEqual(runs.map(({code}) => code), [0, 0, 0, 0]);
    assert.deepStrictEqual(runs.map(({output}) => output).filter((output) => /40[13]/.test(output)), []);
    assert.deepStrictEqual(fs.readdirSync(node.at('run')), []);
});

test('forget removes the labels that the script has set', async () => {
    await reconcile();
    const {code, output} = await node.chrooted('switch.sh', 'forget');
    assert.strictEqual(code, 0, output);
    assert.deepStrictEqual(labels(), {});
});

// ---- the ways in which kubelets are told their runtime ----

async function thereAndBack(file, original, changed) {
    if (original !== undefined)
        node.write(file, original);
    api.endpoint = () => (node.exists(file) && node.read(file).includes('crivirtd.sock') ? CRIVIRT : OLD);
    await switchOn();
    assert.strictEqual(node.read(file), changed);
    delete api.labels['crivirt.io/switch'];
    await reconcile();
    assert.strictEqual(node.exists(file) ? node.read(file) : undefined, original);
}

test('kubeadm: the flags of the kubelet are changed, and the annotation that kubeadm reads at an upgrade', async () => {
    kubelet.kill();
    startKubelet('--config=/var/lib/kubelet/config.yaml', `--container-runtime-endpoint=${OLD}`, '--pod-infra-container-image=pause');
    api.annotations['kubeadm.alpha.kubernetes.io/cri-socket'] = OLD;
    const flags = (endpoint) => `KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=${endpoint} --pod-infra-container-image=pause"\n`;
    node.write('var/lib/kubelet/kubeadm-flags.env', flags(OLD));
    api.endpoint = () => (node.read('var/lib/kubelet/kubeadm-flags.env').includes('crivirtd') ? CRIVIRT : OLD);
    await switchOn();
    assert.strictEqual(node.read('var/lib/kubelet/kubeadm-flags.env'), flags(CRIVIRT));
    assert.strictEqual(api.annotations['kubeadm.alpha.kubernetes.io/cri-socket'], CRIVIRT);
    delete api.labels['crivirt.io/switch'];
    await reconcile();
    assert.strictEqual(node.read('var/lib/kubelet/kubeadm-flags.env'), flags(OLD));
    assert.strictEqual(api.annotations['kubeadm.alpha.kubernetes.io/cri-socket'], OLD);
});

// kubeadm v1.36: the kubelet's configuration names the endpoint, and instance-config.yaml has it for kubeadm's next upgrade.
const INSTANCE = 'var/lib/kubelet/instance-config.yaml';
const instance = (endpoint, mark = '"') => `containerRuntimeEndpoint: ${mark}${endpoint}${mark}\n`;

test('kubeadm v1.36: the endpoint that its upgrades write into the kubelet\'s configuration is changed as well', async () => {
    node.write(INSTANCE, instance(OLD));
    await switchOn();
    assert.ok(config().includes(CRIVIRT));
    assert.strictEqual(node.read(INSTANCE), instance(CRIVIRT, ''));
    delete api.labels['crivirt.io/switch'];
    await reconcile();
    assert.deepStrictEqual([config(), node.read(INSTANCE)], [CONFIG, instance(OLD)]);
});

test('the way back keeps the configuration that an upgrade by kubeadm has written, but for the endpoint', async () => {
    node.write(INSTANCE, instance(OLD));
    await switchOn();
    const upgraded = (endpoint) => `kind: KubeletConfiguration\nmaxPods: 99\ncontainerRuntimeEndpoint: ${endpoint}\n`;
    node.write('var/lib/kubelet/config.yaml', upgraded(CRIVIRT));
    delete api.labels['crivirt.io/switch'];
    assert.match(await reconcile(), /its endpoint is set to unix:\/\/\/run\/containerd\/containerd\.sock, and the rest stays/);
    assert.deepStrictEqual([config(), node.read(INSTANCE)], [upgraded(OLD), instance(OLD, '')]);
});

test('the way back is found where an upgrade by kubeadm has moved the endpoint from the flags to the configuration', async () => {
    kubelet.kill();
    startKubelet('--config=/var/lib/kubelet/config.yaml', `--container-runtime-endpoint=${OLD}`);
    node.write('var/lib/kubelet/config.yaml', 'kind: KubeletConfiguration\n');
    node.write('var/lib/kubelet/kubeadm-flags.env', `KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=${OLD}"\n`);
    api.endpoint = () => ([config(), node.read('var/lib/kubelet/kubeadm-flags.env')].join().includes('crivirtd') ? CRIVIRT : OLD);
    await switchOn();
    node.write('var/lib/kubelet/kubeadm-flags.env', 'KUBELET_KUBEADM_ARGS=""\n');
    for (const file of ['var/lib/kubelet/config.yaml', INSTANCE])
        node.write(file, instance(CRIVIRT));
    delete api.labels['crivirt.io/switch'];
    await reconcile();
    assert.deepStrictEqual([config(), node.read(INSTANCE), node.read('var/lib/kubelet/kubeadm-flags.env')],
        [instance(OLD, ''), instance(OLD, ''), 'KUBELET_KUBEADM_ARGS=""\n']);
});

test('a kubelet with a directory of configurations gets a drop-in', async () => {
    kubelet.kill();
    startKubelet('--config', '/var/lib/kubelet/config.yaml', '--config-dir', '/etc/kubernetes/kubelet.conf.d');
    await thereAndBack('etc/kubernetes/kubelet.conf.d/50-crivirt.conf', undefined,
        `apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncontainerRuntimeEndpoint: ${CRIVIRT}\n`);
});

test('flags of a kubelet that no known file holds are refused', async () => {
    kubelet.kill();
    startKubelet(`--container-runtime-endpoint=${OLD}`);
    api.labels['crivirt.io/switch'] = 'true';
    assert.match(await reconcile(), /no known file gives the kubelet its --container-runtime-endpoint/);
    assert.deepStrictEqual(labels(), {switch: 'true'});
});

for (const [unit, name] of [['k3s-agent', 'k3s'], ['rke2-server', 'rke2']])
    test(`${unit}: a drop-in of its configuration, and its runtime ends with it`, async () => {
        node.write(`etc/systemd/system/${unit}.service`, '[Service]\n');
        node.write(`var/lib/rancher/${name}/agent/kubelet.kubeconfig`, node.read('etc/kubernetes/kubelet.conf'));
        await thereAndBack(`etc/rancher/${name}/config.yaml.d/50-crivirt.yaml`, undefined, `container-runtime-endpoint: ${CRIVIRT}\n`);
        const calls = node.calls();
        assert.ok(calls.includes(`stop ${unit}.service`) && calls.includes(`start ${unit}.service`));
    });

test('k0s: its own command with another runtime, by a drop-in of its unit', async () => {
    node.write('etc/systemd/system/k0sworker.service', '[Service]\nExecStart=/usr/local/bin/k0s worker --token-file=/etc/k0s/token\n');
    node.write('var/lib/k0s/kubelet.conf', node.read('etc/kubernetes/kubelet.conf'));
    await thereAndBack('etc/systemd/system/k0sworker.service.d/50-crivirt.conf', undefined,
        `[Service]\nExecStart=\nExecStart=/usr/local/bin/k0s worker --token-file=/etc/k0s/token --cri-socket=remote:${CRIVIRT}\n`);
});
