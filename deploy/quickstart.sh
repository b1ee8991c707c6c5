#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A pod in a VM on a fresh Debian 12, as root:
#   quickstart.sh          install packages, build, start a crivirtd of its own, run a container in a pod
#   quickstart.sh --stop   stop its pods and its daemon, and remove what it made
# It has its own socket, state, bridge and subnet, so that it does not disturb a running crivirtd. It can be run again at any
# time. It does not compile a kernel: its guests run Debian's.
# CRIVIRT_QUICKSTART_IMAGE is another image to run (default docker.io/library/busybox).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=$(dirname "$here")
# shellcheck source=say.sh
. "$here/say.sh"

state=/var/lib/crivirt-quickstart
run=/run/crivirt-quickstart
build=$root/build/release
bridge=crivirt-qs0
subnet=10.118.0.0/24
pod=hello
log=$state/crivirtd.log
registry_image=${CRIVIRT_QUICKSTART_IMAGE:-docker.io/library/busybox:latest}
local_image=localhost/busybox:debian
export CRIVIRT_SOCKET=$run/crivirtd.sock CRIVIRT_LOG_DIR=$state/pod-logs CRIVIRT_CACHE=$state/cache

program() { find "$build" -name "$1" -type f -perm -u+x 2>/dev/null | head -n 1; }
crivirt() { "$(program crivirt)" "$@"; }

# --- the daemon ----------------------------------------------------------------------------------------------------

# Prints the daemon's pid if it runs: the pid in the file may meanwhile be another program's.
daemon_pid() {
    local pid
    pid=$(cat "$run/crivirtd.pid" 2>/dev/null) || return 1
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = crivirtd ] || return 1
    printf '%s\n' "$pid"
}

write_configuration() {
    mkdir -p "$state/cni" "$run"
    cat >"$state/crivirt.toml" <<END
# made by deploy/quickstart.sh
[server]
socket = "$CRIVIRT_SOCKET"
state_dir = "$state/state"
run_dir = "$run"
[guest]
kernel = "$state/guest/kernel"
initrd = "$state/guest/initrd.img"
[network]
cni_config_dir = "$state/cni"
END
    sed -e "s/crivirt0/$bridge/; s/\"crivirt\"/\"crivirt-quickstart\"/; s#10.119.0.0/16#$subnet#" \
        -e "s#\"type\": \"host-local\",#&\n        \"dataDir\": \"$state/addresses\",#" \
        "$here/cni/10-crivirt.conflist" >"$state/cni/10-quickstart.conflist"
}

is_ready() { crivirt version >/dev/null 2>&1; }

# The daemon gets a session of its own, so that Ctrl-C here does not reach it.
start_daemon() {
    local pid
    if daemon_pid >/dev/null && is_ready; then
        say "crivirtd is already running"
        return
    fi
    say "starting crivirtd on $CRIVIRT_SOCKET"
    setsid "$(program crivirtd)" --config "$state/crivirt.toml" </dev/null >>"$log" 2>&1 &
    pid=$!
    printf '%s\n' "$pid" >"$run/crivirtd.pid"
    for _ in $(seq 600); do
        if is_ready; then
            return
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    fail "crivirtd did not become ready"
}

# --- the way up ----------------------------------------------------------------------------------------------------

build_programs() {
    say "building crivirtd, crivirt and the agent in $build (some minutes the first time)"
    if [ ! -f "$build/build.ninja" ]; then
        (cd "$root" && logged "$state/cmake.log" cmake --preset release) || fail "cmake could not configure"
    fi
    if [ -t 2 ]; then
        cmake --build "$build" --target crivirtd crivirt crivirt-agent >&2
    else
        logged "$state/build.log" cmake --build "$build" --target crivirtd crivirt crivirt-agent
    fi || fail "the build failed"
}

