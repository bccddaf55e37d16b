#!/usr/bin/env bash
# run.sh -- everything that only a real GPU can show: kernels proved, sanitized, tuned, measured beside peers
#
#   tests/gpu/run.sh [--only PART] [--out DIR] [--device cuda:0] [--build DIR] [--minutes N]
#
# Parts, each below ten minutes: env check compare faults sanitize tune bench peers model.  Without --only
# all of them run in that order.  Every part leaves JSON in --out (default gpu-results); the last lines are a
# short table.  The build comes from ./build.sh build and `ninja -C build gpu_tools`, here or on a machine
# like this one with -DQGEN_PORTABLE=ON.  Exit code 1 when a part failed.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=gpu-results device=cuda:0 build=build minutes=9 only=""
while [ $# -gt 0 ]; do
  case $1 in
    --only) only=$2 ;;
    --out) out=$2 ;;
    --device) device=$2 ;;
    --build) build=$2 ;;
    --minutes) minutes=$2 ;;
    *) sed -n '4,9s/^# \{0,1\}//p' "$0"; exit 2 ;;
  esac
  shift 2
done
mkdir -p "$out"
qgen=$build/qgen
models=.deps/models
failed=()

# Run one command with the time that a part has; its output is kept and its end shown.
step() { # name, command...
  local name=$1
  shift
  local start=$SECONDS status=0
  timeout "$((minutes * 60))" "$@" >"$out/$name.log" 2>"$out/$name.err" || status=$?
  printf '%-28s %s  %d s\n' "$name" "$([ $status = 0 ] && echo ok || echo "FAILED ($status)")" $((SECONDS - start))
  [ $status = 0 ] || { failed+=("$name"); tail -n 5 "$out/$name.err" | sed 's/^/    /'; }
  return 0
}

# JSON results go to a file of their own.
json() { # name, command...
  local name=$1
  shift
  step "$name" "$@" --format json
  mv "$out/$name.log" "$out/$name.json"
}

# The virtual GPU in place of the driver.
virtual_driver() {
  mkdir -p "$out/virtual"
  ln -sf "$PWD/$build/libqgen_vgpu.so" "$out/virtual/libcuda.so.1"
}

part_env() {
  nvidia-smi --query-gpu=name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu,memory.total \
    --format=csv >"$out/gpu.csv" 2>&1
  { git rev-parse HEAD 2>/dev/null || cat "$build/commit" 2>/dev/null; date -u +%F; uname -r; nproc; } >"$out/env.txt"
  cat "$out/gpu.csv" "$out/env.txt"
}

# By importance: the device's own kernels, then what older cards' kernels are as PTX.
part_check() {
  json check_own "$qgen" check --device "$device" --library
  local arch
  for arch in sm_90 sm_80 sm_89; do
    json "check_$arch" "$qgen" check --device "$device" --library --arch "$arch" --part 1/4
  done
}

# The same tokens through the same kernels here and on the virtual GPU: both must be near ref, and to each other.
part_compare() {
  local model=$models/SmolLM2-135M-Instruct.Q4_1.gguf ids="$out/ids.txt"
  [ -e $model ] || { echo "compare: no $model"; return; }
  echo "1 504 3575 282 4649 314 260 2240 30 198 1504 359 253 1250" >"$ids"
  step logits_here "$qgen" eval $model --tokens "$ids" --logits "$out/here.npy" --device "$device"
  step logits_ref "$qgen" eval $model --tokens "$ids" --logits "$out/ref.npy" --device ref
  virtual_driver
  local number
  number=$(python3 -c "
import ctypes
v = ctypes.CDLL('$build/libqgen_vgpu.so')
v.vgpu_arch.restype = ctypes.c_char_p
print([v.vgpu_arch(i) for i in range(v.vgpu_arch_count())].index(b'sm_90a'))")
  step logits_virtual env LD_LIBRARY_PATH="$PWD/$out/virtual" "$qgen" eval $model --tokens "$ids" \
    --logits "$out/virtual.npy" --device "cuda:$number" --offline
  step compare python3 tests/gpu/compare.py "$out"
  cat "$out/compare.log"
}

part_faults() {
  step faults "$build/gpu_faults" "$device" 200
  tail -n 2 "$out/faults.log"
}

part_sanitize() {
  local tool
  command -v compute-sanitizer >/dev/null || { echo "sanitize: no compute-sanitizer here"; return; }
  for tool in memcheck racecheck initcheck synccheck; do
    step "sanitize_$tool" compute-sanitizer --tool $tool --error-exitcode 9 "$qgen" check --device "$device" \
      --library --scheme w4g128 --part 1/6
  done
}

part_tune() {
  json tune "$qgen" tune --device "$device" --bits 4 --group 128 --budget "$((minutes - 1))m" --resume
}

part_bench() {
  json bench_w4 "$qgen" bench --device "$device" --scheme w4g128 --m 1,2,4,8,16,17,32,64,128,256,1024,4096
  local scheme
  for scheme in w2g16m.k w3g128z w5g32m.k w6g16.k w8g128; do
    json "bench_$scheme" "$qgen" bench --device "$device" --scheme $scheme --m 1,16
  done
}

part_peers() {
  step peers python3 tests/gpu/peers.py --library "$build/libqgen_linear.so" --out "$out/peers.json" --budget "$((minutes * 60 - 60))"
  tail -n 60 "$out/peers.log"
}

# Real models answer as the CPU does; stacks of real sizes say how fast.
part_model() {
  local model scheme
  for model in SmolLM2-135M-Instruct.Q4_1 gemma-3-270m-q4_k_m; do
    [ -e $models/$model.gguf ] || continue
    json "run_$model" "$qgen" run $models/$model.gguf --prompt "The capital of France is" -n 64 --greedy --ignore-eos --device "$device"
    json "cpu_$model" "$qgen" run $models/$model.gguf --prompt "The capital of France is" -n 64 --greedy --ignore-eos --device cpu --exact
    step "same_$model" python3 tests/gpu/compare.py "$out" "run_$model" "cpu_$model"
  done
  for scheme in w4g128 e4m3gc.f32 w8gc.f32 f16; do
    step "make_$scheme" "$build/synthetic_model" llama3-8b $scheme 32 "$out/8b.qm"
    json "stack_8b_$scheme" "$qgen" bench --device "$device" --model "$out/8b.qm"
    rm -f "$out/8b.qm"
  done
  step make_70b "$build/synthetic_model" llama3-70b w4g128 20 "$out/70b.qm"
  json stack_70b_w4g128 "$qgen" bench --device "$device" --model "$out/70b.qm"
  rm -f "$out/70b.qm"
}

parts=(env check compare faults sanitize tune bench peers model)
[ -n "$only" ] && parts=("$only")
for part in "${parts[@]}"; do
  declare -F "part_$part" >/dev/null || { echo "no part '$part'; there are: ${parts[*]}"; exit 2; }
  echo "== $part"
  "part_$part"
done
echo "== ${#failed[@]} steps failed ${failed[*]:-}"
[ ${#failed[@]} = 0 ]
