#!/bin/bash
# Installs what is missing, builds, and runs the tests. The last line is "N passed, N failed"; the exit status says the same.
#   run.sh                    unit and integration tests
#   run.sh --unit             unit tests only
#   run.sh --integration      integration tests only (they boot VMs)
#   run.sh --asan             also the unit tests with address and undefined-behaviour sanitizers
#   run.sh --fuzz SECONDS     also each fuzz target for that long
#   run.sh --tidy             also layout, clang-tidy and shellcheck
#   run.sh … FILTER           only test programs and files whose name contains FILTER
# Only one of --unit and --integration given leaves the other out; --asan, --fuzz or --tidy alone run just that.
# Logs are in build/log. CRIVIRT_CMAKE_FLAGS is added to cmake's command line.
#
# Integration tests (tests/integration/*.test.js) find in their environment:
#   CRIVIRT_BUILD          the build directory (crivirtd, crivirt, the agent)
#   CRIVIRT_GUEST_TUNED    directories of guest images, with `kernel` and `initrd.img`
#   CRIVIRT_GUEST_STOCK
# Unit tests that boot a guest find CRIVIRT_TEST_KERNEL and CRIVIRT_TEST_INITRD, the tuned ones.
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")
# shellcheck source=../deploy/say.sh
. "$root/deploy/say.sh"
log=$root/build/log
passed=0
failed=0

unit=no integration=no asan=no fuzz=0 tidy=no filter=
while [ $# -gt 0 ]; do
    case $1 in
        --unit) unit=yes && shift ;;
        --integration) integration=yes && shift ;;
        --asan) asan=yes && shift ;;
        --fuzz) fuzz=${2:?--fuzz wants seconds} && shift 2 ;;
        --tidy) tidy=yes && shift ;;
        -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" && exit 0 ;;
        -*) fail "unknown option $1 (see --help)" ;;
        *) filter=$1 && shift ;;
    esac
done
if [ "$unit$integration$asan$fuzz$tidy" = nonono0no ]; then
    unit=yes integration=yes
fi

# Whatever happens, the count is the last line.
finish() {
    local status=$?
    if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then
        failed=1 # what could not be built or started has failed
    fi
    printf '%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" -eq 0 ] || exit 1
}
trap finish EXIT

count() {
    passed=$((passed + $1))
    failed=$((failed + $2))
}

