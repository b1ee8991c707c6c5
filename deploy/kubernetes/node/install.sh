#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the bundle that this script is part of on the node, or upgrades the node to it, and goes back to what was there when no
# pod can be run. Running pods stay.
#   install.sh ROOT [CONFIG]
# ROOT has the node's /opt/crivirt, /etc/crivirt and /etc/systemd/system: /host in the installer's pod, which has the socket of the
# node's systemd in its own /run/systemd; "" on the node itself. CONFIG becomes a drop-in of /etc/crivirt/crivirt.toml.
set -eu
[ $# -ge 1 ] || { echo "usage: install.sh ROOT [CONFIG]" >&2; exit 2; }
root=$1
config=${2:-}
source=$(readlink -f "$(dirname "$(readlink -f "$0")")/../../..") # VERSION-ARCH
version=$(basename "$source")
store=$root/opt/crivirt
tree=$store/versions/$version
units=$root/etc/systemd/system
drop_in=$root/etc/crivirt/crivirt.toml.d/50-cluster.toml
saved=$store/.50-cluster.toml
PATH=$source/bin:$PATH

say() { echo "install: $*" >&2; }
fail() { say "error: $*"; exit 1; }

# ---- the bundle ----

verify() { [ -d "$1" ] && (cd "$1" && sha256sum -c share/crivirt/SHA256SUMS >/dev/null 2>&1); }

# Under another name until all its digests are right, so that a version that has its name is whole.
put_tree() {
    partial=$store/versions/.$version
    rm -rf "$partial"
    cp -a "$source" "$partial"
    verify "$partial" || fail "the bundle $version is damaged: its files have not the digests of its SHA256SUMS"
    rm -rf "$tree" && mv "$partial" "$tree"
}

# One rename: at each moment the link leads to a version.
point() { # LINK VERSION
    ln -sfn "versions/$2" "$store/.$1"
    mv -T "$store/.$1" "$store/$1"
}

# ---- the node ----

# The units of what is current; they name the programs below /opt/crivirt/current.
put_unit() { # NAME, content on standard input
    cat >"$units/$1.new" && mv "$units/$1.new" "$units/$1"
}

put_units() {
    current=$store/$(readlink "$store/current")
    put_unit crivirtd.service <"$current/share/crivirt/crivirtd.service" || return 1
    for unit in crivirt-check.service crivirt-switch.service; do
        sed -e "s,@SH@,/opt/crivirt/current/bin/busybox sh," -e "s,@LIB@,/opt/crivirt/current/lib/crivirt," \
            "$current/lib/crivirt/node/$unit.in" | put_unit "$unit" || return 1
    done
    put_unit crivirt-switch.timer <"$current/lib/crivirt/node/crivirt-switch.timer"
}

put_config() {
    mkdir -p "$(dirname "$drop_in")"
    [ -z "$config" ] || { cp "$config" "$drop_in.new" && mv "$drop_in.new" "$drop_in"; }
    [ -e "$root/etc/crivirt/crivirt.toml" ] || cp "$source/share/crivirt/crivirt.toml" "$root/etc/crivirt/"
}

# Starts what is current, and runs a pod.
activate() {
    put_units && systemctl daemon-reload && systemctl enable crivirtd.service crivirt-switch.timer 2>/dev/null &&
        systemctl restart crivirtd.service && systemctl start crivirt-check.service
}

roll_back() { # VERSION, "" for none
    say "going back to ${1:-no crivirt}"
    if [ -e "$saved" ]; then mv "$saved" "$drop_in"; else rm -f "$drop_in"; fi
    if [ -n "$1" ]; then
        point current "$1"
        activate || say "error: version $1 cannot run a pod either"
    else
        systemctl disable --now crivirtd.service crivirt-switch.timer || true
        rm -f "$store/current" "$units"/crivirtd.service "$units"/crivirt-check.service "$units"/crivirt-switch.*
        systemctl daemon-reload
    fi
}

is_up_to_date() {
    [ "$before" = "$version" ] && { [ -z "$config" ] || cmp -s "$config" "$drop_in"; } && systemctl is-active -q crivirtd.service
}

mkdir -p "$store/versions"
before=$(basename "$(readlink "$store/current" || true)")
[ "$(readlink -f "$tree")" = "$source" ] || verify "$tree" || put_tree
if is_up_to_date; then
    say "$version is installed and runs"
    exit
fi
rm -f "$saved"
[ ! -e "$drop_in" ] || cp "$drop_in" "$saved"
point current "$version"
put_config
say "starting $version${before:+, before: $before}"
if ! activate; then
    roll_back "$before"
    fail "$version was not installed: its daemon did not start, or could run no pod (journalctl -u crivirtd -u crivirt-check)"
fi
rm -f "$saved"
[ -z "$before" ] || [ "$before" = "$version" ] || point previous "$before"
systemctl start crivirt-switch.timer
say "$version runs, and has run a pod"
