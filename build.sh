#!/usr/bin/env bash
# build.sh -- the front door: sets up what is missing, then builds, runs, tests or checks
#
#   ./build.sh run             set up, build, then the main job, end to end
#   ./build.sh test            set up, build, then all tests
#   ./build.sh check           what a change must pass beside the tests (formats, rules, sanitizers)
#   ./build.sh build           set up what a build needs, and build
#   ./build.sh install PREFIX  install program, libraries and header
#   ./build.sh clean           remove build folders (--all: what was downloaded as well)
#
# Set-up installs Debian packages when they are missing (as root or through sudo) and keeps everything else
# in .deps/, which git ignores.
set -euo pipefail
cd "$(dirname "$0")"
. scripts/setup.sh

configure() { # folder, options...
  local folder=$1
  shift
  cmake -S . -B "$folder" -G Ninja "$@" >"$folder.log" 2>&1 || { cat "$folder.log"; return 1; }
  rm -f "$folder.log"
}

build() {
  setup_packages
  configure build
  cmake --build build
}

command=${1:-help}
[ $# -gt 0 ] && shift
case $command in
  build) build ;;
  run)
    build
    setup_nvrtc
    setup_models
    scripts/main_job.sh
    ;;
  test)
    build
    setup_test_packages
    setup_nvrtc
    setup_models
    setup_oracle
    ctest --test-dir build --output-on-failure -j "$(nproc)" "$@"
    ;;
  check)
    build
    setup_nvrtc
    scripts/check.sh
    ;;
  install)
    [ $# -eq 1 ] || { echo "usage: ./build.sh install PREFIX" >&2; exit 2; }
    build
    cmake --install build --prefix "$1"
    ;;
  clean)
    rm -rf build build-*
    if [ "${1:-}" = --all ]; then rm -rf .deps; fi
    ;;
  *)
    sed -n '4,9s/^# \{0,1\}//p' "$0"
    [ "$command" = help ] || exit 2
    ;;
esac
