#!/bin/sh
# All that only a GPU can show, in one run: sh tests/gpu.sh [FOLDER]. Reports go to FOLDER, build/gpu by default.
cd "$(dirname "$0")/.." || exit 1
out=${1:-build/gpu}
mkdir -p "$out" || exit 1
python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "no CUDA device here" >&2; exit 1; }
unset TRITON_INTERPRET
failed=0
step() { # NAME COMMAND...: runs it, keeps what it prints
    name=$1; shift
    echo "== $*"
    "$@" >"$out/$name" 2>"$out/$name.log" || { failed=1; echo "failed: see $out/$name and $out/$name.log"; }
}
step tests.txt python -m pytest -m gpu tests
step ops.txt python -m pytest tests/interpreted
step kernels.json python -m kernels.tools.bench --json
step targets.json python -m kernels.tools.compile_targets --json
step frames.json python -m models.benchmarks.frame_cost --json
step doctor.json python main.py doctor --json
step painter.json python main.py bench --json
exit $failed
