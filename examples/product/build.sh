#!/bin/sh
# build.sh -- one binary of program, runtime and kernels, and the model packed beside it
#
#     build.sh MODEL.gguf FOLDER [ARCH,..]     FOLDER/product, FOLDER/model.qm (archs: native)
#
# qgen and libqrt are the installed ones; QGEN, QRT_CFLAGS and QRT_LIBS name others.
set -eu
model=$1 to=$2 archs=${3:-native}
qgen=${QGEN:-qgen}
cflags=${QRT_CFLAGS:-$(pkg-config --cflags qrt)}
libs=${QRT_LIBS:-$(pkg-config --variable=libdir qrt)/libqrt.a}

mkdir -p "$to"
"$qgen" pack "$model" --arch "$archs" -o "$to/model.qm"
"$qgen" bundle --arch "$archs" --model "$to/model.qm" -o "$to/kernels.qk"
"$qgen" link "$to/kernels.qk" -o "$to/libkernels.a" --header "$to/kernels.h"
# shellcheck disable=SC2086
cc -O2 -I"$to" $cflags "$(dirname "$0")/product.c" "$to/libkernels.a" $libs -lm -o "$to/product"
