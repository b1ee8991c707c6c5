// SPDX-License-Identifier: Apache-2.0
'use strict';
// Each file checks its own node for leaks. This file runs last and checks the whole machine.
const assert = require('assert');
const fs = require('fs');
const {test} = require('node:test');

// Names of what an earlier run that was killed has left (set by tests/run.sh).
const before = (process.env.CRIVIRT_SUITE_BEFORE || '').split(' ').filter(Boolean);
const isOurs = (text) => !before.some((name) => text.includes(name));
const left = (directory, pattern) => (fs.existsSync(directory) ? fs.readdirSync(directory) : [])
    .filter((name) => pattern.test(name) && isOurs(name));

test('after the whole suite no VM, file server, namespace, mount, tap, lock or directory of the tests is left', () => {
    const processes = fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name)).filter((pid) => {
        try {
            const words = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
            return /qemu-system|virtiofsd|crivirtd/.test(words) && /\/run\/cvt/.test(words) && isOurs(words);
        } catch {
            return false;
        }
    });
    assert.deepStrictEqual(processes, []);
    assert.deepStrictEqual(fs.readFileSync('/proc/self/mountinfo', 'utf8').split('\n')
        .filter((line) => /\/run\/cvt/.test(line) && isOurs(line)), []);
    assert.deepStrictEqual(left('/run/netns', /^cvt/), []);
    assert.deepStrictEqual(left('/run', /^cvt/), []);
    assert.deepStrictEqual(left('/sys/class/net', /^cv[0-9a-f]{12}$/), []);
    assert.deepStrictEqual(left('/sys/block', /^loop/).filter((name) => {
        const file = `/sys/block/${name}/loop/backing_file`;
        return fs.existsSync(file) && fs.readFileSync(file, 'utf8').includes('crivirt');
    }), []);
});
