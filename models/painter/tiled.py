"""Tiled inference on a GPU: only a tile around an edit is recomputed.

The network is local and the noise is anchored. Therefore a tile's frame equals that part of the whole frame
at every pixel further than the receptive radius from the tile's border; borders shared with the paper do not
count. A tile is a whole frame of a smaller paper: one CUDA graph per size serves every position, and only the
tile is uploaded and downloaded. While the painter is idle, a first tile is checked against the whole frame;
if a byte differs, tiles are disabled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from models.device.graph_frames import GraphedFrames
from models.painter.flow import CELL_PX
from models.painter.packed import PackedNetwork
from models.painter.regions import Box, Boxes, changed, snap

SIDES_PX = (640, 768, 1024, 1280)  # tile sides; few, because each has a graph that holds its activations
GRID_PX = 32  # tiles begin at multiples of this; the network's coarsest cells are 16 px
WORTH = 0.6  # share of the area above which the whole frame is computed
CHECK_PX = 48  # side of the synthetic edit of a check
DIFFERS = "frames are computed whole: on this GPU a tile differs from the whole in some bytes"


class Given(NamedTuple):
    """Inputs of a frame besides its paper. biases: one row per step."""

    noise: Tensor
    strength: float
    biases: tuple[Tensor, ...]

    @property
    def steps(self) -> int:
        return len(self.biases)


class Last(NamedTuple):
    """Last frame: (4, H, W) uint8 paper, its other inputs, and (3, H, W) uint8 picture."""

    planes: np.ndarray
    given: Given
    picture: np.ndarray

    def goes_with(self, planes: np.ndarray, given: Given) -> bool:
        """Whether a frame differs from this one only in its paper; tensors are compared by identity."""
        old = self.given
        same = old.noise is given.noise and old.strength == given.strength and old.steps == given.steps
        same = same and all(a is b for a, b in zip(old.biases, given.biases, strict=True))
        return same and self.planes.shape == planes.shape


class Tile(NamedTuple):
    """Tile of a frame, in pixels. box: computed area. out: the part of it that may change and is exact."""

    box: Box
    out: Box


class TiledFrames:
    """Frames by `GraphedFrames`, with a cache of the last picture.

    radius_px: the network's receptive radius. share: computed share of the whole frame's area in the last
    frame. why_off: why tiles are disabled; empty while they are enabled.
    """

    def __init__(self, frames: GraphedFrames, body: PackedNetwork, radius_px: int):
        self.frames, self.body, self.radius_px = frames, body, radius_px
        self.share, self.why_off = 1.0, ""
        self._checked = False
        self.forget()

    @property
    def why_not_faster(self) -> str:
        """Reasons why the last frame used no graph and why tiles are disabled."""
        return "; ".join(filter(None, (self.frames.why_eager, self.why_off)))

    def forget(self) -> None:
        """Clear the cache: the next frame is computed whole."""
        self._last: Last | None = None

    def render(
        self,
        planes: np.ndarray,
        noise: Tensor,
        share: Tensor,
        biases: Sequence[Tensor],
        strength: float,
        lap: Callable[[str], None],
    ) -> tuple[np.ndarray, bool]:
        """Compute a frame; returns the picture's planes, (3, H, W) uint8, and whether all values are finite.

        The next frame overwrites the planes. planes: (4, H, W) uint8 paper. noise: (1, 48, h, w) float32
        cells. biases: one row per step. Noise and biases count as unchanged since the last frame only if they
        are the same tensor objects.
        """
        given, last = Given(noise, strength, tuple(biases)), self._last
        self._last = None  # the cache is invalid until the frame is complete
        tile = None
        if last is None or self.why_off or not last.goes_with(planes, given):
            picture, finite = self._frame(planes, share, given, None, lap)
        elif (box := changed(last.planes, planes)) is None:
            picture, finite, self.share = last.picture, True, 0.0
            lap("denoise")
        elif (tile := self._tile(box, given.steps, planes.shape)) is None:
            picture, finite = self._frame(planes, share, given, None, lap)
        else:
            picture = last.picture
            finite = self._paste_tile(picture, planes, share, given, tile, lap)
        if finite:
            self._last = Last(planes, given, picture)
        return picture, finite

    def rest(self) -> bool:
        """While idle: capture a missing graph, else check a tile. Returns whether work may be left."""
        if self.frames.rest():
            return True
        if self._last is not None and not (self._checked or self.why_off):
            self._check(self._last)
        return False

    def _tile(self, box: Box, steps: int, shape: tuple[int, ...]) -> Tile | None:
        """Tile for an edit of the pixels in `box`; None if a tile saves too little."""
        whole = Box(0, shape[1], 0, shape[2])
        reached = Boxes.whole(*shape[1:]).reached(box, self.body, steps)
        out = reached[-1].fine_out.finer(CELL_PX)
        needed = out.grown(steps * self.radius_px, whole)
        side = next((s for s in SIDES_PX if s >= max(needed.height, needed.width) + GRID_PX), None)
        if side is None:
            return None
        ys, xs = (
            snap(start // GRID_PX * GRID_PX, start // GRID_PX * GRID_PX + side, side, most)
            for start, most in ((needed.y0, whole.y1), (needed.x0, whole.x1))
        )
        tile = Box(*ys, *xs)
        small = tile.height * tile.width <= WORTH * whole.height * whole.width
        return Tile(tile, out) if small else None

    def _frame(
        self, planes: np.ndarray, share: Tensor, given: Given, box: Box | None, lap: Callable[[str], None]
    ) -> tuple[np.ndarray, bool]:
        """Compute the frame of a box, or the whole frame; (3, h, w) uint8 and whether it is finite."""
        self.share, noise = 1.0, given.noise
        if box is not None:
            self.share = box.height * box.width / (planes.shape[1] * planes.shape[2])
            planes = planes[:, box.y0 : box.y1, box.x0 : box.x1]
            noise = box.coarser(CELL_PX).of(noise)
        pixels = self.frames.render(planes, noise, share, given.biases, lap)
        return pixels[:-1].reshape(3, *planes.shape[1:]), bool(pixels[-1])

    def _paste_tile(
        self,
        picture: np.ndarray,
        planes: np.ndarray,
        share: Tensor,
        given: Given,
        tile: Tile,
        lap: Callable[[str], None],
    ) -> bool:
        """Compute a tile and copy its exact part into the picture; returns whether it is finite."""
        made, finite = self._frame(planes, share, given, tile.box, lap)
        out, inside = tile.out, tile.out.inside(tile.box)
        picture[:, out.y0 : out.y1, out.x0 : out.x1] = made[:, inside.y0 : inside.y1, inside.x0 : inside.x1]
        return finite

    def _check(self, last: Last) -> None:
        """Compute a synthetic edit as a tile and as a whole frame; disable tiles if they differ."""
        planes, picture, given = last.planes.copy(), last.picture.copy(), last.given
        y, x = ((side - CHECK_PX) // 2 for side in planes.shape[1:])
        planes[:, y : y + CHECK_PX, x : x + CHECK_PX] ^= 255
        tile = self._tile(Box(y, y + CHECK_PX, x, x + CHECK_PX), given.steps, planes.shape)
        if tile is None:
            return  # the paper is too small for tiles
        self._checked = True
        share = given.noise.new_full((1,), 1 - given.strength)
        self._paste_tile(picture, planes, share, given, tile, ignore)
        if not np.array_equal(picture, self._frame(planes, share, given, None, ignore)[0]):
            self.why_off = DIFFERS


def ignore(stage: str) -> None:
    """Stage callback that does nothing."""
