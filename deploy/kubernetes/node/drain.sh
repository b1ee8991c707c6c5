# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Evicts the pods of the node $node through the API (api.sh), as `kubectl drain --ignore-daemonsets --delete-emptydir-data` does.
# Sourced, never run.
#
# drain SECONDS: fails when pods are left after that time, and prints their names. Pods of DaemonSets and static pods stay.

# "NAMESPACE NAME" of each pod that has to leave.
# shellcheck disable=SC2154 # node is the caller's
pods_to_evict() {
    pods=$(api GET "/api/v1/pods?fieldSelector=spec.nodeName%3D$node") || return 1
    printf '%s' "$pods" | jq -r '.items[] |
        select(.metadata.annotations["kubernetes.io/config.mirror"] == null) |
        select(any(.metadata.ownerReferences[]?; .kind == "DaemonSet" and .controller) | not) |
        select(.status.phase != "Succeeded" and .status.phase != "Failed") |
        "\(.metadata.namespace) \(.metadata.name)"'
}

# A refusal, for example by a disruption budget, is tried again by the caller.
evict() { # NAMESPACE NAME
    # shellcheck disable=SC2016 # jq's variables
    api POST "/api/v1/namespaces/$1/pods/$2/eviction" "$(jq -nc --arg namespace "$1" --arg name "$2" \
        '{apiVersion: "policy/v1", kind: "Eviction", metadata: {namespace: $namespace, name: $name}}')" >/dev/null 2>&1 || true
}

drain() {
    drain_end=$(($(date +%s) + $1))
    while ! left=$(pods_to_evict) || [ -n "$left" ]; do
        if [ "$(date +%s)" -ge "$drain_end" ]; then
            echo "after $1 s these pods are still on the node: $(echo "$left" | tr '\n' ',')" >&2
            return 1
        fi
        echo "$left" | while read -r namespace name; do
            [ -z "$name" ] || evict "$namespace" "$name"
        done
        sleep 3
    done
}
