#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Measures crivirt in comparison with what it is made of, and prints a table of ratios (docs/performance.md explains them).
#   run.sh [BUILD_DIRECTORY]     a release build; default: build/release, which is built if it does not exist
# It needs root. Everything happens in a network namespace with a daemon and a registry of its own, and is removed afterwards.
# The environment selects what is measured and how often:
#   BENCH_PARTS="boot container restore containerd unpooled many pull memory checkpoint hibernate churn streaming"; "limit" and
#                   "probed", which fill the node with pods, have to be named, and so have "io", the network and the files of pods, and
#                   "volumes", files with each mode of guest.volume_cache. "containerd" needs containerd, runc and ctr; "io" and
#                   "volumes" compare with it where they are.
#   BENCH_STARTS=20  BENCH_CONTAINERS=15  BENCH_MANY="5 20"  BENCH_PULLS=5  BENCH_LAYER_MB=40 (five layers)
#   BENCH_PODS="1 10"  BENCH_CHURN=100  BENCH_CHURN_AT_ONCE=4  BENCH_LIMIT=1000  BENCH_LIMIT_RESERVE_MB=2048
#   BENCH_LIMIT_STEP=10 (pods between two looks at the probes)
#   BENCH_STREAMS=5  BENCH_STREAM_MIB=32  BENCH_CHECKPOINTS=5  BENCH_WORKING_SET_MIB=200
#   BENCH_PACKINGS="none zstd aes zstd+aes" (forms of checkpoints, in turns)
#   BENCH_HIBERNATIONS=5  BENCH_SLEEPERS_MIB="200 1024" (working sets of the pods that are hibernated)
#   BENCH_AT_ONCE=8  BENCH_CROWDS=3 (pods with a container at once, beside containerd, and how often)  BENCH_POOL=2 (least VMs of the pool)
#   BENCH_IO=3 (turns of "io" and "volumes")  BENCH_IO_SECONDS=3  BENCH_IO_MIB=32  BENCH_IO_FILES=2000  BENCH_IO_WORKS="stream ask" (of io.js; default: all)
#   BENCH_IO_FLAGS="|--guest-vhost-net=false" (sets of flags for the daemon, each measured by itself)
#   BENCH_GUEST=DIRECTORY  a guest image (kernel, initrd.img), instead of one that is made
#   BENCH_FLAGS="--agent-timeout=5m"  for the daemon, where the node is emulated
#   BENCH_KEEP=1    keeps the directory with the daemon's log and the raw figures
#   NODE_PATH       the directory of @grpc/grpc-js and @grpc/proto-loader; default: that of tests/integration
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$(dirname "$here")")
# shellcheck source=../../deploy/say.sh
. "$root/deploy/say.sh"

[ "$(id -u)" = 0 ] || fail "only root can run VMs and make network namespaces"
build=$(readlink -f "${1:-$root/build/release}")
parts=${BENCH_PARTS:-boot container restore containerd unpooled many pull memory checkpoint hibernate churn streaming}
need node nodejs gcc gcc

namespace=crivirt-bench-$$
run_dir=/run/cvb$$
work=$(mktemp -d /tmp/crivirt-bench-XXXXXX)
chmod 755 "$work" # QEMU's user reads the guest's image
pids=()

# The shims of containerd, which are found by the socket that each was given.
shims() { pgrep -f -- "-address $run_dir/containerd.sock" || true; }

# Kills our processes by pid, also VMs that a failed run has left.
clean_up() {
    local pid file
    set +e
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null
        wait "$pid" 2>/dev/null
    done
    for file in "$work"/state/libvirt/run/qemu/*.pid "$run_dir"/containerd/io.containerd.runtime.v2.task/k8s.io/*/init.pid; do
        [ ! -f "$file" ] || kill -9 "$(cat "$file")" 2>/dev/null
    done
    shims | xargs -r kill -9
    findmnt -rno TARGET | grep -E "^($work|$run_dir)/" | sort -r | xargs -r umount
    ip netns del "$namespace" 2>/dev/null
    rm -rf "$run_dir"
    if [ -n "${BENCH_KEEP:-}" ]; then
        rm -rf "$work/state" "$work/registry" "$work/image"
        say "kept: $work"
    else
        rm -rf "$work"
    fi
}
trap clean_up EXIT

build_project() {
    if [ ! -x "$build/cri-server/crivirtd" ]; then
        say "build: $build"
        logged "$work/build.log" cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo
        logged "$work/build.log" cmake --build "$build" --target crivirtd crivirt crivirt-agent crivirt-fsguard
    fi
}