# one NAME COMMAND…: a command that counts as one test.
one() {
    local name=$1
    shift
    if logged "$log/$name.log" "$@"; then
        printf 'ok      %s\n' "$name"
        count 1 0
    else
        printf 'FAILED  %s\n' "$name"
        count 0 1
    fi
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

# unit_tests PRESET: every program prints its own count; one that prints none has failed, unless it says with 77 that it
# lacks what it needs: some boot a guest, which is there when the integration tests are run as well.
unit_tests() {
    local directory=$root/build/$1 program name line status
    say "unit tests: $1"
    for program in $(ctest --test-dir "$directory" --show-only=json-v1 | jq -r '.tests[].command[0]'); do
        name=${program##*/}
        [[ $name == *"$filter"* ]] || continue
        status=0
        (cd "$directory" && timeout 300 "$program") >"$log/$1-$name.log" 2>&1 || status=$?
        if [ "$status" -eq 77 ]; then
            printf 'skipped %s: %s\n' "$name" "$(tail -n 1 "$log/$1-$name.log")"
            continue
        fi
        line=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log/$1-$name.log" | tail -n 1 || true)
        if [ -z "$line" ] || { [ "$status" -ne 0 ] && [[ $line == *' 0 failed' ]]; }; then
            line="${line%% *}"
            line="${line:-0} passed, 1 failed"
        fi
        printf '%-7s %s: %s\n' "$([[ $line == *' 0 failed' ]] && echo ok || echo FAILED)" "$name" "$line"
        [[ $line == *' 0 failed' ]] || tail -n 40 "$log/$1-$name.log" >&2
        count "${line%% *}" "$(cut -d ' ' -f 3 <<<"$line")"
    done
}

guest_images() {
    local agent guests
    agent=$(find "$root/build/release" -name crivirt-agent -type f -perm -u+x | head -n 1)
    [ -n "$agent" ] || fail "the build made no crivirt-agent"
    # Not in build/: the user that QEMU runs as cannot look into a home directory.
    guests=${CRIVIRT_CACHE:-/var/cache/crivirt}/test-guests
    export CRIVIRT_GUEST_TUNED=$guests/tuned CRIVIRT_GUEST_STOCK=$guests/stock
    "$root/kernel/image.sh" --kernel stock --agent "$agent" "$CRIVIRT_GUEST_STOCK"
    "$root/kernel/image.sh" --kernel tuned --agent "$agent" "$CRIVIRT_GUEST_TUNED"
    export CRIVIRT_TEST_KERNEL=$CRIVIRT_GUEST_TUNED/kernel CRIVIRT_TEST_INITRD=$CRIVIRT_GUEST_TUNED/initrd.img
}

# A node of 18 or later; Debian's where there is none.
need_node() {
    if ! command -v node >/dev/null || [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 18 ]; then
        "$root/deploy/packages.sh" node
    fi
}

# One file after the other: they share the node's network, and VMs share its CPUs.
integration_tests() {
    local file name status
    export CRIVIRT_BUILD=$root/build/release
    [ -d "$root/tests/integration" ] || return 0
    need_node
    if [ -f "$root/tests/integration/package.json" ]; then
        say "integration tests: npm ci"
        (cd "$root/tests/integration" && logged "$log/npm.log" npm ci --no-audit --no-fund) || fail "npm ci failed"
    fi
    # What an earlier run that was killed has left is not this one's.
    CRIVIRT_SUITE_BEFORE=$(find /run /run/netns -maxdepth 1 -name 'cvt*' -printf '%f ' 2>/dev/null || true)
    export CRIVIRT_SUITE_BEFORE
    for file in "$root"/tests/integration/*.test.js; do
        name=$(basename "$file" .test.js)
        if [ ! -f "$file" ] || [[ $name != *"$filter"* ]]; then
            continue
        fi
        say "integration tests: $name"
        status=0
        (cd "$root/tests/integration" && timeout 1500 node --test --test-reporter=tap "$file") 2>&1 | tee "$log/integration-$name.log" |
            grep --line-buffered -E '^ *(not )?ok ' || true
        integration_count "$log/integration-$name.log"
    done
}

# From the end of TAP's output: "# pass 3", "# fail 0", "# cancelled 0".
integration_count() {
    local good bad
    good=$(sed -n 's/^# pass //p' "$1" | tail -n 1)
    bad=$(awk '/^# (fail|cancelled) / { n += $3 } END { print n + 0 }' "$1")
    if [ -z "$good" ]; then
        good=0 bad=1
    fi
    # What failed and why, before the output's end: whoever reads only the tail of it still learns the reason.
    [ "$bad" -eq 0 ] || grep -E -A 4 '^ *(not ok|error:)' "$1" >&2 || true
    count "$good" "$bad"
}

fuzz_targets() {
    local source name
    build fuzz
    say "fuzz: $fuzz seconds each"
    for source in "$root"/tests/fuzz/*.c; do
        name=$(basename "$source" .c)
        [[ $name == *"$filter"* ]] || continue
        one "fuzz-$name" "$root/tests/fuzz/run.sh" "$root/build/fuzz" "$name" "$fuzz"
    done
}

mkdir -p "$log"
groups=(runtime build test)
[ "$integration" = no ] || groups+=(kernel)
"$root/deploy/packages.sh" "${groups[@]}"
"$root/deploy/users.sh"
if [ "$unit$integration" != nono ]; then
    build release
fi
if [ "$tidy" = yes ]; then
    build release
    one layout "$root/tests/lint.sh" layout
    one shellcheck "$root/tests/lint.sh" shell
    one clang-tidy "$root/tests/lint.sh" tidy "$root/build/release"
fi
[ "$integration" = no ] || guest_images
[ "$unit" = no ] || unit_tests release
if [ "$asan" = yes ]; then
    build asan
    unit_tests asan
fi
[ "$fuzz" = 0 ] || fuzz_targets
[ "$integration" = no ] || integration_tests
