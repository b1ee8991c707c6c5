# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Calls the API server as this node's kubelet. Sourced, never run.
#
# The kubelet's own identity may change nothing but its node and the pods on it (Node authorizer, NodeRestriction), so that no
# credential with more rights is needed on any node. curl and jq are 1 MB; kubectl would be 50, and its drain wants to read
# DaemonSets, which a kubelet may not.
#
# api_begin KUBECONFIG DIRECTORY   reads server and credentials; files with secrets go to the directory, which has mode 0700
# api METHOD PATH [BODY [TYPE]]    prints the answer; fails unless the status is 2xx. api_status has the status then
# node_name                        the name under which the kubelet is registered

api_field() { # FILE NAME
    sed -n "s/^[- ]*$2: *[\"']\{0,1\}\([^\"']*[^\"' ]\)[\"']\{0,1\} *\$/\1/p" "$1" | head -n 1
}

# The option that gives curl a file of the kubeconfig, which has its name or, in NAME-data, its content.
api_material() { # KUBECONFIG NAME OPTION
    file=$(api_field "$1" "$2")
    data=$(api_field "$1" "$2-data")
    if [ -n "$data" ]; then
        file=$api_directory/$2
        printf '%s' "$data" | base64 -d >"$file"
    fi
    [ -z "$file" ] || printf '%s = "%s"\n' "$3" "$file"
}

api_begin() {
    api_directory=$2
    api_server=$(api_field "$1" server)
    [ -n "$api_server" ] || return 1
    (
        umask 077
        mkdir -p "$api_directory"
        {
            api_material "$1" certificate-authority cacert
            api_material "$1" client-certificate cert
            api_material "$1" client-key key
            token=$(api_field "$1" token)
            [ -z "$token" ] || printf 'header = "Authorization: Bearer %s"\n' "$token"
            [ "$(api_field "$1" insecure-skip-tls-verify)" != true ] || echo insecure
        } >"$api_directory/curl"
    )
}

api() {
    api_status=$(curl -sS --max-time 30 -K "$api_directory/curl" -X "$1" -o "$api_directory/answer" -w '%{http_code}' \
        ${3:+-H "Content-Type: ${4:-application/json}" --data-binary "$3"} "$api_server$2") || return 1
    case $api_status in
        2*) cat "$api_directory/answer" ;;
        *)
            echo "$1 $2: $api_status: $(jq -r '.message // empty' "$api_directory/answer" 2>/dev/null)" >&2
            return 1
            ;;
    esac
}

node_name() {
    object=$(api POST /apis/authentication.k8s.io/v1/selfsubjectreviews \
        '{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}') || return 1
    printf '%s' "$object" | jq -er '.status.userInfo.username | capture("^system:node:(?<name>.+)$").name'
}

# node_patch JQ-PROGRAM [JQ-OPTION…]: a merge patch of the node, whose name is in $node for this and the following.
# shellcheck disable=SC2154
node_patch() {
    api PATCH "/api/v1/nodes/$node" "$(jq -nc "$@")" application/merge-patch+json >/dev/null
}

# node_labels KEY=VALUE…: sets crivirt.io/KEY; an empty value removes the label.
node_labels() {
    # shellcheck disable=SC2016 # $ARGS is jq's
    node_patch '{metadata: {labels: ($ARGS.positional | map(capture("^(?<key>[^=]*)=(?<value>.*)$")) |
        map({key: ("crivirt.io/" + .key), value: (.value | if . == "" then null else . end)}) | from_entries)}}' --args "$@"
}

# node_get JQ-PROGRAM [JQ-OPTION…]: what the program makes of the node.
node_get() {
    object=$(api GET "/api/v1/nodes/$node") || return 1
    printf '%s' "$object" | jq -r "$@"
}

node_event() { # TYPE REASON MESSAGE
    now=$(date -u +%Y-%m-%dT%H:%M:%SZ)
    # shellcheck disable=SC2016 # jq's variables
    api POST /api/v1/namespaces/default/events "$(jq -nc --arg type "$1" --arg reason "$2" --arg message "$3" --arg node "$node" \
        --arg now "$now" '{apiVersion: "v1", kind: "Event", metadata: {generateName: ($node + ".crivirt-"), namespace: "default"},
        involvedObject: {kind: "Node", name: $node, uid: $node, apiVersion: "v1"}, type: $type, reason: $reason, message: $message,
        source: {component: "crivirt-switch", host: $node}, firstTimestamp: $now, lastTimestamp: $now, count: 1}')" >/dev/null
}
