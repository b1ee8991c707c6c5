// SPDX-License-Identifier: Apache-2.0
// The processes of a test's node, which are those whose command line names one of its directories.
'use strict';
const fs = require('fs');
const {listing} = require('./kit');

// [{pid, words}]
function processesOf(node) {
    return listing('/proc').filter((name) => /^\d+$/.test(name)).map((pid) => {
        try {
            return {pid: Number(pid), words: fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')};
        } catch {
            return {pid: 0, words: ['']}; // it has ended meanwhile
        }
    }).filter(({words}) => words.join(' ').includes(node.dir) || words.join(' ').includes(node.runDir));
}

// Kills the processes whose program's name matches; returns their pids.
function killProcesses(node, program = /./) {
    const pids = processesOf(node).filter(({words}) => program.test(words[0])).map(({pid}) => pid);
    for (const pid of pids)
        try {
            process.kill(pid, 'SIGKILL');
        } catch {} // it has ended meanwhile
    return pids;
}

module.exports = {processesOf, killProcesses};
