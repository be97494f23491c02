"""Benchmark of every contender with every sampler and number of steps on the same sketches."""

from __future__ import annotations

import json
import statistics
import time
from itertools import product
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from assets import ASSETS
from models.api import ModelError
from models.device.precision import fast_dtype
from models.lab import convergence, trace
from models.lab.plan import QUICK, REFERENCE, Plan
from models.painter.contenders import FILES, WHAT, Contender, listed, load_all
from models.painter.flow import Condition

FILM_STEPS = {"flow": ("flow-euler", 16), "diffusion": ("dpm++2m", 30)}
CONSOLE = Console(stderr=True)  # stdout is for JSON


class Sketches:
    """Held-out views with one seed: pictures (N, 3, H, W), conditions and noise."""

    def __init__(self, folder: Path | None, plan: Plan, seed: int):
        from models.training.data import dataset
        from models.training.evaluation.evaluate import HeldOut

        count = max(plan.pictures, plan.converging)
        kept = folder / "held-out" if folder else None
        if kept is None or not list(kept.glob("shard-*.npz")):
            kept = rendered(
                dataset.default_folder().parent / f"lab-{plan.side_px}-{count}", count, plan.side_px
            )
        held = HeldOut.load(kept, count, plan.side_px, seed=seed)
        self.pictures, self.condition, self.noise = held.pictures, held.condition, held.noise

    def rows(self, chosen: slice) -> tuple[Condition, Tensor]:
        return self.condition.rows(chosen), self.noise[chosen]


def rendered(folder: Path, count: int, side_px: int) -> Path:
    """Render views for a folder without training data. Raises ModelError without numba."""
    try:
        from models.training.data import dataset
        from models.training.data.landscapes.scenes import HELD_OUT

        dataset.write(folder, views=count, seed=HELD_OUT, size_px=side_px, workers=2)
    except ImportError as error:
        raise ModelError(f'the lab needs {error.name}: pip install -e ".[lab]"') from error
    return folder


def plan_of(quick: bool) -> Plan:
    return QUICK if quick else Plan()


@torch.no_grad()
def compare(plan: Plan, names: str | None = None, folder: Path | None = None, seed: int = 0) -> dict:
    """Compute all figures of the comparison.

    names: comma-separated contenders; all by default. folder: output of `train`, searched first for weights
    and held-out views.

    Raises ModelError for an unknown contender, and if no contender has weights.
    """
    wanted = list(FILES) if names is None else listed(names)
    contenders, missing = load_all(wanted, folder)
    if not contenders:
        raise ModelError("no contender has weights here: " + "; ".join(missing))
    sketches = Sketches(folder, plan, seed)
    dtype = fast_dtype()
    figures: dict = {
        "size": plan.side_px,
        "pictures": plan.pictures,
        "seed": seed,
        "dtype": str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "missing": missing,
        "contenders": {
            one.name: {"what": WHAT.get(one.name, one.kind), "kind": one.kind} for one in contenders
        },
    }
    figures["curves"] = curves([one.name for one in contenders], folder)
    figures["rows"] = rows = table(plan, contenders, sketches, dtype, seed)
    for one in contenders:
        figures["contenders"][one.name] |= examine(plan, one, sketches, seed)
        add_distances(rows, figures["contenders"][one.name].get("errors", {}), one.name)
    figures["reference"] = add_speeds(rows)
    return figures


