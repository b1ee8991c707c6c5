#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the kubelet of this node use crivirtd, or again the runtime that it had before, as the node's label crivirt.io/switch says
# ("true", or anything else). It runs on the node, by crivirt-switch.timer, because every pod of the node ends with its runtime.
#   switch.sh            does what the label asks for, and reports in the labels state, runtime, version, accelerator and reason
#   switch.sh check      succeeds when a pod runs in a VM, for install.sh
#   switch.sh forget     removes these labels, for remove.sh
# A move that fails at any step, or is interrupted, is undone; it is not tried again until the label changes.
# /etc/crivirt/switch.conf may set the times below.
set -u
here=$(dirname "$(readlink -f "$0")")
PATH=$here/../../../bin:$PATH
drain_seconds=600
ready_seconds=300
check_seconds=300
canary_seconds=30
# shellcheck source=/dev/null
[ ! -r /etc/crivirt/switch.conf ] || . /etc/crivirt/switch.conf
# shellcheck source=api.sh
. "$here/api.sh"
# shellcheck source=drain.sh
. "$here/drain.sh"
# shellcheck source=kubelet.sh
. "$here/kubelet.sh"
crivirt=unix:///run/crivirt/crivirtd.sock
for program in curl jq; do
    command -v "$program" >/dev/null || { echo "$program is missing: install it, and this unit goes on" >&2; exit 1; }
done

# state/kubelet: what kubelet_find found, since the first move; state/file, state/instance: the kubelet's file and kubeadm's before it,
# unless there was none, and with .set what they were made to be;
# state/runtime: what the kubelet uses, crivirt or before; state/step and
# state/target: the move that is being made; state/stopped: since when the kubelet is stopped for it; state/failed: the label and
# reason of one that failed.
state=/var/lib/crivirt-switch
mkdir -p "$state"

say() { echo "$*" >&2; }

remember_kubelet() {
    for name in unit kubeconfig file format config old; do
        eval "printf \"kubelet_$name='%s'\\n\" \"\$kubelet_$name\""
    done >"$state/kubelet"
    rm -f "$state"/file* "$state"/instance*
    keep "$kubelet_file" "$state/file" && keep "$kubelet_instance" "$state/instance"
}

keep() { # FILE TO
    [ ! -e "$1" ] || cp -p "$1" "$2"
}

unchanged() { # FILE NAME
    if [ -e "$state/$2.set" ]; then cmp -s "$1" "$state/$2.set"; else [ ! -e "$1" ]; fi
}

put_back() { # FILE NAME
    if [ -e "$state/$2" ]; then cp -p "$state/$2" "$1"; else rm -f "$1"; fi
}

# What was changed since the move, as kubeadm does at an upgrade, stays so, but for the endpoint.
restore_kubelet() {
    if unchanged "$kubelet_file" file && unchanged "$kubelet_instance" instance; then
        put_back "$kubelet_file" file && put_back "$kubelet_instance" instance
    else
        say "the kubelet's configuration has changed since it was switched: its endpoint is set to $kubelet_old, and the rest stays"
        case $kubelet_format in
            flags | config) kubelet_set "$kubelet_old" ;;
            *) # a file of crivirt alone
                put_back "$kubelet_file" file
                [ ! -e "$kubelet_instance" ] || set_config "$kubelet_instance" "$kubelet_old" ;;
        esac
    fi
}

set_kubelet() {
    kubelet_set "$crivirt" && keep "$kubelet_file" "$state/file.set" && keep "$kubelet_instance" "$state/instance.set"
}

runtime() { cat "$state/runtime" 2>/dev/null || echo before; }
endpoint_of() { if [ "$1" = crivirt ]; then echo "$crivirt"; else echo "$kubelet_old"; fi; }
other() { if [ "$1" = crivirt ]; then echo before; else echo crivirt; fi; }

# ---- the steps of a move; each takes the runtime, and fails with a message ----

cordon() {
    [ "$(node_get '.spec.unschedulable // false')" = true ] || touch "$state/cordoned"
    node_patch '{spec: {unschedulable: true}}'
}

uncordon() {
    [ ! -e "$state/cordoned" ] || node_patch '{spec: {unschedulable: null}}' && rm -f "$state/cordoned"
}

drain_node() { drain "$drain_seconds"; }

