"""Benchmark the ops, after testing each one: `python -m kernels.tools.bench [--op NAME] [--json]`.

The test compares the dispatched implementation with float64 results (`kernels.testing.truth`), for ragged
shapes in every dtype and for each timed shape. On a GPU the report has the kernel's median time, its share of
the roofline, and its ratio to eager torch and to `torch.compile`, from interleaved runs. On a CPU only the
reference is timed, and the report says so. The roofline uses peaks of a matrix product and of a copy,
measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch

import kernels
from kernels import reference
from kernels.testing.cases import BOUNDS, CASES, Case, call, copied, error
from kernels.testing.inputs import maker

CPU_GFLOP = 25  # rows with more work are skipped on a CPU
FLUSHED_BYTES = 256 << 20  # written before each run on a GPU, so that no input is still in its cache


class Red(Exception):
    """Raised if an op's test fails; its timings are not printed."""


def check(case: Case, shape: tuple[int, ...], dtype: torch.dtype, options: dict, device: str) -> float:
    """Error ratio of the dispatched op on `device` against float64; raises Red above the bound."""
    arguments = case.inputs(maker(device), shape, dtype, **options)
    ratio = error(call(case.dispatch, copied(arguments)), case.truth(arguments))
    bound = BOUNDS.get(dtype, 0.0)
    if not ratio <= bound:
        raise Red(
            f"{case.name} {shape} {dtype} is wrong: its error ratio is {ratio:.1e}, its bound {bound:.0e}"
        )
    return ratio


def check_ragged(case: Case, device: str) -> None:
    """Test an op on every ragged shape in every dtype. Raises Red on failure."""
    for shape, options in case.ragged:
        for dtype in BOUNDS:
            check(case, shape, dtype, options, device)


def milliseconds(functions: dict[str, Callable], device: str, seconds: float = 0.3) -> dict[str, float]:
    """Median time of each function in milliseconds, from interleaved runs after a warm-up."""
    for function in functions.values():
        for _ in range(3 if device == "cuda" else 1):
            function()
    times = {name: [] for name in functions}
    cache = torch.empty(FLUSHED_BYTES, dtype=torch.uint8, device=device) if device == "cuda" else None
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds * len(functions) or len(times[next(iter(times))]) < 5:
        for name, function in functions.items():
            times[name].append(timed_once(function, cache))
    return {name: statistics.median(values) for name, values in times.items()}


