// SPDX-License-Identifier: Apache-2.0
'use strict';
// Documents name only tests, commands, fields and files that exist.
const assert = require('assert');
const fs = require('fs');
const path = require('path');
const {test} = require('node:test');

const root = path.join(__dirname, '../..');
const read = (...parts) => fs.readFileSync(path.join(root, ...parts), 'utf8');

// The last cells of the rows of a table, as {file, sentence}; "; " is between two of them.
const named = (document) => read('docs', document).split('\n')
    .map((line) => /\| ([a-z_-]+: [^|]+?) \|$/.exec(line)).filter(Boolean)
    .flatMap(([, cell]) => cell.split(/; (?=[a-z_-]+: )/))
    .map((one) => /^([a-z_-]+): (.+)$/.exec(one)).map(([, file, sentence]) => ({file, sentence}));

function sources(file) {
    return [`tests/integration/${file}.test.js`, `tests/unit/${file}_test.c`]
        .filter((name) => fs.existsSync(path.join(root, name))).map((name) => read(name).replaceAll("\\'", "'"));
}

for (const document of ['client-contract.md', 'threat-model.md'])
    test(`the tests that ${document} names exist`, () => {
        const missing = named(document).filter(({file, sentence}) => !sources(file).some((text) => text.includes(sentence)));
        assert.deepStrictEqual(missing, []);
        assert.ok(named(document).length > 20);
    });

// Tests are named as `file.test.js: sentence` or `file: sentence`, in a cell or in the text.
test('every field of container-fields.md names a test, and these tests exist', () => {
    const text = read('docs', 'container-fields.md');
    const rows = text.split('\n').filter((line) => line.startsWith('| `'));
    const cells = rows.map((line) => / \| ([a-z_]+)(?:\.test\.js)?: ([^|]+?) \|$/.exec(line));
    assert.deepStrictEqual(rows.filter((line, i) => !cells[i]), []);
    const inText = [...text.matchAll(/`([a-z_]+)(?:\.test\.js)?:\s([^`]+)`/g)];
    const missing = [...cells, ...inText].map(([, file, sentence]) => ({file, sentence: sentence.replaceAll(/\s+/g, ' ')}))
        .filter(({file, sentence}) => !sources(file).some((source) => source.includes(sentence)));
    assert.deepStrictEqual(missing, []);
    assert.ok(rows.length > 80 && inText.length > 5);
});

test('docs/cli.md shows every command of crivirt', () => {
    const internal = ['complete', 'generate', 'reap', 'unpack']; // their names begin with "__"
    const commands = [...read('cri-server', 'cli', 'commands.h').matchAll(/^extern const Command command_(\w+);/gm)]
        .map(([, name]) => name.replace('_', '-')).filter((name) => !internal.includes(name));
    const text = read('docs', 'cli.md');
    assert.deepStrictEqual(commands.filter((name) => !text.includes(`crivirt ${name}`)), []);
    assert.ok(commands.length > 20);
});

// A document names a file of the sources by its path, or by the end of its path. FILE stands for any name.
test('every file that the documents name exists', () => {
    const left = new Set(['.git', 'build', 'node_modules']);
    const walk = (folder) => fs.readdirSync(path.join(root, folder), {withFileTypes: true})
        .filter(({name}) => !left.has(name))
        .flatMap((entry) => {
            const name = path.posix.join(folder, entry.name);
            return entry.isDirectory() ? [`/${name}/`, ...walk(name)] : [`/${name}`];
        });
    const names = walk('');
    const folders = fs.readdirSync(root, {withFileTypes: true}).filter((entry) => entry.isDirectory() && !left.has(entry.name))
        .map(({name}) => name);
    const file = new RegExp(`(?<![\\w/.*<-])(?:(?:[\\w.-]+/)*[\\w.-]+\\.(?:c|h|def|js|sh|proto|md)|(?:${folders.join('|')})/[\\w./-]*)(?![\\w*{<])`, 'g');
    const documents = names.filter((name) => name.endsWith('.md') && !name.startsWith('/tests/data/'));
    const found = documents.flatMap((document) => [...read(document).matchAll(/`([^`\n]+)`|\]\(([^)]+)\)/g)]
        .flatMap(([, code, link]) => [...(code ?? link).matchAll(file)].map(([name]) => ({document, name}))));
    const exists = ({document, name}) => name.includes('FILE') ||
        names.some((known) => known.endsWith(`/${name}`) || known.endsWith(`/${name}/`)) ||
        fs.existsSync(path.join(root, path.dirname(document), name));
    assert.deepStrictEqual(found.filter((each) => !exists(each)), []);
    assert.ok(found.length > 100);
});
