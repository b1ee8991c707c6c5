// SPDX-License-Identifier: Apache-2.0
// Runs a program on a terminal: script(1) makes the pty, stty(1) resizes it.
'use strict';
const fs = require('fs');
const {spawn} = require('child_process');
const {eventually, must} = require('./kit');

const quoted = (word) => `'${word.replace(/'/g, "'\\''")}'`;

class Terminal {
    // Runs the words in the node's network.
    constructor(node, words, env = {}) {
        this.text = '';
        const command = `stty rows 24 cols 80; exec ${words.map(quoted).join(' ')}`;
        this.child = spawn('nsenter', node.nsenter('script', '-qfec', command, '/dev/null'),
                           {env: {...process.env, SHELL: '/bin/sh', ...env}, stdio: ['pipe', 'pipe', 'inherit']});
        node.processes.push(this.child);
        this.child.stdout.on('data', (data) => { this.text += data; });
        this.child.stdin.on('error', () => {});
        this.ended = new Promise((resolve) => this.child.on('exit', (code) => {
            this.child.gone = true;
            resolve(code);
        }));
    }

    type(text) {
        this.child.stdin.write(text);
    }

    // Waits until the terminal shows the text.
    shows(text) {
        return eventually(`the terminal shows "${text}"`, () => {
            if (this.child.gone && !this.text.includes(text))
                throw new Error(`the program ended without "${text}": ${this.text}`);
            return this.text.includes(text);
        });
    }

    // The pid of the program, which is the first child of script(1).
    pid() {
        return Number(fs.readFileSync(`/proc/${this.child.pid}/task/${this.child.pid}/children`, 'utf8').split(' ')[0]);
    }

    resize(columns, rows) {
        must('stty', '-F', fs.readlinkSync(`/proc/${this.pid()}/fd/0`), 'cols', String(columns), 'rows', String(rows));
    }

    // The mode that the program has set: "raw" or "cooked".
    mode() {
        const settings = must('stty', '-a', '-F', fs.readlinkSync(`/proc/${this.pid()}/fd/0`));
        return / -icanon/.test(settings) ? 'raw' : 'cooked';
    }
}

module.exports = {Terminal};
