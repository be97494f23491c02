"""How the weights in assets/ are made: stages of two painters, each resumable."""

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
    """Run one stage, or "all" in order. Returns what `evaluate` measured. Raises ModelError.

    painter: "materials", the painter that sees materials; "colors", the first one, and the lab's contenders.
    images: any pictures, from which `finish` fine-tunes the painter that ships. pictures: labelled pictures
    with a manifest, as docs/training.md describes.
    """
    if images is not None:
        painter = "colors"  # what ships is of that kind
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
