#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Installs missing packages, builds, and runs the tests. The last line is "N passed, N failed"; the exit status agrees with
# it. Before it the time of each part is printed.
#   run.sh                    unit and integration tests
#   run.sh --unit             unit tests only
#   run.sh --integration      integration tests only (they boot VMs)
#   run.sh --asan             also the unit tests with address and undefined-behaviour sanitizers
#   run.sh --tsan             also the unit tests without gRPC with the thread sanitizer
#   run.sh --fuzz SECONDS     also each fuzz target for that long
#   run.sh --tidy             also clang-format, the direction of includes, shellcheck and clang-tidy
#   run.sh --node             also the package on a virtual node with systemd and KVM (tests/node; x86-64 only)
#   run.sh --node two-nodes   only pods on two such nodes, which nothing else runs
#   run.sh … FILTER           only test programs and files whose name contains FILTER
#   run.sh … --test PATTERN   only tests whose name matches the regular expression PATTERN
# Giving only one of --unit and --integration leaves the other out; --asan, --tsan, --fuzz, --tidy or --node alone run just
# that.
# Logs are in build/log.
#
# CRIVIRT_TEST_JOBS is the number of integration files that run at the same time (default: 2).
# CRIVIRT_CMAKE_FLAGS is added to the command line of cmake.
#
# Integration tests (tests/integration/*.test.js) find in their environment:
#   CRIVIRT_BUILD          the build directory (crivirtd, crivirt, the agent)
#   CRIVIRT_GUEST_TUNED    directories of guest images, with `kernel` and `initrd.img`
#   CRIVIRT_GUEST_STOCK
#   CRIVIRT_TEST_QEMU      the QEMU of the pods, a value of hypervisor.qemu
# Unit tests that boot a guest find CRIVIRT_TEST_KERNEL and CRIVIRT_TEST_INITRD, the tuned ones, and CRIVIRT_TEST_QEMU as well.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")
# shellcheck source=../deploy/say.sh
. "$root/deploy/say.sh"
log=$root/build/log
passed=0
failed=0
times=() # "SECONDS NAME", in the order in which the parts ended

# Integration files that run while no other file does.
alone=(
    libvirtd  # starts the node's libvirtd and virtlogd, of which there can be one
    log-disk  # freezes a file system, for which every sync on the node waits
    template  # restores twenty guests at once, which boot instead when the node is too busy for that
    package   # builds in the build directory that the other files use
    zz-leaks  # looks at the whole node after all others have ended
)

# Integration files that take longest. They start first, so that the others fill the time beside them.
longest=(death-points crash-points streaming)

# Files of tests/node that run only where FILTER is exactly their name, because CI has no time for them.
on_request=(
    two-nodes # two virtual nodes at once
)

unit=no integration=no asan=no tsan=no fuzz=0 tidy=no node=no filter='' pattern=''
while [ $# -gt 0 ]; do
    case $1 in
        --unit) unit=yes && shift ;;
        --integration) integration=yes && shift ;;
        --asan) asan=yes && shift ;;
        --tsan) tsan=yes && shift ;;
        --fuzz) fuzz=${2:?--fuzz wants seconds} && shift 2 ;;
        --tidy) tidy=yes && shift ;;
        --node) node=yes && shift ;;
        --test) pattern=${2:?--test wants a pattern} && shift 2 ;;
        -h | --help) sed -n '3,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" && exit 0 ;;
        -*) fail "unknown option $1 (see --help)" ;;
        *) filter=$1 && shift ;;
    esac
done
if [ "$unit$integration$asan$tsan$fuzz$tidy$node" = nononono0nono ]; then
    unit=yes integration=yes
fi
export CRIVIRT_TEST_PATTERN=$pattern # for unit tests: harness.h

# The count is the last line, whatever happens.
finish() {
    local status=$?
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1 # a part that could not be built or started has failed
    fi
    print_times
    print_failures
    printf '%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] || exit 1
}
trap finish EXIT

