// SPDX-License-Identifier: Apache-2.0
// Compares QEMUs, in turns, with the devices of a guest: from the start to the first answer of the monitor, and to the end after
// `quit`; libraries; memory (what it has written is no other's) while the VM has not run yet.
//   node tests/bench/qemu.js PROGRAM…      TURNS=15, ACCELERATOR=tcg|kvm
'use strict';
const {spawn} = require('child_process');
const fs = require('fs');

const turns = Number(process.env.TURNS || 15);
const accelerator = process.env.ACCELERATOR || 'tcg';
const programs = process.argv.slice(2);

// Those of sandbox/vmm/domain_xml.c, for a guest that is restored (without its kernel) and has no network or disk yet.
const words = [
    '-S', '-machine', 'pc-q35-7.2,usb=off,dump-guest-core=off', '-machine', 'sata=off,smbus=off',
    '-accel', accelerator === 'kvm' ? 'kvm' : 'tcg,tb-size=64', '-cpu', accelerator === 'kvm' ? 'host' : 'qemu64',
    '-m', 'size=262144k,slots=1,maxmem=16777216k', '-smp', '1,maxcpus=2,sockets=2,cores=1,threads=1',
    '-object', 'memory-backend-memfd,id=ram,share=on,size=256M', '-numa', 'node,nodeid=0,cpus=0-1,memdev=ram',
    '-device', 'vmgenid,guid=ffe70ee6-1339-46bc-ad28-db7cce8b6881', '-display', 'none', '-no-user-config', '-nodefaults', '-no-hpet',
    '-device', 'pcie-root-port,port=40,chassis=1,id=pci.1,addr=0x5', '-device', 'virtio-scsi-pci-non-transitional,addr=0x2',
    '-device', 'virtio-serial-pci-non-transitional,max_ports=2,vectors=3,addr=0x3',
    '-object', 'memory-backend-memfd,id=plug,share=on,reserve=off,size=16128M',
    '-device', 'virtio-mem-pci,node=0,block-size=2M,memdev=plug,addr=0x7', '-device', 'virtio-balloon-pci-non-transitional,free-page-reporting=on,addr=0x6',
    '-chardev', 'null,id=serial', '-device', 'isa-serial,chardev=serial', '-incoming', 'defer',
    '-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny', '-qmp', 'stdio',
];

function memory(pid) {
    const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const value = (name) => Number(new RegExp(`^${name}: *(\\d+)`, 'm').exec(text)[1]) / 1024;
    return {RSS: value('Rss'), PSS: value('Pss'), own: value('Private_Dirty')};
}

const libraries = (pid) => new Set(fs.readFileSync(`/proc/${pid}/maps`, 'utf8').match(/\S+\.so\S*/g)).size;

// One start: {answer, end} in ms, {libraries}, {RSS, PSS, own} in MiB.
function start(program) {
    return new Promise((resolve, reject) => {
        const begin = process.hrtime.bigint();
        const since = () => Number(process.hrtime.bigint() - begin) / 1e6;
        const child = spawn(program, words, {stdio: ['pipe', 'pipe', 'inherit']});
        const found = {};
        let text = '';
        child.stdout.on('data', (data) => {
            text += data;
            if (found.answer || !/"return"/.test(text))
                return;
            found.answer = since();
            Object.assign(found, memory(child.pid), {libraries: libraries(child.pid)});
            found.quit = since();
            child.stdin.write('{"execute":"quit"}\n');
        });
        child.stdin.write('{"execute":"qmp_capabilities"}\n');
        child.on('exit', (code) => code === 0 ? resolve({...found, end: found.answer + since() - found.quit})
            : reject(new Error(`${program} ended with ${code}`)));
    });
}

const median = (numbers) => numbers.sort((one, other) => one - other)[numbers.length >> 1];

async function main() {
    const results = new Map(programs.map((program) => [program, []]));
    for (let turn = 0; turn < turns; turn++)
        for (const program of programs)
            results.get(program).push(await start(program));
    console.log(`medians of ${turns} starts in turns, ${accelerator}, load ${fs.readFileSync('/proc/loadavg', 'utf8').split(' ')[0]}`);
    for (const [program, runs] of results) {
        const of = (name) => median(runs.map((run) => run[name])).toFixed(1);
        console.log(`${program}: answer ${of('answer')} ms, end ${of('end')} ms, ${of('libraries')} libraries, ` +
                    `RSS ${of('RSS')}, PSS ${of('PSS')}, written by it ${of('own')} MiB, program ${(fs.statSync(program).size / 1048576).toFixed(1)} MiB`);
    }
}

main();
