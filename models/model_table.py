"""Print the models that can run on this machine, as a table or as one JSON object."""

from __future__ import annotations

import json
import shutil
import sys

from models.device.system_info import free_memory_mb
from models.pretrained.loading import memory_estimate
from models.registry import describe

WIDE = 160  # width in characters where the output is no terminal


def show(as_json: bool) -> None:
    """Print family, steps, licence, download size, and the memory needed and free."""
    rows, (device, free) = describe(), memory_free()
    if as_json:
        print(json.dumps({"models": rows, "device": device, "memory_free_mb": free}))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Column, Table

    names = ("family", "steps", "licence", "weights", "memory", "")
    columns = [Column("model", no_wrap=True), *(Column(name, overflow="fold") for name in names)]
    table = Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        steps = "-".join(str(count) for count in row["steps"])
        table.add_row(
            row["name"], row["family"], steps, row["licence"], weights(row), memory(row, free), row["about"]
        )
    Console(width=None if sys.stdout.isatty() else WIDE).print(table)
    if free is not None:
        print(f"memory free: {free} MB on {device}")


def memory_free() -> tuple[str, int | None]:
    """Return the device that models would run on, and its free memory in MB.

    Imports torch only where an NVIDIA driver is installed.
    """
    if shutil.which("nvidia-smi"):
        import torch

        if torch.cuda.is_available():
            free = memory_estimate.free_bytes("cuda")
            return "cuda", None if free is None else free // 1_000_000
    return "cpu", free_memory_mb()


def weights(row: dict) -> str:
    if row["download_mb"]:
        return f"about {row['download_mb'] / 1e3:.1f} GB to download"
    return f"{row['weights_mb']} MB" if row["present"] else "not here"


def memory(row: dict, free: int | None) -> str:
    beyond = free is not None and row["memory_mb"] > free
    return f"{row['memory_mb']} MB" + (", too much here" if beyond else "")
