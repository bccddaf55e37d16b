#!/bin/sh
# tuned_tables.sh -- the tables of winners that the program carries: cache/tuned/ARCH.txt, made anew
#
#     scripts/tuned_tables.sh [--check] [ARCH ...]      default: sm_80 sm_89 sm_90a
#
# Ranks the default set without a device (build/qgen, all processors), lets the winners pass the gate,
# and prints how long it took.  To be run when templates, the compiler, the model or the table of GPUs
# changed; the program is rebuilt with the tables by the next `ninja`.
# --check: compares instead of writing; 1 when a table is not what ranking gives now.
set -eu
cd "$(dirname "$0")/.."
requests=linear.w4g128.f16.f16,linear.w4g128.f16.f32
check=0
if [ "${1:-}" = --check ]; then check=1; shift; fi
[ $# -gt 0 ] || set -- sm_80 sm_89 sm_90a
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
status=0
mkdir -p cache/tuned
for arch in "$@"; do
    started=$(date +%s)
    QGEN_CACHE=$folder build/qgen build --arch "$arch" --request $requests --rank --explain \
        > "$folder/$arch.log"
    echo "$arch: $(($(date +%s) - started)) s with compiling and checking the winners"
    grep -E '^linear|candidates of|not tried|kernels for|winners by' "$folder/$arch.log" | sed 's/^ */  /'
    if [ $check = 0 ]; then
        cp "$folder/tuned/$arch.txt" "cache/tuned/$arch.txt"
    elif ! cmp "$folder/tuned/$arch.txt" "cache/tuned/$arch.txt"; then
        status=1
    fi
done
exit $status
