// SPDX-License-Identifier: Apache-2.0
// Small helpers that every test file uses.
'use strict';
const assert = require('assert');
const fs = require('fs');
const {spawn, execFileSync} = require('child_process');
const {status} = require('./cri');

let last = 0;
// A number that no other call in this process returns.
const serial = () => ++last;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Asks until the answer is true, and returns it. The limit is far beyond what a busy machine needs: no test is about speed.
async function eventually(what, ask, limitMs = 180000) {
    for (const end = Date.now() + limitMs;;) {
        const answer = await ask();
        if (answer)
            return answer;
        if (Date.now() > end)
            throw new Error(`this did not come true within ${limitMs} ms: ${what}`);
        await sleep(100);
    }
}

// The numbers in a file, one in each line.
const numbersIn = (file) => fs.readFileSync(file, 'utf8').trimEnd().split('\n').map(Number);

function grows(file) {
    const had = fs.statSync(file).size;
    return eventually(`${file} grows`, () => fs.statSync(file).size > had);
}

// Asserts that the answer stays true for that long. For what must not happen: an event cannot end the wait.
async function remains(what, ask, ms) {
    for (const end = Date.now() + ms; Date.now() < end; await sleep(50))
        assert.ok(await ask(), `this did not remain true: ${what}`);
}

// The error that a call fails with, which must fail.
async function failure(promise) {
    const error = await promise.then(() => null, (thrown) => thrown);
    assert.ok(error, 'the call succeeded');
    return error;
}

// Asserts that a call fails with that status, and that its message contains all these words. Returns the error.
async function refused(promise, code, ...words) {
    const error = await failure(promise);
    assert.strictEqual(error.code, status[code], `status ${error.code} (${error.details || error.message}), not ${code}`);
    for (const word of words)
        assert.ok(error.details.includes(word), `"${error.details}" lacks "${word}"`);
    return error;
}

// Runs a command; {code, signal, stdout, stderr}, also when it fails.
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

// Runs a command, which must succeed; its output.
const must = (file, ...args) => execFileSync(file, args, {encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe']});

// The names in the directory; none when there is no directory, or no longer.
function listing(directory) {
    try {
        return fs.readdirSync(directory);
    } catch (error) {
        if (error.code !== 'ENOENT')
            throw error;
        return [];
    }
}

// The root directories of the cgroup hierarchies: the one of version 2, or those of version 1.
const hierarchies = () => ['', ...fs.readdirSync('/sys/fs/cgroup')].map((name) => `/sys/fs/cgroup/${name}`.replace(/\/$/, ''))
    .filter((directory) => fs.existsSync(`${directory}/cgroup.procs`) && !fs.lstatSync(directory).isSymbolicLink())
    .filter((directory, i, all) => i === 0 || all[0] !== '/sys/fs/cgroup');

module.exports = {serial, sleep, eventually, numbersIn, grows, remains, failure, refused, command, must, listing, hierarchies};
