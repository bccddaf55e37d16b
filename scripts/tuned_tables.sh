#!/bin/sh
# tuned_tables.sh -- the tables of winners that the program carries: cache/tuned/ARCH.txt, made anew
#
#     scripts/tuned_tables.sh [--check] [--store DIR] [ARCH ...]      default: sm_80 sm_89 sm_90a
#
# Ranks the default set without a device (build/qgen, all processors), lets the winners pass the gate,
# and prints how long it took.  To be run when templates, the compiler, the model or the table of GPUs
# changed; the program is rebuilt with the tables by the next `ninja`.
# --check: compares instead of writing; 1 when a table is not what ranking gives now.
# --store: keeps profiles and kernels there, so that a change of the model alone costs seconds; without
# it all is made from nothing.
set -eu
cd "$(dirname "$0")/.."
requests=linear.w4g128.f16.f16,linear.w4g128.f16.f32
check=0 folder=
while true; do
    case "${1:-}" in
    --check) check=1; shift ;;
    --store) folder=$2; shift 2 ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || set -- sm_80 sm_89 sm_90a
if [ -z "$folder" ]; then
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
fi
mkdir -p -m 700 "$folder"
status=0
mkdir -p cache/tuned
for arch in "$@"; do
    started=$(date +%s)
    rm -f "$folder/tuned/$arch.txt"
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
