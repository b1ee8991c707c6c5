// Small things that every test file uses.
'use strict';
const assert = require('assert');
const fs = require('fs');
const {spawn, execFileSync} = require('child_process');
const {status} = require('./cri');

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Asks until the answer is true; for a very long time, because no test is about speed.
async function eventually(what, ask, limitMs = 180000) {
    for (const end = Date.now() + limitMs;;) {
        const answer = await ask();
        if (answer)
            return answer;
        if (Date.now() > end)
            throw new Error(`it did not come true: ${what}`);
        await sleep(100);
    }
}

// The call fails with that status, and the message has all those words.
async function refused(promise, code, ...words) {
    let error;
    try {
        await promise;
    } catch (thrown) {
        error = thrown;
    }
    assert.ok(error, `the call succeeded; ${code} was expected`);
    assert.strictEqual(error.code, status[code], `status ${error.code} (${error.details || error.message}), not ${code}`);
    for (const word of words)
        assert.ok(error.details.includes(word), `"${error.details}" lacks "${word}"`);
    return error;
}

// {code, stdout, stderr}, whatever the outcome.
function command(file, args, {input = '', env} = {}) {
    return new Promise((resolve, reject) => {
        const child = spawn(file, args, {env: {...process.env, ...env}});
        const parts = {stdout: [], stderr: []};
        for (const stream of ['stdout', 'stderr'])
            child[stream].on('data', (data) => parts[stream].push(data));
        child.stdin.on('error', () => {});
        child.stdin.end(input);
        child.on('error', reject);
        child.on('close', (code, signal) => resolve({
            code, signal, stdout: Buffer.concat(parts.stdout).toString(), stderr: Buffer.concat(parts.stderr).toString(),
        }));
    });
}

// Its output; it must succeed.
const must = (file, ...args) => execFileSync(file, args, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});

// Of cgroups: the one of version 2, or those of version 1.
const hierarchies = () => ['', ...fs.readdirSync('/sys/fs/cgroup')].map((name) => `/sys/fs/cgroup/${name}`.replace(/\/$/, ''))
    .filter((directory) => fs.existsSync(`${directory}/cgroup.procs`) && !fs.lstatSync(directory).isSymbolicLink())
    .filter((directory, i, all) => i === 0 || all[0] !== '/sys/fs/cgroup');

module.exports = {hierarchies, sleep, eventually, refused, command, must};
