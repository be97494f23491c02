"""Compare result files of `sh tests/gpu.sh` side by side: `bench --results FILE...`."""

from __future__ import annotations

import json
from pathlib import Path

from models.api import ModelError

FORMAT = "flowbrush-gpu/1"


def read(path: Path) -> dict:
    """Read one result file. Raises ModelError for any other file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ModelError(f"{path} is no JSON file; name one that `sh tests/gpu.sh` made") from error
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise ModelError(f"{path} is no result file of `sh tests/gpu.sh` ({FORMAT})")
    return found


def side_by_side(paths: tuple[Path, ...]) -> dict[str, dict[str, str]]:
    """Row -> file -> value: the GPU, the failures, and the milliseconds of each frame at p50, p95 and p99."""
    table: dict[str, dict[str, str]] = {}
    for path in paths:
        found, name = read(path), str(path)
        frames = found.get("reports", {}).get("frames", {})
        card = frames.get("machine", {})
        put(table, "device", name, card.get("device", "?"))
        put(table, "torch, CUDA", name, f"{card.get('torch', '?')}, {card.get('cuda', '?')}")
        put(table, "date", name, card.get("date", "?"))
        for suite, counts in found.get("tests", {}).items():
            failed = counts.get("failures", 0) + counts.get("errors", 0)
            put(table, f"tests: {suite}", name, f"{failed} failed of {counts.get('tests', 0)}")
        for row in frames.get("frames", []):
            if "error" in row:
                put(table, row["model"], name, row["error"])
                continue
            label = f"{row['model']} {row['size']} px, {row['steps']} steps, {row['way']}"
            put(table, label, name, "  ".join(f"{row['ms'][q]:.2f}" for q in ("p50", "p95", "p99")))
        pen = found.get("reports", {}).get("paint", {}).get("input_to_frame_ms")
        if pen:
            shown = "  ".join(f"{pen[q]:.1f}" for q in ("p50", "p95", "p99"))
            put(table, "pen to picture", name, shown)
    return table


def put(table: dict[str, dict[str, str]], row: str, file: str, value: object) -> None:
    table.setdefault(row, {})[file] = str(value)


def show(paths: tuple[Path, ...], *, as_json: bool = False) -> None:
    """Print the results as a table, or as one JSON object."""
    table = side_by_side(paths)
    if as_json:
        print(json.dumps(table))
        return
    from rich.console import Console
    from rich.table import Table

    shown = Table("ms at p50, p95, p99", *(path.name for path in paths))
    for row, values in table.items():
        shown.add_row(row, *(values.get(str(path), "") for path in paths))
    Console(width=max(80, 40 + 36 * len(paths))).print(shown)
