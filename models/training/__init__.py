"""How the weights in assets/ were made: data, teacher, reflow, distil, finish, evaluate."""

from __future__ import annotations

from pathlib import Path

from models.api import ModelError

STAGES = ("data", "teacher", "reflow", "distil", "finish", "diffusion", "evaluate", "export")


def run_stage(
    stage: str, folder: Path | None = None, *, quick: bool = False, images: Path | None = None
) -> dict | None:
    """Run one stage, or "all" in order. Returns what `evaluate` measured. Raises ModelError."""
    if stage not in (*STAGES, "all"):
        raise ModelError(f"no stage is named {stage!r}; choose {', '.join(STAGES)} or all")
    from models.training.color_painter import stages  # needs numba: a typo is reported without it

    return stages.run(stage, folder, quick=quick, images=images)
