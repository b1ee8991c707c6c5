// SPDX-License-Identifier: Apache-2.0
// The manifests in deploy/kubernetes and the chart in deploy/helm: they have no field that Kubernetes does not know, they agree with
// each other, and the daemon accepts their configuration.
'use strict';
const assert = require('assert');
const fs = require('fs');
const os = require('os');
const path = require('path');
const {execFileSync} = require('child_process');
const {test, before} = require('node:test');
const yaml = require('js-yaml');
const Ajv = require('ajv');

const root = path.join(__dirname, '../..');
const base = path.join(root, 'deploy/kubernetes/base');
const chart = path.join(root, 'deploy/helm/crivirt');
const build = process.env.CRIVIRT_BUILD || path.join(root, 'build/release');
const readYaml = (...parts) => yaml.load(fs.readFileSync(path.join(...parts), 'utf8'));
const copy = (value) => JSON.parse(JSON.stringify(value));

let models, render;
before(async () => {
    models = await import('@kubernetes/client-node/dist/gen/models/all.js');
    ({parse: render} = await import('@evertdespiegeleer/go-template'));
});

// ---- the fields of an object, by the types of the client that is generated from Kubernetes' OpenAPI document ----

const NUMBER_OR_STRING = 'IntOrString';

function checkValue(value, type, where, problems) {
    const list = /^Array<(.*)>$/.exec(type);
    const map = /^\{ \[key: string\]: (.*); \}$/.exec(type);
    if (list) {
        assert.ok(Array.isArray(value), `${where} is not a list`);
        value.forEach((item, i) => checkValue(item, list[1], `${where}[${i}]`, problems));
    } else if (map) {
        for (const [key, item] of Object.entries(value))
            checkValue(item, map[1], `${where}.${key}`, problems);
    } else if (['string', 'number', 'boolean'].includes(type)) {
        if (typeof value !== type)
            problems.push(`${where} is a ${typeof value}, not a ${type}`);
    } else if (models[type] && models[type].getAttributeTypeMap) {
        checkObject(value, models[type], where, problems);
    } else {
        assert.ok(['any', 'object', 'Date', NUMBER_OR_STRING].includes(type), `${where} has an unknown type ${type}`);
    }
}

function checkObject(object, model, where, problems) {
    const types = new Map(model.getAttributeTypeMap().map(({baseName, type}) => [baseName, type]));
    for (const [key, value] of Object.entries(object)) {
        if (types.has(key))
            checkValue(value, types.get(key), `${where}.${key}`, problems);
        else
            problems.push(`${where}.${key} is not a field of Kubernetes`);
    }
}

function problemsOf(object) {
    const problems = [];
    const version = object.apiVersion.split('/').at(-1);
    const model = models[version.toUpperCase()[0] + version.slice(1) + object.kind];
    assert.ok(model, `${object.apiVersion} has no ${object.kind}`);
    checkObject(object, model, `${object.kind} ${object.metadata.name}`, problems);
    return problems;
}

// ---- the objects ----

const documents = (text) => yaml.loadAll(text).filter(Boolean);
const key = (object) => `${object.kind} ${object.metadata.name}`;
const byKey = (objects) => Object.fromEntries(objects.map((object) => [key(object), object]).sort(([a], [b]) => (a < b ? -1 : 1)));

const baseObjects = () => readYaml(base, 'kustomization.yaml').resources
    .flatMap((name) => documents(fs.readFileSync(path.join(base, name), 'utf8')));

// What `helm template` prints. The templates use nothing that Helm adds to Go's templates.
async function chartObjects(change = () => {}) {
    const values = readYaml(chart, 'values.yaml');
    change(values);
    const schema = new Ajv({allErrors: true}).compile(JSON.parse(fs.readFileSync(path.join(chart, 'values.schema.json'), 'utf8')));
    if (!schema(values))
        throw new Error(schema.errors.map(({instancePath, message}) => `${instancePath} ${message}`).join('; '));
    const objects = [];
    for (const name of fs.readdirSync(path.join(chart, 'templates')).sort()) {
        const text = fs.readFileSync(path.join(chart, 'templates', name), 'utf8');
        objects.push(...documents(await render(text, {Values: values, Release: {Namespace: 'crivirt-system', Name: 'crivirt'}})));
    }
    return objects;
}

