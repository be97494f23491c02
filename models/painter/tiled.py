"""Frames on a GPU in which only a tile around an edit is computed again.

The network is local and the noise anchored, so the frame of a tile equals that part of the whole frame at
every pixel that is further than the receptive radius from the tile's border, or where that is the paper's
own. A tile is a whole frame of a smaller paper: a CUDA graph of its size serves wherever the tile lies, and
only the tile is uploaded and downloaded. The first tile is checked against the whole frame at rest; where a
byte differs, no tile is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from models.device.graph_frames import GraphedFrames
from models.painter.flow import CELL_PX
from models.painter.packed import Body
from models.painter.regions import Box, Boxes, changed, snap

SIDES_PX = (640, 768, 1024, 1280)  # of tiles: few, for each is a graph that holds its activations
GRID_PX = 32  # tiles begin at multiples of it: the network's coarsest cells are 16 px
WORTH = 0.6  # of the area: above, the whole frame is computed
CHECK_PX = 48  # side of the edit that is made up for a check
DIFFERS = "frames are computed whole: on this GPU a tile differs from the whole in some bytes"


class Given(NamedTuple):
    """What a frame is made from beside its paper. biases: one row a step."""

    noise: Tensor
    strength: float
    biases: tuple[Tensor, ...]

    @property
    def steps(self) -> int:
        return len(self.biases)


class Last(NamedTuple):
    """The last frame: (4, H, W) uint8 paper, what else it was made from, (3, H, W) uint8 picture."""

    planes: np.ndarray
    given: Given
    picture: np.ndarray

    def goes_with(self, planes: np.ndarray, given: Given) -> bool:
        """Whether a frame differs from this one by its paper alone: the same tensors count as equal."""
        old = self.given
        same = old.noise is given.noise and old.strength == given.strength and old.steps == given.steps
        same = same and all(a is b for a, b in zip(old.biases, given.biases, strict=True))
        return same and self.planes.shape == planes.shape


class Tile(NamedTuple):
    """box: what is computed, in pixels. out: what of it may have changed, and is right."""

    box: Box
    out: Box


class TiledFrames:
    """Frames by `GraphedFrames`, with the last picture kept.

    radius_px: the network's receptive radius. share: of a whole frame's area that the last frame took.
    why_off: why no tile is taken any more; empty while tiles are.
    """

    def __init__(self, frames: GraphedFrames, body: Body, radius_px: int):
        self.frames, self.body, self.radius_px = frames, body, radius_px
        self.share, self.why_off = 1.0, ""
        self._checked = False
        self.forget()

    @property
    def why_not_faster(self) -> str:
        """Why the last frame had no graph, and why no tiles are taken."""
        return "; ".join(filter(None, (self.frames.why_eager, self.why_off)))

    def forget(self) -> None:
        """The next frame is computed as a whole."""
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
        """The picture's planes, (3, H, W) uint8 that the next frame writes to, and whether all is finite.

        planes: (4, H, W) uint8 paper. noise: (1, 48, h, w) float32 cells. biases: one row a step. Noise and
        biases count as those of the last frame only if they are the same tensors.
        """
        given, last = Given(noise, strength, tuple(biases)), self._last
        self._last = None  # nothing can be gone on from until all is done
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
        """Capture a graph that a frame lacked, else check a tile. Returns whether more is left to do."""
        if self.frames.rest():
            return True
        if self._last is not None and not (self._checked or self.why_off):
            self._check(self._last)
        return False

    def _tile(self, box: Box, steps: int, shape: tuple[int, ...]) -> Tile | None:
        """The tile for an edit of the pixels in `box`; None where the whole frame is as good."""
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
        """The frame of a box, or of all; (3, h, w) uint8 and whether it is finite."""
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
        """Compute a tile and lay what is right of it into the picture; returns whether it is finite."""
        made, finite = self._frame(planes, share, given, tile.box, lap)
        out, inside = tile.out, tile.out.inside(tile.box)
        picture[:, out.y0 : out.y1, out.x0 : out.x1] = made[:, inside.y0 : inside.y1, inside.x0 : inside.x1]
        return finite

    def _check(self, last: Last) -> None:
        """Compute a made-up edit as a tile and as a whole."""
        planes, picture, given = last.planes.copy(), last.picture.copy(), last.given
        y, x = ((side - CHECK_PX) // 2 for side in planes.shape[1:])
        planes[:, y : y + CHECK_PX, x : x + CHECK_PX] ^= 255
        tile = self._tile(Box(y, y + CHECK_PX, x, x + CHECK_PX), given.steps, planes.shape)
        if tile is None:
            return  # the paper is so small that no tile is
        self._checked = True
        share = given.noise.new_full((1,), 1 - given.strength)
        self._paste_tile(picture, planes, share, given, tile, ignore)
        if not np.array_equal(picture, self._frame(planes, share, given, None, ignore)[0]):
            self.why_off = DIFFERS


def ignore(stage: str) -> None:
    """No stage is timed."""