has() { [[ " $parts " == *" $1 "* ]]; }

# The guest image of the product.
guest_image() {
    if [ -n "${BENCH_GUEST:-}" ]; then
        cp -rL "$BENCH_GUEST" "$work/guest"
    else
        "$root/kernel/image.sh" --kernel tuned --agent "$build/agent/crivirt-agent" "$work/guest"
    fi
}

# One that crun_timer.c starts, for the times of containers, and one with nothing but the agent's channel.
measuring_images() {
    local agent=$build/agent/crivirt-agent
    need cpio cpio lz4 lz4
    mkdir -p "$work/timer" "$work/timer-guest"
    "$root/kernel/initramfs.sh" --agent "$agent" --compress none "$work/plain.cpio"
    install -m 755 "$agent" "$work/timer/init.agent"
    gcc -O2 -static -Wall -Wextra -s -o "$work/timer/init" "$here/crun_timer.c" -D_GNU_SOURCE -Wno-unused-result
    (cd "$work/timer" && printf '%s\n' init init.agent | cpio --quiet -o -H newc -R 0:0) >"$work/timer.cpio"
    cat "$work/plain.cpio" "$work/timer.cpio" | lz4 -q -l >"$work/timer-guest/initrd.img"
    mkdir -p "$work/channel"
    gcc -O2 -static -Wall -Wextra -s -I"$root" -o "$work/channel/init" "$here/channel_speed.c" \
        "$root/agent/wire/wire.c" -D_GNU_SOURCE -Wno-unused-result
    (cd "$work/channel" && echo init | cpio --quiet -o -H newc -R 0:0) | lz4 -q -l >"$work/channel.img"
}

# A guest that fills its memory, for QEMU's own migration, and the program that does so in a container.
working_sets() {
    mkdir -p "$work/dirty"
    gcc -O2 -static -Wall -Wextra -s -o "$work/dirty/init" "$here/dirty_memory.c"
    (cd "$work/dirty" && echo init | cpio --quiet -o -H newc -R 0:0) | lz4 -q -l >"$work/dirty.img"
    gcc -O2 -static -pthread -D_GNU_SOURCE -s -o "$work/stateful" "$root/tests/tools/stateful.c"
    program_image "$work/stateful.tar" bench.local/stateful:1 "$work/stateful"
}

# The gRPC client of the integration tests.
node_modules() {
    local modules=$root/tests/integration/node_modules
    if [ -z "${NODE_PATH:-}" ] && [ ! -d "$modules/@grpc/grpc-js" ]; then
        say "npm ci: the gRPC client"
        (cd "$root/tests/integration" && logged "$work/npm.log" npm ci --no-audit --no-fund) || fail "npm ci failed"
    fi
    export NODE_PATH=${NODE_PATH:-$modules}
}

# nsenter, because "ip netns exec" would give the daemon a mount namespace of its own.
# In the background its pid is that of the command.
inside=(nsenter --net="/run/netns/$namespace")

network() {
    ip netns add "$namespace"
    "${inside[@]}" ip link set lo up
    "${inside[@]}" sysctl -qw net.ipv4.ip_forward=1
    mkdir "$work/cni"
    sed -e "s/crivirt0/cvb0/" -e "s|\"type\": \"host-local\",|&\"dataDir\": \"$work/ipam\",|" \
        -e 's|10\.119\.|10.229.|' "$root/deploy/cni/10-crivirt.conflist" >"$work/cni/10.conflist"
}

wait_for() {
    for _ in $(seq 300); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    fail "waited half a minute for: $*"
}

registry() {
    need docker-registry docker-registry skopeo skopeo
    mkdir "$work/registry"
    cat >"$work/registry.yml" <<END
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/registry}, delete: {enabled: true}}
http: {addr: 127.0.0.1:5000}
END
    "${inside[@]}" docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
    pids+=($!)
    wait_for "${inside[@]}" curl -sf -o /dev/null http://127.0.0.1:5000/v2/
}

# random_layer DIRECTORY: bytes that cannot be compressed, in files of 256 KiB.
random_layer() {
    head -c "${mb}M" /dev/urandom | split -b 256K -a 4 - "$1/random."
}

# usual_layer DIRECTORY: content as of real images, which is this node's programs, libraries and texts; a part for each layer.
usual_layer() {
    local n=$2 taken=0 size file
    while [ "$taken" -lt $((mb << 20)) ] && IFS=' ' read -r size file; do
        cp --parents "$file" "$1"
        taken=$((taken + size))
    done < <(find /usr/lib /usr/bin /usr/share -xdev -type f -size -4096k -printf '%s %p\n' 2>/dev/null |
        sort -k 2 | awk -v n="$n" 'NR % 5 == n')
}

