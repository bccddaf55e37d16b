#!/usr/bin/env bash
# parallel.sh -- a plan in N shares by GNU parallel, then one folder: parallel.sh N jobs.jsonl out
# For other machines too: parallel --sshlogin host1,host2 .., where the folders are on a shared disk.
set -e
mkdir -p "$3"
seq "$1" | parallel -q --joblog "$3/log" --resume-failed "${QGEN:-qgen}" work --shard "{}/$1" --jobs "$2" --out "$3/{}" -j 1 -q
"${QGEN:-qgen}" cache merge "$3"/[0-9]* -o "$3/merged"