# Pulls the image from a registry, or makes one when no registry can be reached. Prints its name.
get_image() {
    local name
    for name in "$registry_image" "$local_image"; do
        if crivirt images --json 2>/dev/null | grep -qF "\"$name\""; then
            printf '%s\n' "$name"
            return
        fi
    done
    say "pulling $registry_image"
    if timeout 60 "$(program crivirt)" pull "$registry_image" >&2; then
        printf '%s\n' "$registry_image"
        return
    fi
    say "no registry can be reached: making an image from Debian's busybox-static"
    "$here/busybox-archive.sh" "$state/busybox.tar" "$local_image" || fail "the image could not be made"
    crivirt load -i "$state/busybox.tar" >&2 || fail "the image could not be imported"
    printf '%s\n' "$local_image"
}

show_off() {
    local image=$1
    crivirt rm -f "$pod" >/dev/null 2>&1 || true
    say "running a container of $image in a pod with a VM of its own"
    # shellcheck disable=SC2016 # the guest expands it
    crivirt run -d --name "$pod" "$image" sh -c 'echo "hello from $(hostname)"; exec sleep 1000000' >/dev/null
    printf '\n%-10s %s\n' 'this node' "$(uname -a)"
    printf '%-10s %s\n\n' 'the pod' "$(crivirt exec "$pod" uname -a)"
    crivirt ps
}

next_commands() {
    cat <<END

Try next:
  export CRIVIRT_SOCKET=$CRIVIRT_SOCKET CRIVIRT_LOG_DIR=$CRIVIRT_LOG_DIR
  PATH=\$PATH:$(dirname "$(program crivirt)")
  crivirt logs $pod
  crivirt exec $pod ip addr
  crivirt run --rm $1 sh -c 'cat /proc/meminfo | head -n 3'
  crivirt pods
  crivirt info
  $here/quickstart.sh --stop
END
}

# --- the way down --------------------------------------------------------------------------------------------------

# VMs outlive the daemon, so a daemon that is gone is started again to end them.
stop_pods() {
    local id
    for id in $(crivirt pods -q --no-trunc); do
        say "stopping pod ${id:0:12}"
        crivirt rmp -f "$id" >/dev/null
    done
}

stop_daemon() {
    local pid
    pid=$(daemon_pid) || return 0
    say "stopping crivirtd"
    kill "$pid"
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    fail "crivirtd (process $pid) does not end"
}

# rm would empty what is still mounted below the directory.
unmount_below() {
    local target
    while read -r target; do
        umount "$target" || fail "$target is still in use"
    done < <(awk -v d="$1/" 'index($2, d) == 1 { print $2 }' /proc/mounts | tac)
}

remove_all() {
    local directory
    if ip link show "$bridge" >/dev/null 2>&1; then
        ip link delete "$bridge"
    fi
    for directory in "$run" "$state"; do
        unmount_below "$directory"
        rm -rf --one-file-system "$directory"
    done
}

stop() {
    if [ ! -d "$state" ]; then
        say "nothing to stop"
        return
    fi
    if [ -n "$(program crivirtd)" ] && [ -f "$state/crivirt.toml" ] && [ -d "$state/state" ]; then
        write_configuration
        start_daemon
        stop_pods
        stop_daemon
    fi
    remove_all
    say "stopped; left are Debian's packages, the user libvirt-qemu and $root/build"
}

# --- main ----------------------------------------------------------------------------------------------------------

on_exit() {
    local status=$?
    if [ "$status" -ne 0 ] && [ -s "$log" ]; then
        printf -- '---- the end of %s ----\n' "$log" >&2
        tail -n 25 "$log" >&2
        printf -- '----\n' >&2
    fi
}

interrupted() {
    printf '\n' >&2
    say "interrupted: run it again to continue, or with --stop to remove what it made"
    trap - EXIT
    exit 130
}

[ "$(id -u)" = 0 ] || fail "run it as root: pods need network namespaces and taps"
trap on_exit EXIT
trap interrupted INT TERM
umask 022
case ${1:-} in
    --stop) stop ;;
    '')
        mkdir -p "$state"
        "$here/packages.sh" runtime build
        "$here/users.sh"
        build_programs
        "$root/kernel/image.sh" --kernel stock --agent "$(program crivirt-agent)" "$state/guest"
        write_configuration
        start_daemon
        image=$(get_image)
        show_off "$image"
        next_commands "$image" ;;
    *) fail "usage: quickstart.sh [--stop]" ;;
esac
