#!/usr/bin/env bash
# check.sh -- what a change must pass beside the tests; each check prints one line, the first failure ends it
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0

step() { # name, command...
  local name=$1 log
  shift
  log=$(mktemp)
  if "$@" >"$log" 2>&1; then printf 'ok    %s\n' "$name"
  else
    printf 'FAIL  %s\n' "$name"
    sed 's/^/      /' "$log" | tail -n 40
    failed=1
  fi
  rm -f "$log"
}

# Folders import one way only: gen -> autotune -> cache -> runtime; runtime from nobody.
include_direction() {
  local bad=0 folder header
  local -A may=([runtime]="runtime" [cache]="cache runtime" [autotune]="autotune cache runtime"
    [autotune/vgpu]="autotune/vgpu"
    [gen]="gen gen/import autotune cache runtime" [examples]="runtime")
  for folder in "${!may[@]}"; do
    while IFS=: read -r file header; do
      local found=0 place
      for place in ${may[$folder]} "$(dirname "$file")"; do [ -e "$place/$header" ] && found=1; done
      [ $found = 1 ] || { echo "$file includes $header, which $folder may not"; bad=1; }
    done < <(grep -roE --include='*.[ch]' '^#include "[^"]+"' "$folder" | sed -E 's/#include "([^"]+)"/\1/')
  done
  return $bad
}

# Names of outside APIs stay in one place each.
one_home() {
  local bad=0
  [ "$(grep -rl --include='*.[ch]' 'lua\.h' gen cache autotune runtime | wc -l)" -le 1 ] ||
    { echo "lua.h is included by more than one file"; bad=1; }
  if grep -rlE --include='*.[ch]' '\bcu[A-Z][A-Za-z]+' runtime cache autotune gen | grep -vE 'runtime/cuda(_api)?\.[ch]$|autotune/vgpu/driver\.c$'; then
    echo "the files above name CUDA driver functions"; bad=1
  fi
  if grep -rnE --include='*.[ch]' '\b(abort|exit|printf|puts)\(' runtime; then
    echo "the library must not abort, exit or print"; bad=1
  fi
  return $bad
}

first_lines() {
  local bad=0 file
  while read -r file; do
    head -n 2 "$file" | grep -q "$(basename "$file") -- " || { echo "$file: no 'name -- noun phrase'"; bad=1; }
  done < <(git ls-files '*.c' '*.h' '*.cuh' '*.[ch].in' '*.cu.in' '*.lua' '*.sh' '*.py' '*.cmake')
  return $bad
}

# Format is checked only where the version of Debian 12 is installed: versions disagree.
formatted() {
  clang-format --version 2>/dev/null | grep -q 'version 14' || { echo "no clang-format 14"; return 0; }
  git ls-files '*.c' '*.h' | grep -v '^templates/' | xargs clang-format --dry-run -Werror
}

library_size() { # the stripped runtime, without kernels
  local size
  strip -o build/libqrt.stripped build/libqrt.so && size=$(stat -Lc %s build/libqrt.stripped)
  echo "libqrt.so stripped: $size bytes"
  [ "$size" -le 307200 ]
}

exports() { # only what qrt.h declares leaves the library
  local extra
  extra=$(nm -D --defined-only build/libqrt.so | awk '{print $3}' | grep -v '^qrt_' || true)
  [ -z "$extra" ] || { echo "exported: $extra"; return 1; }
}

vgpu_exports() { # the driver's names and its own
  local extra
  extra=$(nm -D --defined-only build/libqgen_vgpu.so | awk '{print $3}' | grep -vE '^(cu[A-Z]|vgpu_)' || true)
  [ -z "$extra" ] || { echo "exported: $extra"; return 1; }
}

needs_only_libc() {
  local extra
  extra=$(objdump -p build/libqrt.so | awk '/NEEDED/{print $2}' | grep -vE '^(libc|libm|ld-linux-x86-64)\.so' || true)
  [ -z "$extra" ] || { echo "libqrt.so needs $extra"; return 1; }
}

# All tests again under AddressSanitizer and UBSan, but for the oracles and those that mostly run NVRTC or
# the virtual GPU, whose own tests are among them.
# The instrumented code confuses one warning about uninitialised values.
sanitized() {
  cmake -S . -B build-asan -G Ninja -DQGEN_SANITIZE=ON -DCMAKE_C_FLAGS="-Werror -Wno-maybe-uninitialized" >/dev/null &&
    cmake --build build-asan &&
    ctest --test-dir build-asan --output-on-failure -j "$(nproc)" -LE oracle -E 'test_cuda_(templates|small_ops)|test_vgpu_(session|linear|mutants|tuner)|^prove_'
}

# What runs threads, under ThreadSanitizer.
threads() {
  local tests=(test_pool test_session test_pack test_pipeline test_store)
  cmake -S . -B build-tsan -G Ninja -DQGEN_TSAN=ON >/dev/null && cmake --build build-tsan --target "${tests[@]}" &&
    ctest --test-dir build-tsan --output-on-failure -R "^($(IFS='|'; echo "${tests[*]}"))\$"
}

step "includes go one way" include_direction
step "outside names have one home, the library stays silent" one_home
step "files open with name -- noun phrase" first_lines
step "clang-format" formatted
step "libqrt.so at most 300 KiB" library_size
step "libqrt.so exports only qrt_*" exports
step "libqgen_vgpu.so exports only cu* and vgpu_*" vgpu_exports
step "libqrt.so needs only libc" needs_only_libc
step "no warning; tests under address and undefined-behaviour sanitizers" sanitized
step "threads under the thread sanitizer" threads
exit $failed