# image KIND: five layers in an OCI layout that node writes, pushed by skopeo.
image() {
    local kind=$1 n
    for n in 0 1 2 3 4; do
        mkdir -p "$work/image/layer$n/data/$n"
        "${kind}_layer" "$work/image/layer$n/data/$n" "$n"
        tar --owner=0 --group=0 --numeric-owner -C "$work/image/layer$n" -cf "$work/image/$n.tar" data
        gzip -6 -k "$work/image/$n.tar"
    done
    node "$here/oci_layout.js" "$work/image" "$work/oci"
    "${inside[@]}" skopeo copy -q --insecure-policy --dest-tls-verify=false "oci:$work/oci:latest" \
        "docker://127.0.0.1:5000/bench/$kind:latest"
    rm -rf "$work/image" "$work/oci"
}

# The socket is there some time before the daemon serves it.
answers() { "$build/cri-server/cli/crivirt" --socket="$run_dir/s.sock" version >/dev/null 2>&1; }

# daemon INITRD [FLAG…]
daemon() {
    local initrd=$1
    shift
    mkdir -p "$run_dir"
    printf '[handlers.%s]\nvolume_cache = "%s"\n' auto auto always always never never >"$work/crivirt.toml"
    # shellcheck disable=SC2086 # flags are words
    "${inside[@]}" "$build/cri-server/crivirtd" -c "$work/crivirt.toml" --socket="$run_dir/s.sock" --state-dir="$work/state" \
        --run-dir="$run_dir" --cni-config-dir="$work/cni" --guest-kernel="$work/guest/kernel" \
        --guest-initrd="$initrd" --registry-hosts-dir= "$@" ${BENCH_LOG_LEVEL:+--log-level="$BENCH_LOG_LEVEL"} ${BENCH_FLAGS:-} \
        >>"$work/crivirtd.log" 2>&1 &
    daemon_pid=$!
    pids+=("$daemon_pid")
    wait_for answers
}

end_daemon() {
    kill "$daemon_pid"
    wait "$daemon_pid" || true
    rm -f "$run_dir/s.sock"
}

