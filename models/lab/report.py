"""Write the report of `compare`: a markdown file with tables, plots and a filmstrip."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from models.lab.convergence import NEAR
from models.sampling.paths import karras
from models.sampling.samplers import SAMPLERS


def without_pictures(figures: dict) -> dict:
    """Return the figures in JSON-serialisable form: no picture strips, null for values that diverged."""
    shown = {name: dict(one) for name, one in figures["contenders"].items()}
    for one in shown.values():
        one["film"] = {key: value for key, value in one["film"].items() if key != "strip"}
    return finite(figures | {"contenders": shown})


def finite(value: Any) -> Any:
    """Replace every non-finite float in the value by None, recursively in dicts and lists."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(figures: dict, folder: Path) -> list[Path]:
    """Write report.md, figures.json and the plots; return the files."""
    from models.lab import plots

    folder.mkdir(parents=True, exist_ok=True)
    made = plots.draw_all(figures, folder)
    numbers = folder / "figures.json"
    numbers.write_text(json.dumps(without_pictures(figures), indent=1), encoding="utf-8")
    text = folder / "report.md"
    text.write_text(markdown(figures, [path.name for path in made]), encoding="utf-8")
    return [text, numbers, *made]


def markdown(figures: dict, pictures: list[str]) -> str:
    reference, threads = figures["reference"], figures["threads"]
    lines = ["# Many steps against few", ""]
    lines.append(
        f"{figures['pictures']} held-out sketches at {figures['size']} px, seed {figures['seed']}, "
        f"{figures['dtype']}, {threads} thread{'s' * (threads != 1)}. "
        "Times are medians of one interleaved run."
    )
    lines += [f"- {line}" for line in figures["missing"]]
    if reference:
        lines.append(
            f"Speed is relative to {SAMPLERS[reference['sampler']].label} in {reference['steps']} steps of "
            f"{reference['contender']}: {reference['ms']:.1f} ms."
        )
    lines += ["", *table(figures["rows"]), "", *orders(figures["contenders"]), ""]
    lines += [*straightness(figures["contenders"]), "", *strengths(figures["contenders"]), ""]
    if figures["curves"]:
        lines += [*learning(figures["curves"]), ""]
    lines += [*(f"![{name}]({name})" for name in pictures), ""]
    return "\n".join(lines)


def table(rows: list[dict]) -> list[str]:
    lines = [
        "| contender | sampler | steps | evaluations | ms | frames/s | speed | distance | swd | sharpness |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        distance = "" if row.get("distance") is None else f"{row['distance']:.4f}"
        speed = "" if row["speed"] is None else f"{row['speed']:.2f}x"
        sharp = ", ".join(f"{value:.2f}" for value in row["sharpness"])
        cells = (row["contender"], SAMPLERS[row["sampler"]].label, row["steps"], row["evaluations"])
        numbers = (f"{row['ms']:.1f}", f"{row['fps']:.1f}", speed, distance, f"{row['swd']:.3f}", sharp)
        told = (number.replace("nan", "diverged") for number in numbers)
        lines.append("| " + " | ".join(str(cell) for cell in (*cells, *told)) + " |")
    return lines


def orders(contenders: dict) -> list[str]:
    """Report fitted orders of convergence, and that stochastic samplers do not converge."""
    lines = [
        "| contender | sampler | order, theory | order, fitted | error at the most steps |",
        "|---|---|---|---|---|",
    ]
    for name, one in contenders.items():
        for sampler, order in one.get("orders", {}).items():
            entry, last = SAMPLERS[sampler], one["errors"][sampler][-1]
            fitted = "too few points" if order is None else f"{order:.2f}"
            theory = (
                str(entry.order) if entry.order else "none: it adds noise and does not converge to the ODE"
            )
            if entry.grid is karras:
                theory += ", until the error of its grid's fixed ends is left"
            lines.append(
                f"| {name} | {entry.label} | {theory} | {fitted} | {last['error']:.4f} at {last['steps']} |"
            )
    return lines


def strengths(contenders: dict) -> list[str]:
    """Report how many steps a short path saves: a flow started at the sketch against one started in noise."""
    lines = [
        f"| contender | strength | way from start to picture | steps to within {NEAR} |",
        "|---|---|---|---|",
    ]
    for name, one in contenders.items():
        for line in one.get("strengths", []):
            steps = "more" if line["steps_to"] is None else f"{line['steps_to']:.1f}"
            lines.append(f"| {name} | {line['strength']:g} | {line['way']:.3f} | {steps} |")
    return lines


def learning(curves: dict[str, list[dict]]) -> list[str]:
    """Compare learning speed: images each contender needs to reach the worst final quality."""
    worst = max(line[-1]["denoising_error"] for line in curves.values())
    lines = [
        f"| in training | images seen | denoising error | swd | images to an error of {worst:.4f} |",
        "|---|---|---|---|---|",
    ]
    for name, line in curves.items():
        last, enough = line[-1], next(e["images"] for e in line if e["denoising_error"] <= worst)
        error = f"{last['denoising_error']:.4f}"
        lines.append(f"| {name} | {last['images']} | {error} | {last['swd']:.3f} | {enough} |")
    return lines


def straightness(contenders: dict) -> list[str]:
    lines = ["| contender | bend | length over chord |", "|---|---|---|"]
    for name, one in contenders.items():
        lines.append(f"| {name} | {one['straightness']['bend']:.4f} | {one['straightness']['arc']:.4f} |")
    return lines
