#!/bin/sh
# run.sh -- runs an oracle script with the Python that has its packages, or skips aloud (exit code 77)
#
# The set-up of ./build.sh test makes .deps/venv; QGEN_PYTHON names another Python instead.
cd "$(dirname "$0")/../.." || exit 1
python=${QGEN_PYTHON:-.deps/venv/bin/python}
if ! "$python" -c 'import gguf, numpy' 2>/dev/null; then
  echo "SKIPPED: $python has no gguf and numpy; ./build.sh test installs them where PyPI answers"
  exit 77
fi
exec "$python" "$@"
