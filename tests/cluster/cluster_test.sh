#!/usr/bin/env bash
# cluster_test.sh -- a plan done in shares is what one machine makes, and what build makes, byte for byte
#
#   cluster_test.sh slurm|parallel QGEN
#
# Slurm: the real one of this machine's packages, without systemd and munge, in a temporary folder, stopped at
# the end.  Exit code 77: it is not installed, or cannot run here.
set -uo pipefail
cd "$(dirname "$0")/../.."
export QGEN=$2
shares=4 requests=add.f32,glu.silu.f32,rmsnorm.f32.f32,quantize.f32.i8,sample
folder=$(mktemp -d)
pids=()

finish() {
  for pid in "${pids[@]}"; do kill "$pid"; done 2>/dev/null
  for pid in "${pids[@]}"; do wait "$pid"; done 2>/dev/null
  rm -rf "$folder"
}
trap finish EXIT

skip() {
  echo "[  SKIP  ] $*" >&2
  exit 77
}
fail() {
  echo "FAILED: $*" >&2
  tail -n 20 "$folder"/*.log >&2
  exit 1
}
need() { command -v "$1" >/dev/null || skip "$1 is not installed ($2)"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])'; }

# Look every 0.2 s, for as many seconds as said, until a command succeeds.
wait_for() { # seconds, command...
  local tries=$(($1 * 5))
  shift
  until "$@"; do
    ((tries-- > 0)) || return 1
    sleep 0.2
  done
}

write_slurm_conf() {
  local user host
  user=$(id -un)
  host=$(hostname -s)
  cat >"$SLURM_CONF" <<END
ClusterName=qgen
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
END
}

node_is_idle() { sinfo -h -o %t 2>/dev/null | grep -q idle; }
queue_is_empty() { [ -z "$(squeue -h 2>&1)" ]; }

start_slurm() {
  export SLURM_CONF=$folder/slurm.conf
  mkdir "$folder/state" "$folder/spool"
  write_slurm_conf
  slurmctld -D >"$folder/slurmctld.log" 2>&1 &
  pids+=($!)
  slurmd -D >"$folder/slurmd.log" 2>&1 &
  pids+=($!)
  wait_for 20 node_is_idle
}

do_by_slurm() {
  local tool
  for tool in slurmctld slurmd sbatch; do need $tool slurm-wlm; done
  start_slurm || {
    tail -n 5 "$folder"/*.log >&2
    skip "Slurm does not run here"
  }
  sbatch --array=1-$shares --output="$folder/task-%a.log" examples/cluster/slurm.sh "$folder/jobs.jsonl" "$folder/out" &&
    wait_for 120 queue_is_empty && "$QGEN" cache merge "$folder"/out/* -o "$folder/out/merged"
}

do_by_parallel() {
  need parallel parallel
  examples/cluster/parallel.sh $shares "$folder/jobs.jsonl" "$folder/out"
}

"$QGEN" plan-jobs --arch x86-64-v3 --request $requests -o "$folder/jobs.jsonl" || fail "no plan"
"do_by_$1" || fail "the shares were not done"
"$QGEN" work --jobs "$folder/jobs.jsonl" --out "$folder/single" --quiet || fail "not done on a single machine"
QGEN_CACHE=$folder/built "$QGEN" build --arch x86-64-v3 --request $requests --quiet >/dev/null || fail "not built"
diff -r -x done "$folder/single" "$folder/out/merged" || fail "the result is not the single machine's"
diff -r "$folder/built" "$folder/out/merged" || fail "the result is not what build makes"
[ "$(ls -d "$folder"/out/*/done | wc -l)" = $shares ] || fail "not every share made a folder"
echo "$(cat "$folder"/out/*/done/* | grep -vc qgen-done) kernels in $shares shares by $1: the same bytes"
