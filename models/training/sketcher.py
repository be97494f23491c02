"""A view -> the sketch that a hand would have made of it: flat strokes, wrong edges, gaps."""

from __future__ import annotations

import cv2
import numpy as np

from models.api import MATERIALS

PALETTE = np.array([material.color for material in MATERIALS], np.float32)
SMALLEST_SHARE = 0.004  # regions smaller than this are not worth a stroke


def sketch(picture: np.ndarray, labels: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """(H, W, 3) uint8 and (H, W) labels -> (H, W, 4) uint8, alpha 0 where left unpainted.

    strength: 0..1; at 0 a region has its own mean colour, at 1 mostly its palette colour, jittered.
    """
    height, width = labels.shape
    regions = simplify(labels, rng)
    regions = bend(regions, rng)
    small = cv2.GaussianBlur(picture, (0, 0), width / 28)
    paper = np.zeros((height, width, 4), np.float32)
    used = [label for label in np.unique(regions) if (regions == label).mean() > SMALLEST_SHARE]
    rng.shuffle(used)
    keep = keep_share(rng)
    local = rng.random() < 0.5  # a region in one colour, or in colours that vary over it
    for label in used:
        if rng.random() > keep:
            continue
        mask = (regions == label).astype(np.uint8)
        mask = brush_like(mask, rng)
        inside = (labels == label) & (mask > 0)
        mean = picture[inside if inside.any() else mask > 0].mean(0) if mask.any() else PALETTE[label]
        pull = strength * rng.uniform(0.5, 1.0)
        color = (
            small * (1 - pull) + PALETTE[label] * pull if local else mean * (1 - pull) + PALETTE[label] * pull
        )
        color = color + rng.normal(0, 26 * strength**1.5 + 1.5, 3)
        if rng.random() < 0.3:  # light and dark strokes side by side
            color = color + (
                cv2.resize(
                    rng.normal(0, 10, (8, 8)).astype(np.float32),
                    (width, height),
                    interpolation=cv2.INTER_CUBIC,
                )
            )[..., None] * (0.3 + strength)
        where = mask > 0
        paper[..., :3][where] = np.broadcast_to(color, paper[..., :3].shape)[where]
        paper[..., 3][where] = 255
    if rng.random() < 0.25:
        paper[..., 3] *= erase_some(height, width, rng)
    if rng.random() < 0.35:  # a soft brush
        paper = soften(paper, rng.uniform(0.8, 4))
    return np.rint(np.clip(paper, 0, 255)).astype(np.uint8)


def soften(paper: np.ndarray, radius: float) -> np.ndarray:
    """Blur the edges of paint, its colour running out with it."""
    weighted = cv2.GaussianBlur(paper[..., :3] * paper[..., 3:], (0, 0), radius)
    alpha = cv2.GaussianBlur(paper[..., 3:], (0, 0), radius)[..., None]
    return np.concatenate((weighted / np.maximum(alpha, 1e-3), alpha), 2)


def keep_share(rng: np.random.Generator) -> float:
    """How much of the sketch the hand got round to."""
    chance = rng.random()
    if chance < 0.42:
        return 1.0
    return 0.0 if chance > 0.96 else float(rng.uniform(0.25, 0.95))


def simplify(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Label regions smoothed at 4-32 px of a 256 px view, the small ones swallowed by their neighbours."""
    radius = float(np.exp(rng.uniform(np.log(1.5), np.log(12)))) * labels.shape[0] / 256
    votes = np.stack(
        [cv2.GaussianBlur((labels == n).astype(np.float32), (0, 0), radius) for n in np.unique(labels)]
    )
    return np.unique(labels)[votes.argmax(0)]


def bend(regions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Edges that waver as a hand does: displaced by smooth noise."""
    height, width = regions.shape
    reach = float(rng.gamma(1.6, 2.4)) * height / 256
    cells = int(rng.integers(4, 14))
    shift = rng.normal(0, reach, (2, cells, cells)).astype(np.float32)
    dx, dy = (cv2.resize(s, (width, height), interpolation=cv2.INTER_CUBIC) for s in shift)
    xs, ys = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    return cv2.remap(
        regions.astype(np.uint8), xs + dx, ys + dy, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
    )


def brush_like(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The region as a round brush would fill it: grown or shrunk, or only where strokes happened to pass."""
    height = mask.shape[0]
    size = max(3, int(rng.uniform(3, 14) * height / 256))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    chance = rng.random()
    if chance < 0.3:
        return cv2.dilate(mask, kernel)
    if chance < 0.55:
        return cv2.morphologyEx(mask, cv2.MORPH_OPEN, kernel)
    if chance < 0.8 and mask.any():  # a few long strokes through the region
        ys, xs = np.nonzero(mask)
        painted = np.zeros_like(mask)
        wide = max(3, int(rng.uniform(8, 40) * height / 256))
        for _ in range(int(rng.integers(2, 9))):
            picks = rng.integers(len(xs), size=3)
            points = np.stack((xs[picks], ys[picks]), 1).astype(np.int32)
            points = points[points[:, 0].argsort()]
            cv2.polylines(painted, [points], False, 1, wide, cv2.LINE_8)
        near = cv2.dilate(mask, kernel)
        return painted & near
    return mask


def erase_some(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W) of 0 and 1: bands and holes that the brush left white."""
    kept = np.ones((height, width), np.float32)
    for _ in range(int(rng.integers(1, 6))):
        a, b = (tuple(int(v) for v in rng.integers(0, (width, height))) for _ in range(2))
        cv2.line(kept, a, b, 0, max(2, int(rng.uniform(3, 50) * height / 256)), cv2.LINE_8)
    return kept
