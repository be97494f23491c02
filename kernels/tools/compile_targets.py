"""Compile every kernel ahead of time for every current GPU generation, without a GPU.

Usage: `python -m kernels.tools.compile_targets`. Compiles the launches of the ops' own launchers for the
served shapes of `cases`, with the same specialisation of integers (1 is a constant, multiples of 16 are
marked as such) and 16-byte aligned tensors.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import accumulate, chain, pairwise
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor

if __name__ == "__main__":
    os.environ.setdefault("TRITON_INTERPRET", "0")  # load triton even without a GPU

from kernels.dispatch import MISSING, Launch
from kernels.testing.cases import CASES
from kernels.testing.inputs import maker

# limit of shared memory per program, in bytes (CUDA C++ Programming Guide, compute capabilities)
SHARED_LIMIT = {80: 163 << 10, 86: 99 << 10, 89: 99 << 10, 90: 227 << 10, 100: 227 << 10, 120: 99 << 10}
TYPES = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.uint8: "*u8",
    torch.int32: "*i32",
    torch.int64: "*i64",
}


@dataclass(frozen=True)
class Report:
    """Result of compiling one kernel for one compute capability.

    Sizes in bytes; `load_bits`: its widest global load.
    """

    op: str
    kernel: str
    shape: tuple[int, ...]
    dtype: str
    capability: int
    registers: int
    spilled: int
    shared: int
    load_bits: int
    ptx: int
    cubin: int
    troubles: tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """Launch to compile: launch number `number` of the op's plan for its served row `row`."""

    op: str
    row: int
    number: int

    def launch(self) -> Launch:
        case = CASES[self.op]
        shape, dtype, options = case.served[self.row]
        return case.module.plan(*case.inputs(maker("meta"), shape, dtype, **options))[0][self.number]


def jobs() -> list[Job]:
    """All launches of the served shapes, without duplicates that compile to the same code."""
    seen = {}
    for op, case in CASES.items():
        for row, (shape, dtype, options) in enumerate(case.served):
            plan = case.module.plan(*case.inputs(maker("meta"), shape, dtype, **options))[0]
            for number, launch in enumerate(plan):
                key = launch.kernel.__name__, repr(specialised(launch)), repr(launch.options)
                seen.setdefault(key, Job(op, row, number))
    return list(seen.values())


def specialised(launch: Launch) -> tuple[dict, dict, dict]:
    """(signature, constants, attributes) of a launch, specialised like triton's own launcher."""
    signature, constants, attributes = {}, {}, {}
    names = list(inspect.signature(getattr(launch.kernel, "fn", launch.kernel)).parameters)
    for place, value in enumerate(launch.args):
        name = names[place]
        if isinstance(value, Tensor):
            signature[name] = TYPES[value.dtype]
        elif isinstance(value, float):
            signature[name] = "fp32"
            continue
        elif value == 1:
            signature[name], constants[name] = "constexpr", 1
            continue
        else:
            signature[name] = "i32" if abs(value) < 1 << 31 else "i64"
            if value % 16:
                continue
        attributes[(place,)] = [["tt.divisibility", 16]]
    for name, value in launch.constants.items():
        signature[name], constants[name] = "constexpr", value
    return signature, constants, attributes


def compile_job(job: Job, capability: int) -> tuple[Report, bytes]:
    """Compile one launch for one GPU generation; returns the report, without loads, and the code."""
    import triton
    from triton.backends.compiler import GPUTarget

    launch, case = job.launch(), CASES[job.op]
    shape, dtype, _ = case.served[job.row]
    signature, constants, attributes = specialised(launch)
    source = triton.compiler.ASTSource(launch.kernel, signature, constants, attributes)
    target = GPUTarget("cuda", capability, 32)
    try:
        binary = triton.compile(source, target=target, options=launch.options)
    except Exception as error:  # the table reports every compiler error
        trouble = f"does not compile: {str(error).strip().splitlines()[-1]}"
        return report(job, launch, shape, dtype, capability, (0, 0, 0, 0, 0, 0), [trouble]), b""
    registers, spilled = resources(binary.asm["cubin"])
    shared = binary.metadata.shared
    troubles = []
    if spilled:
        troubles.append(f"spills {spilled} bytes")
    if shared > SHARED_LIMIT[capability]:
        troubles.append(f"needs {shared} bytes of shared memory, there are {SHARED_LIMIT[capability]}")
    sizes = len(binary.asm["ptx"]), len(binary.asm["cubin"])
    made = report(job, launch, shape, dtype, capability, (registers, spilled, shared, 0, *sizes), troubles)
    return made, code_of(binary.asm["cubin"])


def report(
    job, launch, shape, dtype, capability, figures: tuple[int, int, int, int, int, int], troubles: list[str]
) -> Report:
    name = str(dtype).removeprefix("torch.")
    return Report(job.op, launch.kernel.__name__, shape, name, capability, *figures, tuple(troubles))


