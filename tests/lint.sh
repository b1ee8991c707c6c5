#!/bin/bash
# What can be said about the sources without running them:
#   lint.sh layout                 clang-format agrees with every C file
#   lint.sh shell                  shellcheck finds nothing in our scripts
#   lint.sh tidy BUILD_DIRECTORY [FILE…]
#                                  clang-tidy finds nothing, in all files (a quarter of an hour on two CPUs) or in these
set -euo pipefail
root=$(dirname "$(dirname "$(readlink -f "$0")")")
# shellcheck source=../deploy/say.sh
. "$root/deploy/say.sh"
cd "$root"

sources() { git ls-files '*.c' '*.h'; }
scripts() { git ls-files '*.sh' '.ci/run' deploy/deb/postinst deploy/deb/prerm deploy/deb/postrm; }

case ${1:-} in
    layout) sources | xargs clang-format --dry-run --Werror ;;
    shell) scripts | xargs shellcheck ;;
    tidy)
        build=${2:?tidy wants a build directory}
        shift 2
        git ls-files "${@:-*.c}" | grep -v '^tests/fuzz/' |
            xargs -P "$(nproc)" -n 1 clang-tidy --quiet --extra-arg=-Wno-unknown-warning-option --warnings-as-errors='*' -p "$build" ;;
    *) fail "usage: lint.sh layout | shell | tidy BUILD_DIRECTORY [FILE…]" ;;
esac