print_times() {
    local entry
    [ "${#times[@]}" -gt 0 ] || return 0
    printf 'time by part:\n'
    for entry in "${times[@]}" "$SECONDS all"; do
        printf '%4d:%02d  %s\n' $((${entry%% *} / 60)) $((${entry%% *} % 60)) "${entry#* }"
    done
}

# The failed tests and their reasons once more, where whoever reads only the end of the output finds them.
print_failures() {
    local file lines=()
    for file in "$log"/*.failures; do
        [ -s "$file" ] || continue
        mapfile -t lines < <(head -n 20 "$file" | cut -c 1-600)
        printf 'failed in %s:\n' "$(basename "$file" .failures)"
        printf '    %s\n' "${lines[@]}"
    done
}

# timed NAME COMMAND…
timed() {
    local name=$1 begin=$SECONDS
    shift
    "$@"
    times+=("$((SECONDS - begin)) $name")
}

count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
}

# in_pool JOBS COMMAND ITEM…: runs COMMAND ITEM for every item, so many at the same time.
in_pool() {
    local jobs=$1 command=$2 item
    shift 2
    for item in "$@"; do
        while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do
            wait -n || true
        done
        "$command" "$item" &
    done
    wait
}

# counted NAME: the counts that a job of a pool has left in its file, "PASSED FAILED".
counted() {
    local good=0 bad=1
    read -r good bad <"$log/$1.count" || true
    count "$good" "$bad"
}

# one NAME COMMAND…: a command that counts as one test.
one() {
    local name=$1 counts='0 1' word=FAILED
    shift
    rm -f "$log/$name.count"
    if logged "$log/$name.log" "$@"; then
        counts='1 0' word=ok
    else
        grep -E 'error:|\[[a-z.-]+\]$' "$log/$name.log" >"$log/$name.failures" ||
            tail -n 10 "$log/$name.log" >"$log/$name.failures"
    fi
    printf '%-7s %s\n' "$word" "$name"
    printf '%s\n' "$counts" >"$log/$name.count"
}

# build PRESET [TARGET…]
build() {
    local preset=$1
    shift
    say "build: $preset"
    # Ninja configures again when that is due; asking pkg-config about gRPC takes seconds.
    if [ ! -f "$root/build/$preset/build.ninja" ] || [ -n "${CRIVIRT_CMAKE_FLAGS:-}" ]; then
        # shellcheck disable=SC2086 # flags are words
        (cd "$root" && logged "$log/cmake-$preset.log" cmake --preset "$preset" ${CRIVIRT_CMAKE_FLAGS:-}) ||
            fail "cmake could not configure '$preset'"
    fi
    logged "$log/build-$preset.log" cmake --build "$root/build/$preset" ${1:+--target "$@"} ||
        fail "'$preset' did not build"
}

# unit_program PROGRAM: every program prints its own count. One that prints none has failed, unless its exit status is 77:
# then something that it needs is missing. (Some programs boot a guest, whose image is built for integration tests only.)
unit_program() {
    local program=$1 name=${1##*/} line status=0 output
    output=$log/$preset-$name
    rm -f "$output.count"
    # The thread sanitizer cannot follow what GLib's own allocator does (tests/unit/tsan_glib.c).
    [ "$preset" != tsan ] || export G_SLICE=always-malloc
    (cd "$root/build/$preset" && timeout 600 "$program") >"$output.log" 2>&1 || status=$?
    if [ "$status" -eq 77 ]; then
        printf 'skipped %s: %s\n' "$name" "$(tail -n 1 "$output.log")"
        echo 0 0 >"$output.count"
        return
    fi
    line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$output.log" | tail -n 1 || true)
    if [ -z "$line" ] || { [ "$status" -ne 0 ] && [[ $line == *' 0 failed' ]]; }; then
        line="${line%% *}"
        line="${line:-0} passed, 1 failed"
    fi
    printf '%-7s %s: %s\n' "$([[ $line == *' 0 failed' ]] && echo ok || echo FAILED)" "$name" "$line"
    if [[ $line != *' 0 failed' ]]; then
        tail -n 40 "$output.log" >&2
        grep -E '^     .+:[0-9]+: |^FAIL |ERROR: |WARNING: ' "$output.log" >"$output.failures" ||
            tail -n 10 "$output.log" >"$output.failures"
    fi
    echo "${line%% *} $(cut -d ' ' -f 3 <<<"$line")" >"$output.count"
}