def with_load(made: Report, bits: int) -> Report:
    """Add the widest load to a report, and a trouble if a bandwidth-bound kernel's loads are narrow."""
    case, size = CASES[made.op], getattr(torch, made.dtype).itemsize
    needed = min(128, 1 << (8 * size * case.row_values(made.shape)).bit_length() - 1)
    narrow = case.bandwidth and made.cubin and bits < needed
    trouble = (f"its widest load has {bits} bits",) if narrow else ()
    return replace(made, load_bits=bits, troubles=made.troubles + trouble)


def resources(cubin: bytes) -> tuple[int, int]:
    """(registers, bytes spilled to the stack or to local memory) of the only kernel in a cubin."""
    text = inspected("cuobjdump", cubin, "--dump-resource-usage")
    found = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", text)}
    return found["REG"], found["STACK"] + found["LOCAL"]


def code_of(cubin: bytes) -> bytes:
    """Instructions of the only kernel in a cubin, which is a 64-bit ELF file."""
    (table,) = struct.unpack_from("<Q", cubin, 40)
    size, count, names = struct.unpack_from("<HHH", cubin, 58)
    sections = [struct.unpack_from("<IIQQQQ", cubin, table + index * size) for index in range(count)]
    for name, _, _, _, place, length in sections:
        if cubin.startswith(b".text.", sections[names][4] + name):
            return cubin[place : place + length]
    raise ValueError("this cubin holds no kernel")


def widest_loads(codes: list[bytes], capability: int) -> list[int]:
    """Bits of the widest load from global memory (LDG, or LDGSTS straight to shared memory) in each code.

    All codes are disassembled in one call, because nvdisasm takes a third of a second to start.
    """
    ends = list(accumulate(map(len, codes), initial=0))
    text = inspected("nvdisasm", b"".join(codes), "-b", f"SM{capability}")
    loads = [
        (int(place, 16), int(next(iter(re.findall(r"\.(64|128|256)\b", load)), 32)))
        for place, load in re.findall(r"/\*([0-9a-f]+)\*/.*?\b(LDG(?:STS)?\b\S*)", text)
    ]
    return [
        max((bits for place, bits in loads if begin <= place < end), default=0)
        for begin, end in pairwise(ends)
    ]


def inspected(tool: str, binary: bytes, *options: str) -> str:
    """Run a tool of the triton wheel on a cubin or on bare code; returns its output."""
    from triton import backends

    path = Path(backends.__file__).parent / "nvidia" / "bin" / tool
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "kernel.cubin"
        file.write_bytes(binary)
        return subprocess.run([path, *options, file], capture_output=True, text=True, check=True).stdout


def compile_all(tell: Callable[[int, int], None], capabilities: Sequence[int]) -> list[Report]:
    """Compile every job for every capability on all cores; returns the reports.

    tell: progress callback (number done, total).
    """
    pairs = [(job, capability) for job in jobs() for capability in capabilities]
    made = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        for one in pool.map(compile_job, *zip(*pairs, strict=True), chunksize=2):
            made.append(one)
            tell(len(made), len(pairs))
        groups = [made[start :: len(capabilities)] for start in range(len(capabilities))]
        codes = [[code for _, code in group] for group in groups]
        bits = zip(*pool.map(widest_loads, codes, capabilities), strict=True)
    return [with_load(one, width) for (one, _), width in zip(made, chain.from_iterable(bits), strict=True)]


def main() -> int:
    """Print the table, or one object with --json; the exit code is 1 if any kernel has a trouble."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--capability",
        type=int,
        action="append",
        choices=list(SHARED_LIMIT),
        help="this one alone; repeatable",
    )
    parser.add_argument("--narrow", action="store_true", help="narrow loads are slow, not wrong: let them be")
    words = parser.parse_args()
    if MISSING or os.environ.get("TRITON_INTERPRET") == "1":
        reason = MISSING or "TRITON_INTERPRET is set: kernels are interpreted, not compiled"
        print(f"flowbrush: error: {reason}", file=sys.stderr)
        return 1

    def tell(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{done} of {total} compiled", end=end, file=sys.stderr, flush=True)

    import triton

    reports = compile_all(tell, words.capability or list(SHARED_LIMIT))
    if words.narrow:
        kept = [tuple(t for t in one.troubles if "widest load" not in t) for one in reports]
        reports = [replace(one, troubles=troubles) for one, troubles in zip(reports, kept, strict=True)]
    if words.json:
        print(json.dumps({"triton": triton.__version__, "kernels": [asdict(one) for one in reports]}))
    else:
        print(
            f"{'kernel':18} {'shape':22} {'dtype':9} {'cc':>4} {'reg':>4} {'spill':>5} {'shared':>7} ", end=""
        )
        print(f"{'load':>4} {'PTX':>7} {'cubin':>7}")
        for r in reports:
            shape = "x".join(map(str, r.shape))
            print(
                f"{r.kernel.removesuffix('_kernel'):18} {shape:22} {r.dtype:9} {r.capability / 10:4} ", end=""
            )
            print(f"{r.registers:4} {r.spilled:5} {r.shared:7} {r.load_bits:4} {r.ptx:7} {r.cubin:7}", end="")
            print("  " + "; ".join(r.troubles) if r.troubles else "")
    return int(any(one.troubles for one in reports))


if __name__ == "__main__":
    sys.exit(main())
