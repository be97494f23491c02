"""Training of the weights in assets/: resumable stages for two painters."""

from __future__ import annotations

from pathlib import Path

from models.api import ModelError
from models.training.stage_names import STAGES


def run_stage(
    stage: str,
    folder: Path | None = None,
    *,
    painter: str = "materials",
    quick: bool = False,
    images: Path | None = None,
    pictures: Path | None = None,
) -> dict | None:
    """Run one stage, or "all" in order. Returns the metrics of `evaluate`. Raises ModelError.

    painter: "materials", the material painter; "colors", the color painter and the lab's contenders.
    images: arbitrary pictures, on which `finish` fine-tunes the shipped painter. pictures: labelled pictures
    with a manifest, see docs/training.md.
    """
    if images is not None:
        painter = "colors"  # the shipped painter is of this kind
    if painter not in STAGES:
        raise ModelError(f"no painter is named {painter!r}; choose {' or '.join(STAGES)}")
    if stage not in (*STAGES[painter], "all"):
        raise ModelError(f"no stage is named {stage!r}; choose {', '.join(STAGES[painter])} or all")
    # imported late: they need numba, and a wrong name is reported without it
    if painter == "colors":
        if pictures is not None:
            raise ModelError("--pictures goes with --painter materials only")
        from models.training.color_painter import stages as of_colors

        return of_colors.run(stage, folder, quick=quick, images=images)
    from models.training.material_painter import stages as of_materials

    return of_materials.run(stage, folder, quick=quick, pictures=pictures)