def timed_once(function: Callable, cache: torch.Tensor | None) -> float:
    """Time of one run in milliseconds, by the device's own clock if it has one."""
    if cache is None:
        begin = time.perf_counter()
        function()
        return (time.perf_counter() - begin) * 1e3
    start, end = (torch.cuda.Event(enable_timing=True) for _ in "ab")
    cache.zero_()
    start.record()
    function()
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def peaks(device: str, dtypes: set[torch.dtype]) -> dict[str, float]:
    """Measure the FLOP/s of a matrix product for each dtype, and the bytes/s of a copy."""
    side = 8192 if device == "cuda" else 1024
    found = {}
    for dtype in dtypes:
        a = torch.randn(side, side, device=device).to(dtype)
        found[str(dtype)] = (
            2e3 * side**3 / milliseconds({"product": partial(torch.mm, a, a)}, device)["product"]
        )
    source = torch.empty(64 << 20, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    copy = milliseconds({"copy": partial(target.copy_, source)}, device)["copy"]
    return {**found, "bytes": 2e3 * source.nbytes / copy}


def measure(case: Case, row: tuple, device: str, peak: dict[str, float]) -> dict:
    """Measure one row of the report. Raises Red if the op's test fails."""
    shape, dtype, options = row
    ratio = check(case, shape, dtype, options, device)
    arguments = case.inputs(maker(device), shape, dtype, **options)
    functions = {"reference": partial(call, case.reference, arguments)}
    if device == "cuda":
        compiled = torch.compile(case.reference)
        functions = {
            "triton": partial(call, case.module.OP, arguments),
            "eager": partial(call, case.reference, arguments),
            "compile": partial(call, compiled, arguments),
        }
    with torch.inference_mode(), reference.narrow() if device == "cuda" else torch.no_grad():
        times = milliseconds(functions, device)
    ours = times["triton"] if "triton" in times else times["reference"]
    flops, size = case.cost(shape, dtype, options)
    product = peak.get(str(dtype), peak[str(torch.float32)])
    out = {
        "op": case.name,
        "shape": shape,
        "dtype": str(dtype).removeprefix("torch."),
        "error": ratio,
        "ms": times,
        "gbyte_per_s": size / ours / 1e6,
        "gflop_per_s": flops / ours / 1e6,
        "roofline": max(flops / product, size / peak["bytes"]) * 1e3 / ours,
    }
    if device == "cuda":
        out |= {"eager_ratio": times["eager"] / ours, "compile_ratio": times["compile"] / ours}
    return out


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m kernels.tools.bench", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--op", choices=list(CASES), help="this op alone")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--check", action="store_true", help="check the ops at ragged shapes, time nothing")
    wanted = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and (reason := kernels.why_not_triton(torch.device(device))):
        print(f"flowbrush: error: triton kernels cannot run: {reason}", file=sys.stderr)
        return 1
    rows = [
        (case, row)
        for case in CASES.values()
        for row in case.served
        if wanted.op in (None, case.name) and (device == "cuda" or case.cost(*row)[0] < CPU_GFLOP * 1e9)
    ]
    if wanted.check:
        return checked(wanted.op, device)
    machine = torch.cuda.get_device_name() if device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    note = (
        "" if device == "cuda" else "no GPU here: Triton was not timed, these are the times of the reference"
    )
    report = {"machine": machine, "torch": torch.__version__, "note": note, **kernels.describe(), "rows": []}
    report["peaks"] = peak = peaks(device, {row[1] for _, row in rows if row[1] in BOUNDS} | {torch.float32})
    try:
        for case in dict.fromkeys(case.name for case, _ in rows):
            check_ragged(CASES[case], device)
        for case, row in rows:
            report["rows"].append(measure(case, row, device, peak))
            if sys.stderr.isatty():
                print(f"\r{len(report['rows'])} of {len(rows)} timed", end="", file=sys.stderr, flush=True)
    except Red as error:
        print(f"flowbrush: error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(report) if wanted.json else table(report))
    return 0


def checked(op: str | None, device: str) -> int:
    """Test the ops without timing, for use under memory checkers; returns the exit code."""
    try:
        for name, case in CASES.items():
            if op in (None, name):
                check_ragged(case, device)
    except Red as error:
        print(f"flowbrush: error: {error}", file=sys.stderr)
        return 1
    return 0


def table(report: dict) -> str:
    lines = [f"{report['machine']}, torch {report['torch']}, triton {report['triton'] or report['missing']}"]
    lines += [report["note"]] if report["note"] else []
    lines += [
        f"measured peak {name.removeprefix('torch.')}: {v / 1e9:.0f} G/s"
        for name, v in report["peaks"].items()
    ]
    lines.append(f"{'op':19}{'shape':21}{'dtype':10}{'error':>8}{'GB/s':>8}{'GFLOP/s':>9}{'roofline':>9}  ms")
    for row in report["rows"]:
        shape = "x".join(map(str, row["shape"]))
        figures = f"{row['gbyte_per_s']:8.1f}{row['gflop_per_s']:9.0f}{row['roofline']:9.0%}"
        times = ", ".join(f"{name} {value:.3f}" for name, value in row["ms"].items())
        if "eager_ratio" in row:
            times += f" (eager x{row['eager_ratio']:.2f}, compile x{row['compile_ratio']:.2f})"
        lines.append(f"{row['op']:19}{shape:21}{row['dtype']:10}{row['error']:8.0e}{figures}  {times}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
