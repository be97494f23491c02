"""Sample sheets of the material painter: hand-made sketches in every look."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch

from models.api import DEFAULT_MOOD, LOOKS
from models.painter.flow import CELL_PX
from models.painter.materials import noise as noises
from models.painter.materials.condition import MaterialCondition, condition_of, heights
from models.painter.materials.flow import MaterialFlow
from models.painter.materials.plan import PlanNetwork, fill_blanks
from models.training.evaluation.grids import to_pixels
from models.training.evaluation.hand_sketches import drawn

BLANK_PAPER = 242  # blank paper is shown as near white


def condition_of_paper(
    paper: np.ndarray,
    materials: np.ndarray,
    *,
    look: str = "scenic",
    seed: int = 0,
    strength: float = 0.6,
    mood: tuple[float, ...] = DEFAULT_MOOD,
    plan: PlanNetwork | None = None,
) -> MaterialCondition:
    """Return the condition of one whole paper, (H, W, 4) uint8, treated as a full canvas; a batch of one."""
    height, width = paper.shape[:2]
    found = noises.anchored(seed, height, width)
    rows = heights(height // CELL_PX, width // CELL_PX, top_px=0, canvas_px=height)[None]
    condition = condition_of(
        paper[None],
        materials[None],
        noise=found,
        strength=torch.tensor([strength], dtype=torch.float32),
        mood=torch.tensor([mood], dtype=torch.float32),
        look=torch.tensor([LOOKS.index(look)]),
        height=rows,
    )
    return condition if plan is None else fill_blanks(condition, plan)


def shown(paper: np.ndarray) -> np.ndarray:
    """Composite paper (H, W, 4) uint8 over near white: (H, W, 3)."""
    alpha = paper[..., 3:] / 255
    return np.rint(paper[..., :3] * alpha + BLANK_PAPER * (1 - alpha)).astype(np.uint8)


def hand_sheet(
    path: Path,
    flow: MaterialFlow,
    *,
    side_px: int = 256,
    steps: tuple[int, ...] = (1,),
    looks: tuple[str, ...] = LOOKS,
    plan: PlanNetwork | None = None,
    across: int = 2,
) -> None:
    """Write the hand-made sketches as one image: per row a sketch and every look in each number of steps.

    across: sketches side by side. Every call uses the same noise, so sheets can be compared.
    """
    rows = []
    for _, paper, materials in drawn(side_px):
        tiles = [shown(paper)]
        for look in looks:
            condition = condition_of_paper(paper, materials, look=look, plan=plan)
            tiles += [to_pixels(flow.sample(condition, count))[0] for count in steps]
        rows.append(np.concatenate(tiles, 1))
    lines = [np.concatenate(rows[i : i + across], 1) for i in range(0, len(rows), across)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix, np.concatenate(lines, 0)[..., ::-1])[1].tofile(path)
