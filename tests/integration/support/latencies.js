// SPDX-License-Identifier: Apache-2.0
'use strict';
// How the daemon fares during an attack: how long calls take, and how much memory it has.
const fs = require('fs');

// calls: {name: async (round) => …}. The medians of how long each takes, in milliseconds, by name.
async function medians(calls, rounds) {
    const result = {};
    for (const [name, call] of Object.entries(calls)) {
        const times = [];
        for (let round = 0; round < rounds; round++) {
            const begin = process.hrtime.bigint();
            await call(round);
            times.push(Number(process.hrtime.bigint() - begin) / 1e6);
        }
        result[name] = times.sort((a, b) => a - b)[rounds >> 1];
    }
    return result;
}

// The resident memory of a process, in bytes.
const residentBytes = (pid) => Number(/VmRSS:\s+(\d+)/.exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) << 10;

module.exports = {medians, residentBytes};
