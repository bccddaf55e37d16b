#!/usr/bin/env bash
# main_job.sh -- the main job, end to end: kernels for a GPU, a real layer checked, a real model running
set -euo pipefail
cd "$(dirname "$0")/.."
qgen=build/qgen
model=.deps/models/SmolLM2-135M-Instruct.Q4_1.gguf

echo "== kernels: qgen --arch sm_89 --bits 4 --group 128"
$qgen --arch sm_89 --bits 4 --group 128 || [ $? = 3 ]
if [ -e $model ]; then
  echo; echo "== a real layer: SmolLM2 on cpu against ref"
  $qgen eval $model --layer 0
  echo; echo "== a real model: SmolLM2 on cpu"
  $qgen run $model --prompt "The capital of France is" -n 32 --greedy
fi
cat <<END

== next
  build/qgen --help                               all commands
  build/qgen inspect $model
  build/qgen check --device cpu                   every stored CPU kernel against ref
  build/qgen build --arch native --model $model --out kernels/
END