# unit_tests PRESET
unit_tests() {
    local preset=$1 program programs=()
    say "unit tests: $preset"
    for program in $(ctest --test-dir "$root/build/$preset" --show-only=json-v1 | jq -r '.tests[].command[0]'); do
        [[ ${program##*/} != *"$filter"* ]] || programs+=("$program")
    done
    in_pool "$(nproc)" unit_program "${programs[@]}"
    for program in "${programs[@]}"; do
        counted "$preset-${program##*/}"
    done
}

guest_images() {
    local agent guests
    agent=$(find "$root/build/release" -name crivirt-agent -type f -perm -u+x | head -n 1)
    [ -n "$agent" ] || fail "the build made no crivirt-agent"
    # Not in build/: the user that QEMU runs as cannot look into a home directory.
    guests=${CRIVIRT_CACHE:-/var/cache/crivirt}/test-guests
    export CRIVIRT_GUEST_TUNED=$guests/tuned CRIVIRT_GUEST_STOCK=$guests/stock
    if builds_qemu; then
        "$root/deploy/qemu/build.sh" >"$log/qemu.log" 2>&1 & # beside the kernel; own_qemu waits for it
    fi
    "$root/kernel/image.sh" --kernel stock --agent "$agent" "$CRIVIRT_GUEST_STOCK"
    "$root/kernel/image.sh" --kernel tuned --agent "$agent" "$CRIVIRT_GUEST_TUNED"
    export CRIVIRT_TEST_KERNEL=$CRIVIRT_GUEST_TUNED/kernel CRIVIRT_TEST_INITRD=$CRIVIRT_GUEST_TUNED/initrd.img
}

builds_qemu() { grep -q '^CRIVIRT_QEMU:STRING=own$' "$root/build/release/CMakeCache.txt"; }

# crivirt's own QEMU, which only packages of Debian 12 for x86-64 have; elsewhere the tests use Debian's.
own_qemu() {
    local entry
    if ! builds_qemu; then
        export CRIVIRT_TEST_QEMU=debian
        return
    fi
    entry=$("$root/deploy/qemu/build.sh" --into "$root/build/release/qemu")
    export CRIVIRT_TEST_QEMU=$entry/lib/crivirt/qemu-system-x86_64
}

# Node.js of version 18 or later (Debian's where there is none), and the gRPC client of the tests.
need_nodejs() {
    if ! command -v node >/dev/null || [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 18 ]; then
        "$root/deploy/packages.sh" node
    fi
    say "integration tests: npm ci"
    (cd "$root/tests/integration" && logged "$log/npm.log" npm ci --no-audit --no-fund) || fail "npm ci failed"
}

# The manifests and scripts of deploy/kubernetes and deploy/helm, with packages of their own: these tests start no daemon.
cluster_tests() {
    local file name
    (cd "$root/tests/cluster" && logged "$log/npm-cluster.log" npm ci --no-audit --no-fund --omit=optional) || fail "npm ci failed"
    for file in "$root"/tests/cluster/*.test.js; do
        name=$(basename "$file" .test.js)
        [[ $name == *"$filter"* ]] || continue
        rm -f "$log/cluster-$name".{count,seconds}
        javascript_file "$file"
        counted "cluster-$name"
        times+=("$(cat "$log/cluster-$name.seconds") cluster: $name")
    done
}

# javascript_file FILE: one of tests/integration, tests/cluster or tests/node. Its counts and its log are named after folder and file.
javascript_file() {
    local file=$1 kind name output begin=$SECONDS limit=1500 words=(--test --test-reporter=tap)
    kind=$(basename "$(dirname "$file")")
    name=$(basename "$file" .test.js)
    output=$log/$kind-$name
    say "$kind tests: $name"
    [ -z "$pattern" ] || words+=(--test-name-pattern="$pattern")
    # A virtual node takes ten minutes where nothing else runs.
    [ "$kind" != node ] || limit=2700
    (cd "${file%/*}" && timeout -k 60 "$limit" node "${words[@]}" "$file") 2>&1 | tee "$output.log" |
        grep --line-buffered -E '^ *(not )?ok |^ *# the guest says' |
        grep --line-buffered -v '# SKIP test name does not match pattern' || true
    integration_count "$output.log" >"$output.count"
    echo $((SECONDS - begin)) >"$output.seconds"
}

# failures_of LOG: each failed test of TAP's output with what it says of itself, up to the stack
failures_of() {
    awk '/^ *not ok / { lines = 80 } /^ *(stack:|\.\.\.$)/ { lines = 0 } lines > 0 { print; lines-- }' "$1"
}

# From the end of TAP's output: "# pass 3", "# fail 0", "# cancelled 0".
integration_count() {
    local good bad
    good=$(sed -n 's/^# pass //p' "$1" | tail -n 1)
    bad=$(awk '/^# (fail|cancelled) / { n += $3 } END { print n + 0 }' "$1")
    if [ -z "$good" ]; then
        good=0 bad=1
    fi
    [ "$bad" -eq 0 ] || failures_of "$1" | tee "${1%.log}.failures" >&2 || true
    printf '%s %s\n' "$good" "$bad"
}

# Every file has daemons, namespaces, networks and registries of its own: files run beside each other, but for $alone.
integration_tests() {
    local file name first=() beside=() after=()
    export CRIVIRT_BUILD=$root/build/release
    need_nodejs
    # An earlier run that was killed may have left things behind; zz-leaks does not count them.
    CRIVIRT_SUITE_BEFORE=$(find /run /run/netns -maxdepth 1 -name 'cvt*' -printf '%f ' 2>/dev/null || true)
    export CRIVIRT_SUITE_BEFORE
    for file in "$root"/tests/integration/*.test.js; do
        name=$(basename "$file" .test.js)
        [[ $name == *"$filter"* ]] || continue
        rm -f "$log/integration-$name".{count,seconds}
        if [[ " ${alone[*]} " == *" $name "* ]]; then
            after+=("$file")
        elif [[ " ${longest[*]} " == *" $name "* ]]; then
            first+=("$file")
        else
            beside+=("$file")
        fi
    done
    beside=("${first[@]}" "${beside[@]}")
    in_pool "${CRIVIRT_TEST_JOBS:-2}" javascript_file "${beside[@]}"
    in_pool 1 javascript_file "${after[@]}"
    for file in "${beside[@]}" "${after[@]}"; do
        name=$(basename "$file" .test.js)
        counted "integration-$name"
        times+=("$(cat "$log/integration-$name.seconds") integration: $name")
    done
}

# The emulation of AMD-V resets a guest now and then, or lets the node's kernel panic, also where nothing of crivirt runs
# (docs/performance.md); most likely it resets the whole node, too. Such a run says nothing about crivirt; one that fails so
# three times in a row is a failure. A step that fails reports what was seen of the node (NodeVm.lastWords).
emulation_failed() {
    grep -qsE 'the guest was reset, by a triple fault|node [^ ]+: (was reset by a triple fault|its SSH connection ended)' \
        "$log/node-$1.log" "$log"/node-*/journal.log ||
        grep -qs 'Kernel panic - ' "$log"/node-*/console.log
}

# node_file FILE: one of tests/node.
node_file() {
    local name try
    name=$(basename "$1" .test.js)
    for try in 1 2 3; do
        find "$log" -mindepth 1 -maxdepth 1 -type d -name 'node-*' -exec rm -rf {} +
        javascript_file "$1"
        if [ "$(cut -d ' ' -f 2 "$log/node-$name.count")" -eq 0 ] || ! emulation_failed "$name"; then
            return
        fi
        if [ "$try" -lt 3 ]; then
            mv "$log/node-$name.log" "$log/node-$name.$try.log"
            rm -f "$log/node-$name.failures"
            say "node tests: $name once more: the emulation of AMD-V failed (build/log/node-$name.$try.log)"
        fi
    done
}

# One file after the other: the VM of a node keeps this machine's CPUs busy.
node_tests() {
    local file name
    [ "$(dpkg --print-architecture)" = amd64 ] || fail "--node needs an x86-64 machine"
    build release deb
    CRIVIRT_DEB=$(find "$root/build/release" -maxdepth 1 -name 'crivirt_*.deb' -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d ' ' -f 2-)
    export CRIVIRT_DEB
    "$root/tests/node/qemu.sh" >/dev/null
    "$root/tests/node/image.sh" >/dev/null
    need_nodejs
    for file in "$root"/tests/node/*.test.js; do
        name=$(basename "$file" .test.js)
        [[ $name == *"$filter"* ]] || continue
        if [ "$filter" != "$name" ] && [[ " ${on_request[*]} " == *" $name "* ]]; then
            printf 'not run: %s (tests/run.sh --node %s)\n' "$name" "$name"
            continue
        fi
        rm -f "$log/node-$name".{count,seconds}
        node_file "$file"
        counted "node-$name"
        times+=("$(cat "$log/node-$name.seconds") node: $name")
    done
}

fuzz_target() {
    one "fuzz-$1" "$root/tests/fuzz/run.sh" "$root/build/fuzz" "$1" "$fuzz"
}

fuzz_targets() {
    local source names=()
    say "fuzz: $fuzz seconds each"
    for source in "$root"/tests/fuzz/*.c; do
        source=$(basename "$source" .c)
        [[ $source != *"$filter"* ]] || names+=("$source")
    done
    in_pool "$(nproc)" fuzz_target "${names[@]}"
    for source in "${names[@]}"; do
        counted "fuzz-$source"
    done
}

# lint NAME WORD…: `lint.sh WORD…` as a test of that name
lint() {
    local name=$1
    shift
    one "$name" "$root/tests/lint.sh" "$@"
    counted "$name"
}

mkdir -p "$log"
rm -f "$log"/*.failures
groups=(runtime build bundle test)
[ "$integration$node" = nono ] || groups+=(kernel)
if [ "$integration$node" != nono ] && [ "$(dpkg --print-architecture)" = amd64 ]; then
    groups+=(qemu)
fi
"$root/deploy/packages.sh" "${groups[@]}"
"$root/deploy/users.sh"
if [ "$unit$integration$tidy$node" != nononono ]; then
    timed 'build: release' build release
fi
if [ "$tidy" = yes ]; then
    timed clang-format lint clang-format layout
    timed includes lint includes includes
    timed hashes lint hashes hashes
    timed shellcheck lint shellcheck shell
    timed clang-tidy lint clang-tidy tidy "$root/build/release"
fi
[ "$integration" = no ] || timed 'guest images' guest_images
[ "$integration" = no ] || timed QEMU own_qemu
[ "$unit" = no ] || timed 'unit tests' unit_tests release
for sanitizer in asan tsan; do
    if [ "${!sanitizer}" = yes ]; then
        timed "build: $sanitizer" build "$sanitizer"
        timed "unit tests: $sanitizer" unit_tests "$sanitizer"
    fi
done
if [ "$fuzz" != 0 ]; then
    timed 'build: fuzz' build fuzz
    timed fuzz fuzz_targets
fi
[ "$integration" = no ] || timed 'integration tests' integration_tests
[ "$integration" = no ] || timed 'cluster tests' cluster_tests
[ "$node" = no ] || timed 'node tests' node_tests
