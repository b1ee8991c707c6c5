# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# shellcheck disable=SC2034 # the caller uses what kubelet_find sets
# Finds this node's kubelet, and points it at another runtime by a change of one file. Sourced, never run.
#
# kubelet_find      sets kubelet_unit, kubelet_kubeconfig, kubelet_file (which names the endpoint, or will), kubelet_format,
#                   kubelet_config (that of --config, or empty), and kubelet_old (the endpoint in force); fails with a message when
#                   it cannot tell
# kubelet_set ENDPOINT   changes the file, and kubeadm's; the kubelet's next start uses it
# A kubelet that runs inside another program (k3s, RKE2, k0s) has its runtime inside it as well: kubelet_is_alone tells.

# From here kubeadm v1.36 (v1.32 by a feature gate) takes the endpoint when it writes the kubelet's configuration anew at an upgrade.
kubelet_instance=/var/lib/kubelet/instance-config.yaml

# The value of an option of the running kubelet: --NAME=VALUE or --NAME VALUE.
kubelet_option() { # NAME
    tr '\0' '\n' <"/proc/$kubelet_pid/cmdline" | sed -n -e "s/^--$1=//p" -e "/^--$1\$/{n;p;}" | tail -n 1
}

kubelet_is_alone() { [ "$kubelet_unit" = kubelet ]; }

unit_exists() { systemctl cat "$1.service" >/dev/null 2>&1; }

# The first of the files that names the option.
file_with_option() { # NAME FILE…
    name=$1
    shift
    grep -ls -- "--$name" "$@" | head -n 1
}

# The endpoint that a file of KubeletConfiguration names.
config_endpoint() { # FILE
    sed -n 's/^containerRuntimeEndpoint: *["'"'"']\{0,1\}\([^"'"'"' ]*\).*/\1/p' "$1"
}

kubelet_find_alone() {
    kubelet_pid=$(systemctl show -p MainPID --value kubelet.service)
    [ "${kubelet_pid:-0}" != 0 ] || { echo "kubelet.service does not run" >&2; return 1; }
    kubelet_kubeconfig=$(kubelet_option kubeconfig)
    kubelet_old=$(kubelet_option container-runtime-endpoint)
    kubelet_config=$(kubelet_option config)
    if [ -n "$kubelet_old" ]; then # a flag has the last word
        kubelet_format=flags
        kubelet_file=$(file_with_option container-runtime-endpoint /var/lib/kubelet/kubeadm-flags.env /etc/default/kubelet \
            /etc/sysconfig/kubelet)
        [ -n "$kubelet_file" ] ||
            { echo "no known file gives the kubelet its --container-runtime-endpoint: move it into its configuration" >&2; return 1; }
        return 0
    fi
    kubelet_old=$(config_endpoint "$kubelet_config")
    : "${kubelet_old:=unix:///run/containerd/containerd.sock}"
    directory=$(kubelet_option config-dir)
    kubelet_file=${directory:+$directory/50-crivirt.conf}
    kubelet_format=${directory:+directory}
    : "${kubelet_file:=$kubelet_config}" "${kubelet_format:=config}"
    [ -n "$kubelet_file" ] || { echo "the kubelet has neither --config nor --config-dir" >&2; return 1; }
}

# k3s and RKE2 read a directory of configurations.
kubelet_find_rancher() { # NAME
    kubelet_kubeconfig=/var/lib/rancher/$1/agent/kubelet.kubeconfig
    kubelet_file=/etc/rancher/$1/config.yaml.d/50-crivirt.yaml
    kubelet_format=rancher
    kubelet_old=unix:///run/k3s/containerd/containerd.sock
}

kubelet_find_k0s() {
    kubelet_kubeconfig=/var/lib/k0s/kubelet.conf
    kubelet_file=/etc/systemd/system/k0sworker.service.d/50-crivirt.conf
    kubelet_format=k0s
    kubelet_old=unix:///run/k0s/containerd.sock
}

kubelet_find() {
    kubelet_config=
    for kubelet_unit in k3s-agent k3s rke2-agent rke2-server k0sworker kubelet; do
        unit_exists "$kubelet_unit" || continue
        case $kubelet_unit in
            k3s*) kubelet_find_rancher k3s ;;
            rke2*) kubelet_find_rancher rke2 ;;
            k0s*) kubelet_find_k0s ;;
            kubelet) kubelet_find_alone ;;
        esac
        return
    done
    echo "this node has no unit of a kubelet (kubelet, k3s, k3s-agent, rke2-agent, rke2-server, k0sworker)" >&2
    return 1
}

# The k0s unit's own command with another runtime: k0s has no file for this option.
k0s_command() { # ENDPOINT
    systemctl cat k0sworker.service | sed -n 's/^ExecStart=\(..*\)/\1/p' | tail -n 1 |
        sed "s,\$, --cri-socket=remote:$1,"
}

set_config() { # FILE ENDPOINT
    sed -e '/^containerRuntimeEndpoint:/d' -e '/^imageServiceEndpoint:/d' "$1" >"$1.crivirt" || return 1
    echo "containerRuntimeEndpoint: $2" >>"$1.crivirt" && chmod 644 "$1.crivirt" && mv "$1.crivirt" "$1"
}

kubelet_set() { # ENDPOINT
    new=$kubelet_file.crivirt
    mkdir -p "$(dirname "$kubelet_file")"
    # An upgrade by kubeadm moves the endpoint from the flags to the configuration.
    if [ "$kubelet_format" = flags ] && ! grep -qs -- --container-runtime-endpoint "$kubelet_file" && [ -n "$kubelet_config" ]; then
        set_config "$kubelet_config" "$1" || return 1
    fi
    case $kubelet_format in
        flags)
            sed -e "s,--\(container-runtime\|image-service\)-endpoint[= ][^ \"']*,--\1-endpoint=$1,g" "$kubelet_file" >"$new" ;;
        config) cp "$kubelet_file" "$new" && set_config "$new" "$1" ;;
        directory)
            printf '%s\n' 'apiVersion: kubelet.config.k8s.io/v1beta1' 'kind: KubeletConfiguration' "containerRuntimeEndpoint: $1" >"$new" ;;
        rancher) echo "container-runtime-endpoint: $1" >"$new" ;;
        k0s) printf '[Service]\nExecStart=\nExecStart=%s\n' "$(k0s_command "$1")" >"$new" ;;
    esac || return 1
    chmod 644 "$new" && mv "$new" "$kubelet_file" || return 1
    [ ! -e "$kubelet_instance" ] || set_config "$kubelet_instance" "$1"
}