const container = (objects, name) => objects[`DaemonSet ${name}`].spec.template.spec.containers[0];

test('every object of the base has only fields that Kubernetes knows, with values of their types', () => {
    assert.ok(baseObjects().length >= 12);
    assert.deepStrictEqual(baseObjects().flatMap(problemsOf), []);
});

test('the check finds an unknown field, a wrong type and an unknown kind', () => {
    const daemonSet = copy(baseObjects().find(({kind}) => kind === 'DaemonSet'));
    daemonSet.spec.template.spec.containers[0].readynessProbe = {};
    daemonSet.spec.template.spec.hostPID = 'yes';
    assert.deepStrictEqual(problemsOf(daemonSet), [
        'DaemonSet crivirt-installer.spec.template.spec.hostPID is a string, not a boolean',
        'DaemonSet crivirt-installer.spec.template.spec.containers[0].readynessProbe is not a field of Kubernetes']);
    assert.throws(() => problemsOf({apiVersion: 'v1', kind: 'Pot', metadata: {name: 'x'}}), /v1 has no Pot/);
});

test('the chart makes the base with its default values', async () => {
    assert.deepStrictEqual(byKey(await chartObjects((values) => { values.namespace.create = true; })), byKey(baseObjects()));
});

test('the chart leaves the namespace to helm unless namespace.create is true', async () => {
    assert.ok(!(await chartObjects()).some(({kind}) => kind === 'Namespace'));
});

test('values of the chart reach the objects that they name', async () => {
    const objects = byKey(await chartObjects((values) => {
        values.image = {repository: 'local/crivirt', tag: '9', pullPolicy: 'Never'};
        values.imagePullSecrets = [{name: 'one'}, {name: 'two'}];
        values.seLinuxType = 'spc_t';
        values.nodeSelector = {pool: 'vms', zone: '1'};
        values.host.namespaces = ['kube-system', 'crivirt-system', 'monitoring'];
        values.runtimeClasses.push({name: 'bare', handler: 'host', memory: ''});
        values.admission.runtimeClasses = ['crivirt-host', 'bare'];
        values.config = '[log]\nlevel = "debug"\n';
    }));
    assert.deepStrictEqual(Object.values(objects).flatMap(problemsOf), []);
    const {spec} = objects['DaemonSet crivirt-installer'].spec.template;
    assert.strictEqual(container(objects, 'crivirt-installer').image, 'local/crivirt:9');
    assert.strictEqual(container(objects, 'crivirt-canary').imagePullPolicy, 'Never');
    assert.deepStrictEqual(spec.imagePullSecrets, [{name: 'one'}, {name: 'two'}]);
    assert.deepStrictEqual(spec.containers[0].securityContext.seLinuxOptions, {type: 'spc_t'});
    assert.deepStrictEqual(spec.nodeSelector, {pool: 'vms', zone: '1'});
    assert.strictEqual(objects['ConfigMap crivirt-config'].data['crivirt.toml'],
        '[host]\npods = "namespaces"\nnamespaces = ["kube-system", "crivirt-system", "monitoring"]\n\n[log]\nlevel = "debug"\n');
    assert.strictEqual(objects['RuntimeClass bare'].overhead, undefined);
    const policy = objects['ValidatingAdmissionPolicy crivirt-host-pods'].spec;
    assert.match(policy.matchConditions[0].expression, /in \["crivirt-host", "bare"\]/);
    assert.match(policy.validations[0].expression, /in \["kube-system", "crivirt-system", "monitoring"\]/);
    assert.deepStrictEqual(objects['ClusterRole crivirt-host-user'].rules[0].resourceNames, ['crivirt-host', 'bare']);
});