# program_image OUTPUT.tar NAME:TAG PROGRAM [DIRECTORY], in the form of "docker save": one layer with the program, and with the
# directory in it
program_image() {
    local output=$1 name=$2 program image=$work/program digest
    program=$(basename "$3")
    rm -rf "$image"
    mkdir -p "$image/root"
    cp "$3" "$image/root"
    [ -z "${4:-}" ] || cp -r "$4" "$image/root"
    tar --owner=0 --group=0 --numeric-owner -C "$image/root" -cf "$image/layer.tar" .
    digest=$(sha256sum "$image/layer.tar" | cut -d ' ' -f 1)
    cat >"$image/config.json" <<END
{"architecture": "$(dpkg --print-architecture)", "os": "linux", "config": {"Entrypoint": ["/$program"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$digest"]}}
END
    echo "[{\"Config\": \"config.json\", \"RepoTags\": [\"$name\"], \"Layers\": [\"layer.tar\"]}]" >"$image/manifest.json"
    tar -C "$image" -cf "$output" manifest.json config.json layer.tar
}

# The image of the parts "io" and "volumes": the program that measures, and files to read.
io_image() {
    local data=$work/io/data
    mkdir -p "$data/many"
    gcc -O2 -static -Wall -Wextra -s -D_GNU_SOURCE -o "$work/pod_io" "$here/pod_io.c"
    head -c "${BENCH_IO_MIB:-32}M" /dev/urandom >"$data/large"
    head -c "${BENCH_IO_MIB:-32}M" /dev/urandom >"$data/mapped"
    head -c "$((4 * ${BENCH_IO_FILES:-2000}))K" /dev/urandom | split -b 4K -a 4 - "$data/many/file."
    program_image "$work/io.tar" bench.local/pod_io:1 "$work/pod_io" "$data"
    rm -rf "$work/io"
}

# Starts a containerd with its own state in our directories, our network and our images. Where it is not installed, a message
# says so and the other parts are measured.
start_containerd() {
    local program cni_plugins=/opt/cni/bin image
    for program in containerd containerd-shim-runc-v2 ctr runc; do
        if ! command -v "$program" >/dev/null; then
            say "containerd: left out, $program is not installed"
            return 1
        fi
    done
    [ -x "$cni_plugins/bridge" ] || cni_plugins=/usr/lib/cni
    mkdir -p "$run_dir" "$work/containerd"
    cat >"$work/containerd/config.toml" <<END
version = 2
root = "$work/containerd/root"
state = "$run_dir/containerd"
[grpc]
address = "$run_dir/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
path = "$work/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "bench.local/pause:1"
netns_mounts_under_state_dir = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$cni_plugins"
conf_dir = "$work/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "$run_dir/runc"
END
    mapfile -t foreign_cgroups < <(find /sys/fs/cgroup -maxdepth 2 -name k8s.io)
    "${inside[@]}" containerd -c "$work/containerd/config.toml" >"$work/containerd/log" 2>&1 &
    containerd_pid=$!
    pids+=("$containerd_pid")
    wait_for test -S "$run_dir/containerd.sock"
    gcc -O2 -static -Wall -Wextra -s -o "$work/containerd/pause" "$here/pause.c"
    program_image "$work/containerd/pause.tar" bench.local/pause:1 "$work/containerd/pause"
    for image in "$work/busybox.tar" "$work/containerd/pause.tar" "$work/io.tar"; do
        [ -f "$image" ] || continue
        logged "$work/containerd/import.log" ctr -a "$run_dir/containerd.sock" -n k8s.io images import "$image" ||
            fail "containerd does not take $image"
    done
}

# Removes the common cgroups of its pods and the directory of its shims' sockets, unless another containerd runs.
end_containerd() {
    kill "$containerd_pid"
    wait "$containerd_pid" || true
    [ -z "$(shims)" ] || say "containerd has left shims"
    if [ "${#foreign_cgroups[@]}" = 0 ]; then
        find /sys/fs/cgroup -maxdepth 3 -type d -name k8s.io -exec rmdir {} + || true
    fi
    rmdir /run/containerd/s /run/containerd 2>/dev/null || true
}

measure() {
    BENCH_RUN_DIR=$run_dir BENCH_WORK=$work BENCH_DAEMON_PID=$daemon_pid "${inside[@]}" \
        node "$here/bench.js" "$@" || fail "see $work/crivirtd.log (BENCH_KEEP=1 keeps it)"
}

mb=${BENCH_LAYER_MB:-40}
build_project
node_modules
guest_image
if has container || has streaming; then measuring_images; fi
if has checkpoint || has hibernate; then working_sets; fi
if has io || has volumes; then io_image; fi
network
"$root/deploy/busybox-archive.sh" "$work/busybox.tar" docker.io/library/busybox:latest
if has pull; then
    say "making the images to pull"
    registry
    image random
    image usual
fi
# with INITRD "PART…" [FLAG…]: runs a daemon for those of the parts that were selected
with() {
    local initrd=$1 wanted=() part image
    for part in $2; do
        if has "$part"; then wanted+=("$part"); fi
    done
    shift 2
    [ "${#wanted[@]}" != 0 ] || return 0
    daemon "$initrd" "$@"
    "$build/cri-server/cli/crivirt" --socket="$run_dir/s.sock" load -i "$work/busybox.tar" >&2
    for image in stateful io; do
        [ ! -f "$work/$image.tar" ] || "$build/cri-server/cli/crivirt" --socket="$run_dir/s.sock" load -i "$work/$image.tar" >&2
    done
    for part in "${wanted[@]}"; do
        measure "$part"
    done
    end_daemon
}

# The part "io" with each set of flags.
io_all() {
    local sets flags n=0
    IFS='|' read -ra sets <<<"${BENCH_IO_FLAGS:-}|"
    for flags in "${sets[@]}"; do
        BENCH_FLAGS="${BENCH_FLAGS:-} $flags" with "$work/guest/initrd.img" io
        [ ! -f "$work/io.json" ] || mv "$work/io.json" "$work/io$((n++)).json"
    done
}

with "$work/timer-guest/initrd.img" container --guest-template=false
with "$work/timer-guest/initrd.img" streaming --guest-template=false
with "$work/guest/initrd.img" boot --guest-template=false
with "$work/guest/initrd.img" unpooled --guest-vm-pool-size=0
with "$work/guest/initrd.img" "restore many pull memory checkpoint hibernate churn limit probed"
beside=
if { has containerd || has io || has volumes; } && start_containerd; then beside=containerd; fi
[ -z "$beside" ] || with "$work/guest/initrd.img" containerd --guest-vm-pool-size="${BENCH_POOL:-2}"
io_all
with "$work/guest/initrd.img" volumes
[ -z "$beside" ] || end_containerd
node "$here/bench.js" table "$work"
