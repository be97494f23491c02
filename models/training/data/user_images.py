"""A user's own images as training data: any size, sketched on the fly from their colours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from models.api import DEFAULT_MOOD, ModelError

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"}
LONGEST_PX = 1024
COLORS = (4, 14)  # number of k-means clusters of a sketch


def read_picture(path: Path) -> np.ndarray | None:
    """Read (H, W, 3) uint8 BGR, or None. cv2.imread fails on Windows for paths outside the code page."""
    try:
        data = np.fromfile(path, np.uint8)
    except OSError:
        return None
    return cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None


class Pictures:
    """All pictures in a folder, recursively. skipped: files that cannot be read or are too small."""

    def __init__(self, folder: Path, smallest_px: int):
        if not folder.is_dir():
            raise ModelError(f"{folder} is not a folder of pictures")
        self.pictures: list[np.ndarray] = []
        self.skipped = 0
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES):
            picture = read_picture(path)
            if picture is None or min(picture.shape[:2]) < smallest_px:
                self.skipped += 1
                continue
            scale = max(LONGEST_PX / max(picture.shape[:2]), smallest_px / min(picture.shape[:2]))
            if scale < 1:
                picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            self.pictures.append(np.ascontiguousarray(picture[..., ::-1]))
        if not self.pictures:
            raise ModelError(
                f"no picture in {folder} can be used ({self.skipped} skipped): "
                f"each side needs {smallest_px} pixels or more"
            )

    def batch(self, rng: np.random.Generator, count: int, crop_px: int) -> tuple[np.ndarray, ...]:
        """Return a batch like Views.batch, with the default mood, since a photograph's mood is unknown."""
        picture = np.empty((count, crop_px, crop_px, 3), np.uint8)
        sketch = np.empty((count, crop_px, crop_px, 4), np.uint8)
        strength = rng.random(count).astype(np.float32)
        for row in range(count):
            whole = self.pictures[rng.integers(len(self.pictures))]
            y = rng.integers(0, whole.shape[0] - crop_px + 1)
            x = rng.integers(0, whole.shape[1] - crop_px + 1)
            part = whole[y : y + crop_px, x : x + crop_px]
            picture[row] = part[:, ::-1] if rng.random() < 0.5 else part
            sketch[row] = posterised(picture[row], rng, float(strength[row]))
        mood = np.tile(np.array(DEFAULT_MOOD, np.float32), (count, 1))
        return picture, sketch, mood, strength


def posterised(picture: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Posterise (H, W, 3) uint8 -> (H, W, 4): mean-shift at a quarter, k-means colours, some unpainted."""
    side = picture.shape[0]
    small = cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.pyrMeanShiftFiltering(small, 4, 18)
    cv2.setRNGSeed(int(rng.integers(1 << 30)))
    clusters = min(int(rng.integers(*COLORS)), small.shape[0] * small.shape[1])
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 10, 1.0)
    points = small.reshape(-1, 3).astype(np.float32)
    start = np.zeros((len(points), 1), np.int32)  # ignored: the centres are chosen by KMEANS_PP
    _, labels, colors = cv2.kmeans(points, clusters, start, criteria, 1, cv2.KMEANS_PP_CENTERS)
    colors = colors + rng.normal(0, 22 * strength + 1, colors.shape)
    large = cv2.resize(
        labels.reshape(small.shape[:2]).astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST
    )
    large = cv2.medianBlur(large, 9)
    painted = rng.random(clusters) < (1.0 if rng.random() < 0.6 else 0.7)
    alpha = np.where(painted[large], 255, 0)[..., None]
    return np.concatenate((np.clip(colors[large], 0, 255), alpha), 2).astype(np.uint8)