test('the chart can be made without canary and policy, and uninstalls', async () => {
    const objects = byKey(await chartObjects((values) => {
        values.canary.enabled = values.admission.enabled = false;
        values.mode = 'uninstall';
    }));
    assert.deepStrictEqual(Object.values(objects).flatMap(problemsOf), []);
    assert.deepStrictEqual(Object.keys(objects).filter((name) => /canary|Admission/.test(name)), []);
    assert.match(container(objects, 'crivirt-installer').command.at(-1), /uninstall\.sh/);
    const {volumes, containers} = objects['DaemonSet crivirt-installer'].spec.template.spec;
    assert.deepStrictEqual(containers[0].volumeMounts.map(({name}) => name).sort(), volumes.map(({name}) => name).sort());
    assert.deepStrictEqual(volumes.map(({name}) => name).sort(), ['systemd', 'tmp', 'units']);
});

test('the schema of the chart refuses unknown values and wrong ones', async () => {
    const refused = async (change, complaint) => assert.rejects(chartObjects(change), complaint);
    await refused((values) => { values.hots = {}; }, /additional properties/);
    await refused((values) => { values.host.pods = true; }, /\/host\/pods/);
    await refused((values) => { values.mode = 'remove'; }, /\/mode/);
    await refused((values) => { values.runtimeClasses[0].memory = 160; }, /\/runtimeClasses\/0\/memory/);
});

test('no object uses a feature that only Helm has', () => {
    const added = /\b(include|toYaml|nindent|indent|quote|default|required|lookup|tpl|sha256sum)\b/;
    for (const name of fs.readdirSync(path.join(chart, 'templates')))
        for (const [action] of fs.readFileSync(path.join(chart, 'templates', name), 'utf8').matchAll(/\{\{.*?\}\}/g))
            assert.doesNotMatch(action, added, name);
});

test('crivirtd accepts the configuration, whose handlers are those of the RuntimeClasses', () => {
    const objects = byKey(baseObjects());
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'crivirt-manifests-')), 'crivirt.toml');
    fs.writeFileSync(file, objects['ConfigMap crivirt-config'].data['crivirt.toml']);
    const text = execFileSync(path.join(build, 'cri-server/crivirtd'), ['--config', file, '--print-config'], {encoding: 'utf8'});
    fs.rmSync(path.dirname(file), {recursive: true});
    assert.match(text, /^pods = "namespaces"$/m);
    for (const {handler} of baseObjects().filter(({kind}) => kind === 'RuntimeClass'))
        assert.ok(text.includes(`[handlers.${handler}]`), `crivirtd has no handler ${handler}`);
});

test('the installer has no right in the cluster, and no token', () => {
    const objects = byKey(baseObjects());
    const {spec} = objects['DaemonSet crivirt-installer'].spec.template;
    assert.strictEqual(spec.automountServiceAccountToken, false);
    assert.strictEqual(objects[`ServiceAccount ${spec.serviceAccountName}`].automountServiceAccountToken, false);
    assert.ok(!baseObjects().some(({kind}) => /RoleBinding/.test(kind)));
    const {securityContext} = spec.containers[0];
    assert.ok(!securityContext.privileged && !spec.hostNetwork && !spec.hostIPC);
    assert.deepStrictEqual(securityContext.capabilities.drop, ['ALL']);
});

test('the overlay that uninstalls patches what the base has', () => {
    const overlay = path.join(root, 'deploy/kubernetes/uninstall');
    const kustomization = readYaml(overlay, 'kustomization.yaml');
    assert.deepStrictEqual(kustomization.resources, ['../base']);
    const objects = byKey(baseObjects());
    for (const {path: name} of kustomization.patches)
        assert.ok(objects[key(readYaml(overlay, name))], `${name} patches nothing`);
});