def table(
    plan: Plan, contenders: list[Contender], sketches: Sketches, dtype: torch.dtype, seed: int
) -> list[dict]:
    """Return one row of time and quality per contender, sampler and number of steps.

    Rows are interleaved: every row renders one sketch before any row starts the next.
    """
    from models.training.evaluation import metrics

    fast = {one.name: one.cast(dtype) for one in contenders}
    jobs = [(one.name, sampler, steps) for one in contenders for sampler, steps in plan.rows(one)]
    made: dict[tuple, list[Tensor]] = {job: [] for job in jobs}
    spent: dict[tuple, list[float]] = {job: [] for job in jobs}
    for one in fast.values():  # warm up
        one.sample(plan.rows(one)[0][0], 1, *sketches.rows(slice(1)))
    for index, job in track(
        list(product(range(plan.pictures), jobs)), "comparing", transient=True, console=CONSOLE
    ):
        condition, noise = sketches.rows(slice(index, index + 1))
        name, sampler, steps = job
        began = time.perf_counter()
        picture = fast[name].sample(sampler, steps, condition, noise, seed=seed + index)
        spent[job].append(time.perf_counter() - began)
        made[job].append(picture.clamp(-1, 1))
    real = sketches.pictures[: plan.pictures]
    rows = []
    for name, sampler, steps in jobs:
        pictures = torch.cat(made.pop((name, sampler, steps)))
        ms = statistics.median(spent[name, sampler, steps]) * 1e3
        rows.append(
            {
                "contender": name,
                "sampler": sampler,
                "steps": steps,
                "evaluations": convergence.evaluations(fast[name], sampler, steps),
                "ms": round(ms, 2),
                "fps": round(1e3 / ms, 2),
                "swd": round(metrics.swd(pictures, real), 4),
                "sharpness": [round(value, 3) for value in metrics.sharpness(pictures, real)],
            }
        )
    return rows


def examine(plan: Plan, one: Contender, sketches: Sketches, seed: int) -> dict:
    """Measure convergence and straightness of one contender in float32, with its filmstrip and paths."""
    condition, noise = sketches.rows(slice(plan.converging))
    found: dict = {}
    if plan.fits(one):
        converged = convergence.converge(one, condition, noise, plan.converged)
        found["floor"] = converged.floor
        found["errors"], found["orders"] = {}, {}
        for sampler in track(plan.fits(one), one.name, transient=True, console=CONSOLE):
            counts = sorted({*plan.orders, *plan.steps})
            lines = convergence.errors(one, sampler, counts, condition, noise, converged, seed=seed)
            found["errors"][sampler] = [line | {"error": round(line["error"], 6)} for line in lines]
            fitted = [line for line in lines if line["steps"] in plan.orders]
            order = convergence.fitted_order(fitted, converged.floor)
            found["orders"][sampler] = None if order is None else round(order, 3)
    if plan.shortens(one):
        counts = [steps for steps in plan.steps if steps <= plan.orders[-1]]
        found["strengths"] = convergence.by_strength(
            one, plan.shortcut, counts, plan.strengths, condition, noise, plan.converged // 4
        )
    traced = trace.trace(one, condition, noise)
    found["straightness"] = {name: round(v, 5) for name, v in trace.straightness(traced).items()}
    found["times"] = [round(t, 5) for t in traced.times]
    found["components"] = trace.components(traced).round(5).tolist()
    found["pixels"] = trace.pixels(traced).round(5).tolist()
    sampler, steps = FILM_STEPS[one.kind] if one.name != "painter" else ("flow-euler", 4)
    strip, shown = trace.filmstrip(one, sampler, steps, *sketches.rows(slice(1)))
    found["film"] = {"sampler": sampler, "steps": steps, "shown": shown, "strip": strip}
    return found


def curves(names: list[str], folder: Path | None) -> dict[str, list[dict]]:
    """Return quality against images seen, from the training log in `folder` or else the shipped one."""
    shipped = json.loads((ASSETS / "learning.json").read_text(encoding="utf-8"))
    found = {}
    for name in names:
        path = folder / name / "quality.jsonl" if folder else None
        if path is not None and path.is_file():
            found[name] = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        elif name in shipped:
            found[name] = shipped[name]
    return found


def add_distances(rows: list[dict], errors: dict[str, list[dict]], name: str) -> None:
    """Add the RMS distance to the converged solution to the rows where it was measured."""
    for row in rows:
        if row["contender"] == name:
            same = [e["error"] for e in errors.get(row["sampler"], []) if e["steps"] == row["steps"]]
            row["distance"] = same[0] if same else None


def add_speeds(rows: list[dict]) -> dict | None:
    """Add frames/s relative to the reference to every row; return a summary of the reference's row.

    Without a diffusion the reference is the same sampler on the first contender that has it; the summary
    names it.
    """
    wanted = [row for row in rows if (row["sampler"], row["steps"]) == REFERENCE[1:]]
    wanted.sort(key=lambda row: not row["contender"].startswith(REFERENCE[0]))
    for row in rows:
        row["speed"] = round(wanted[0]["ms"] / row["ms"], 2) if wanted else None
    return {key: wanted[0][key] for key in ("contender", "sampler", "steps", "ms", "fps")} if wanted else None
