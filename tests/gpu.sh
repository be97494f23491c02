#!/bin/sh
# All that only a GPU can show, in one run of under 8 minutes: sh tests/gpu.sh [FOLDER]. Correctness comes first.
# Reports go to FOLDER, build/gpu by default; FOLDER/result.json holds all of them. Exit code 1: something failed.
cd "$(dirname "$0")/.." || exit 1
out=${1:-build/gpu}
mkdir -p "$out" && rm -f "$out"/*.json "$out"/*.xml "$out"/*.code "$out"/*.log || exit 1
python=${PYTHON:-python}
device=${GPU_SH_DEVICE:-cuda} # cpu: a dry run of this script, which measures nothing of use
if [ "$device" = cuda ]; then
    "$python" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || {
        "$python" -c 'from models.device.cuda import why_no_cuda; print("no CUDA device:", why_no_cuda())' >&2
        exit 1
    }
    quick=
else
    quick=--quick
fi
unset TRITON_INTERPRET
failed=0
step() { # NAME SECONDS COMMAND...: runs it within so many seconds, keeps its exit code and what it prints
    name=$1; seconds=$2; shift 2
    echo "== $*"
    timeout "$seconds" "$@" >"$out/$name.log" 2>&1
    code=$?
    echo $code >"$out/$name.code"
    [ $code = 0 ] || { failed=1; echo "failed ($code): see $out/$name.log"; }
}
printed() { # NAME SECONDS COMMAND...: the same for a command that prints one JSON object
    name=$1; seconds=$2; shift 2
    echo "== $*"
    timeout "$seconds" "$@" >"$out/$name.json" 2>"$out/$name.log"
    code=$?
    echo $code >"$out/$name.code"
    [ $code = 0 ] || { failed=1; echo "failed ($code): see $out/$name.log"; }
}
step tests 120 "$python" -m pytest -q -n 0 -p no:cacheprovider -m gpu \
    ${quick:+tests/test_gpu.py} --junitxml="$out/tests.xml"
[ "$device" = cuda ] && step ops 60 "$python" -m pytest -q -n 0 tests/interpreted --junitxml="$out/ops.xml"
sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null)
if [ "$device" = cuda ] && [ -n "$sanitizer" ]; then
    step sanitizer 60 "$sanitizer" --tool memcheck --error-exitcode 9 --target-processes all \
        "$python" -m kernels.tools.bench --check
fi
printed doctor 30 "$python" main.py doctor --json
step frames 180 "$python" -m models.benchmarks.gpu_report "$out/frames.json" --device "$device" $quick
printed kernels 60 "$python" -m kernels.tools.bench --json ${quick:+--op picture_out}
[ "$device" = cuda ] && printed paint 40 "$python" main.py paint --headless --demo lake --seconds 15 --json
[ "$device" = cuda ] && printed computed 60 "$python" -m models.benchmarks.frame_cost painter --json
"$python" -m models.benchmarks.gpu_report "$out/result.json" --collect "$out" || failed=1
echo "results: $out/result.json"
exit $failed