# The CNI plugins of both runtimes are the same, so that each pod is removed by the runtime that made it.
end_pods() { # RUNTIME
    socket=$(endpoint_of "$1")
    socket=${socket#unix://}
    systemctl stop "$kubelet_unit.service" || return 1
    date -u +%Y-%m-%dT%H:%M:%SZ >"$state/stopped"
    for try in 1 2 3; do
        if ! pods=$(crivirt -H "$socket" pods -q --no-trunc 2>/dev/null); then
            break
        elif [ -z "$pods" ]; then
            return 0
        fi
        echo "$pods" | xargs crivirt -H "$socket" rmp -f >/dev/null || sleep "$try"
    done
    if [ "$1" = crivirt ] || kubelet_is_alone; then
        say "$socket still has pods, or does not answer"
        return 1
    fi
    # The runtime has ended with its kubelet (k3s, RKE2, k0s), its containers have not.
    for group in /sys/fs/cgroup/kubepods*/cgroup.kill; do
        [ ! -e "$group" ] || echo 1 >"$group"
    done
}

point_kubelet() { # RUNTIME
    echo "$1" >"$state/runtime" # first, so that what is interrupted here is undone
    if [ "$1" = crivirt ]; then set_kubelet; else restore_kubelet; fi || return 1
    if [ "$1" = crivirt ]; then
        [ -e /etc/crictl.yaml ] || cp "$here/../../../share/crivirt/crictl.yaml" /etc/crictl.yaml
    elif cmp -s "$here/../../../share/crivirt/crictl.yaml" /etc/crictl.yaml; then
        rm /etc/crictl.yaml
    fi
    # What kubeadm writes into the kubelet's flags at the next upgrade of the node.
    # shellcheck disable=SC2016 # jq's variables
    [ "$(node_get '.metadata.annotations["kubeadm.alpha.kubernetes.io/cri-socket"] // ""')" = "" ] ||
        node_patch '{metadata: {annotations: {"kubeadm.alpha.kubernetes.io/cri-socket": $socket}}}' \
            --arg socket "$(endpoint_of "$1")" || true
}

start_kubelet() {
    systemctl daemon-reload
    systemctl start "$kubelet_unit.service"
}

# Ready by a heartbeat of the kubelet that was started, with this runtime.
is_ready() { # RUNTIME
    # shellcheck disable=SC2016 # jq's variables
    [ "$(node_get '((.status.nodeInfo.containerRuntimeVersion | startswith("crivirt://")) == ($runtime == "crivirt")) and
        any(.status.conditions[]; .type == "Ready" and .status == "True" and .lastHeartbeatTime >= $since)' \
        --arg runtime "$1" --arg since "$(cat "$state/stopped")" 2>/dev/null)" = true ]
}

wait_until() { # SECONDS COMMAND…
    end=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 2
    done
}

wait_ready() { # RUNTIME
    wait_until "$ready_seconds" is_ready "$1" || { say "the node was not Ready after $ready_seconds s"; return 1; }
}

# A kubelet ends pods that it does not know, such as check.sh's. Under a kubelet the pod of the DaemonSet crivirt-canary shows that pods
# run in VMs; without that DaemonSet nothing is waited for.
canary() { # JQ-PROGRAM [JQ-OPTION…]
    pods=$(api GET "/api/v1/pods?fieldSelector=spec.nodeName%3D$node&labelSelector=app.kubernetes.io%2Fcomponent%3Dcanary") || return 1
    printf '%s' "$pods" | jq -r "$@"
}
canary_is_there() { [ "$(canary '.items | length')" != 0 ]; }
canary_is_ready() { # UID, of one that does not count
    # shellcheck disable=SC2016 # jq's variables
    [ "$(canary 'any(.items[]; .metadata.uid != $old and any(.status.conditions[]?; .type == "Ready" and .status == "True"))' \
        --arg old "${1:-}")" = true ]
}
wait_canary() { # [UID]
    wait_until "$check_seconds" canary_is_ready "$@" || { say "the pod of DaemonSet crivirt-canary is not ready"; return 1; }
}

pod_runs() { # RUNTIME
    [ "$1" = crivirt ] || return 0
    node_labels runtime=crivirt state=checking
    if wait_until "$canary_seconds" canary_is_there; then
        wait_canary
    fi
}

# For the installer: a new canary, if the kubelet uses crivirt, else a pod without a kubelet.
check() {
    if [ "$(runtime)" != crivirt ] && [ "$kubelet_old" != "$crivirt" ] || ! canary_is_there; then
        sh "$here/check.sh" "$check_seconds"
        return
    fi
    old=$(canary '.items[0].metadata | "\(.uid) \(.namespace) \(.name)"') || return 1
    say "renewing the pod ${old#* }"
    # shellcheck disable=SC2086 # these are words
    set -- $old
    api DELETE "/api/v1/namespaces/$2/pods/$3" >/dev/null && wait_canary "$1"
}

# ---- a move ----

try() { # REASON COMMAND…
    reason=$1
    shift
    echo "$reason" >"$state/step"
    say "step $reason"
    "$@" 2>"$state/error" || { cat "$state/error" >&2; return 1; }
    cat "$state/error" >&2
}

steps() { # RUNTIME
    if [ "$1" = crivirt ]; then
        try crivirt-runs-no-pod sh "$here/check.sh" "$check_seconds" || return 1
    fi
    try cannot-cordon cordon && try cannot-drain drain_node && try cannot-end-pods end_pods "$(other "$1")" &&
        try cannot-configure-kubelet point_kubelet "$1" && try cannot-start-kubelet start_kubelet &&
        try node-not-ready wait_ready "$1" && try test-pod-failed pod_runs "$1" && try cannot-uncordon uncordon
}

# Back to the runtime that the kubelet had; what fails here is logged, and the rest is done all the same.
undo() { # RUNTIME
    if [ "$(runtime)" != "$1" ]; then
        end_pods "$(other "$1")"
        point_kubelet "$1"
    fi
    if [ -e "$state/stopped" ]; then
        start_kubelet
        wait_ready "$1"
    fi
    uncordon
}

move() { # RUNTIME LABEL
    say "switching to the runtime '$1'"
    node_labels state=switching reason=
    node_event Normal CrivirtSwitching "the kubelet of this node is being switched to $(endpoint_of "$1")"
    if steps "$1"; then
        rm -f "$state/step" "$state/stopped"
        node_event Normal CrivirtSwitched "the kubelet of this node uses $(endpoint_of "$1")"
    else
        failed "$1" "$2"
    fi
}

failed() { # RUNTIME LABEL
    reason=$(cat "$state/step")
    message=$(tr '\n' ' ' <"$state/error" 2>/dev/null | cut -c 1-900)
    say "$reason; undoing"
    undo "$(other "$1")"
    echo "$2 $reason" >"$state/failed"
    rm -f "$state/step" "$state/stopped"
    node_event Warning CrivirtSwitchFailed "the kubelet of this node was not switched to $(endpoint_of "$1"): $reason: $message"
}

report() { # LABEL
    if [ -e "$state/failed" ]; then
        now=failed reason=$(cut -d ' ' -f 2 "$state/failed")
    elif [ "$(runtime)" = crivirt ]; then
        now=ready reason=
    else
        now=installed reason=
        rm -rf "$state/kubelet" "$state"/file* "$state"/instance*
    fi
    info=$(crivirt info --json 2>/dev/null) || now=down
    node_labels state="$now" reason="$reason" runtime="$(runtime | sed 's/^before$//')" \
        version="$(crivirt version --json 2>/dev/null | jq -r '.runtimeVersion // ""')" \
        accelerator="$(printf '%s' "$info" |
            jq -r '.status.info.accelerator | if .hardware then "kvm" else "tcg" end' 2>/dev/null)"
}

# ---- what the label asks for ----

# Without a kubelet, or its API server, only the check can be made.
no_kubelet() {
    [ "${1:-}" != check ] || sh "$here/check.sh" "$check_seconds"
    exit
}

kubelet_config= # not in the state of an older crivirt
if [ -e "$state/kubelet" ]; then
    # shellcheck source=/dev/null
    . "$state/kubelet"
else
    kubelet_find || no_kubelet "$@"
fi
# Of this process alone: the installer's check runs beside the timer's.
private=$(mktemp -d /run/crivirt-switch.XXXXXX)
trap 'rm -rf "$private"' EXIT
if ! api_begin "$kubelet_kubeconfig" "$private" || ! node=$(node_name); then
    no_kubelet "$@"
fi
if [ "${1:-}" = check ]; then
    check
    exit
fi
if [ "${1:-}" = forget ]; then
    node_labels state= reason= runtime= version= accelerator=
    exit
fi
label=$(node_get '.metadata.labels["crivirt.io/switch"] // ""') || exit 0
wanted=before
[ "$label" != true ] || wanted=crivirt

if [ -e "$state/step" ]; then
    say "the last move was interrupted at its step '$(cat "$state/step")'"
    failed "$(cat "$state/target")" "$label"
elif [ -e "$state/failed" ] && [ "$(cut -d ' ' -f 1 "$state/failed")" != "$label" ]; then
    rm -f "$state/failed"
fi
if [ "$wanted" != "$(runtime)" ] && [ ! -e "$state/failed" ]; then
    [ -e "$state/kubelet" ] || remember_kubelet
    echo "$wanted" >"$state/target"
    move "$wanted" "$label"
fi
report
