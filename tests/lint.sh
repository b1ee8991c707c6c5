#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Checks the sources without running them:
#   lint.sh layout                 clang-format agrees with every C file
#   lint.sh format                 lets clang-format write every C file
#   lint.sh includes               no include points up or sideways in the order of the libraries (tests/include-order)
#   lint.sh hashes                 every hash table of strings has a keyed hash (common/string_table.h)
#   lint.sh shell                  shellcheck finds nothing in our scripts
#   lint.sh tidy BUILD_DIRECTORY [FILE…]
#                                  clang-tidy finds nothing in the C files that the build directory compiles, or in these
# clang-tidy takes a quarter of an hour on two CPUs for all files. A file that it found nothing in is not checked again
# until the file, a header that it includes, its compile command, .clang-tidy or clang-tidy itself changes; what was checked
# is recorded in /var/cache/crivirt/tidy (CRIVIRT_CACHE moves it).
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")
# shellcheck source=../deploy/say.sh
. "$root/deploy/say.sh"
# shellcheck source=../kernel/cache.sh
. "$root/kernel/cache.sh"
cd "$root"

sources() { git ls-files '*.c' '*.h'; }
scripts() { git ls-files '*.sh' '.ci/run' deploy/deb/postinst deploy/deb/prerm deploy/deb/postrm deploy/bundle/rpm/p*; }

# compiled BUILD_DIRECTORY [PATTERN…]: "FILE<tab>COMMAND" of each of our C files that the directory compiles.
compiled() {
    local build=$1
    shift
    join -t $'\t' <(git ls-files "${@:-*.c}" | sort) \
        <(jq -r --arg root "$root/" '.[] | select(.file | startswith($root)) |
              "\(.file | ltrimstr($root))\t\(.command)"' "$build/compile_commands.json" | sort -u -t $'\t' -k 1,1)
}

# tidy_file BUILD_DIRECTORY FILE COMMAND
tidy_file() {
    local build=$1 file=$2 command=$3 hash
    # With comments, because they may hold NOLINT. ccache and the output file are not the business of the preprocessor.
    command=$(sed -E 's/^\S*ccache //; s/^\S+/clang -Wno-everything/; s/ -o \S+ -c / /' <<<"$command")
    # shellcheck disable=SC2086 # the command is words
    hash=$( (cat .clang-tidy "$file" && clang-tidy --version && echo $command &&
        eval "$command -E -C") 2>&1 | sed "s|$root||g" | sha256sum | cut -c 1-32)
    [ ! -e "$CRIVIRT_CACHE/tidy/$hash" ] || return 0
    clang-tidy --quiet --extra-arg=-Wno-unknown-warning-option --warnings-as-errors='*' -p "$build" "$file"
    mkdir -p "$CRIVIRT_CACHE/tidy" && touch "$CRIVIRT_CACHE/tidy/$hash"
}

case ${1:-} in
    layout) sources | xargs clang-format --dry-run --Werror ;;
    format) sources | xargs clang-format -i ;;
    includes) git ls-files '*.c' '*.h' '*.def' | grep -v '^tests/' | xargs awk -f tests/includes.awk tests/include-order ;;
    hashes)
        ! git grep -n -w g_str_hash -- '*.c' '*.h' ':!tests/' ':!common/string_table.h' ||
            fail "use string_table_new() or string_hash() instead: g_str_hash has no key" ;;
    shell) scripts | xargs shellcheck ;;
    tidy)
        [ -f "${2:?tidy wants a build directory}/compile_commands.json" ] || fail "'$2' has no compile_commands.json: run cmake"
        compiled "${@:2}" | tr '\t' '\n' | xargs -P "$(nproc)" -d '\n' -n 2 "$0" tidy-file "$2" ;;
    tidy-file) tidy_file "${@:2}" ;;
    *) fail "usage: lint.sh layout | format | includes | hashes | shell | tidy BUILD_DIRECTORY [FILE…]" ;;
esac
