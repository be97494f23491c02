"""One-step frames in which only what an edit can reach is worked out again.

The network is local and the noise anchored: beyond the reach of a stroke every activation is what it was.
Those of the last frame are kept, and each convolution runs over the part that its input has changed in, which
grows from layer to layer up to the receptive radius. A touch of 60 px costs a quarter of a frame of 512 px,
and no more on a larger paper. A convolution gives a place the same bits whether it runs over all of its input
or over a part; the first frames are worked out both ways, and where a bit differs this path is left.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.device import allocator
from models.painter import patches
from models.painter.flow import CELL_PX
from models.painter.network import enlarge
from models.painter.packed import Body, Lap, no_lap
from models.painter.regions import Box, Boxes, changed

MOST_PX = 1024 * 1024  # activations of larger papers are not kept: they take 140 MB at this size
WORTH = 0.6  # of the work: an edit that takes more is worked out as a whole, which has one shape
TRIALS = 3  # frames that are worked out both ways


class Regional:
    """Body.frame for one step on a CPU, with the activations of the last frame kept.

    share: of a whole frame's work that the last frame took.
    """

    def __init__(self, body: Body):
        self.body, self.share = body, 1.0
        self._trials_left, self._trusted = TRIALS, True
        self._places: dict[str, Tensor] = {}  # where what is kept lies, once parts are worked out
        self.forget()

    def forget(self) -> None:
        """The next frame is worked out as a whole."""
        self._planes: np.ndarray | None = None
        self._given: tuple = ()
        self._kept: dict[str, Tensor] = {}

    def takes(self, steps: int, height: int, width: int) -> bool:
        return self._trusted and steps == 1 and height * width <= MOST_PX

    def frame(
        self, planes: np.ndarray, noise: Tensor, strength: float, biases: Tensor, lap: Lap = no_lap
    ) -> tuple[np.ndarray, bool]:
        """The picture's planes, (3, H, W) uint8 that the next frame writes to, and whether all is finite.

        planes: (4, H, W) uint8 paper. noise: (1, 48, h, w) float32 cells. biases: (all channels,). Noise
        and biases count as those of the last frame only if they are the same tensors.
        """
        whole = Boxes.whole(*planes.shape[1:])
        boxes = self.boxes(whole, planes, noise, strength, biases)
        given, self._given = (noise, strength, biases), ()  # nothing can be gone on from until all is done
        finite = True
        if boxes is None:
            for stage in ("start", "denoise", "decode"):
                lap(stage)
        elif boxes == whole or not self._trials_left:
            finite = self.work_out(boxes, whole, planes, *given, lap)
        else:
            finite = self.try_both(boxes, whole, planes, *given, lap)
        if self._places:
            self.settle()  # at once: what else is taken meanwhile would lie behind it
        if finite:
            self._planes, self._given = planes, given
        return self._kept["picture"].numpy(), finite

    def boxes(
        self, whole: Boxes, planes: np.ndarray, noise: Tensor, strength: float, biases: Tensor
    ) -> Boxes | None:
        """What has to be worked out; None where the paper is that of the last frame."""
        self.share = 1.0
        same = self._given and self._given[0] is noise and self._given[1:2] == (strength,)
        if not (same and self._given[2] is biases and self._planes.shape == planes.shape):
            return whole
        box = changed(self._planes, planes)
        if box is None:
            self.share = 0.0
            return None
        reached = whole.reached(box, self.body)
        share = reached.work(self.body) / whole.work(self.body)
        if share > WORTH:
            return whole
        self.share = share
        return reached

    def try_both(self, boxes: Boxes, whole: Boxes, planes: np.ndarray, *given) -> bool:
        """A whole frame, held against one of these boxes; where a bit differs, no part is taken again."""
        self._trials_left -= 1
        self.share = 1.0
        self.work_out(boxes, whole, planes, *given[:-1])
        part = {name: value.clone() for name, value in self._kept.items()}
        finite = self.work_out(whole, whole, planes, *given)
        self._trusted = all(torch.equal(part[name], value) for name, value in self._kept.items())
        return finite

    def work_out(
        self,
        boxes: Boxes,
        whole: Boxes,
        planes: np.ndarray,
        noise: Tensor,
        strength: float,
        biases: Tensor,
        lap: Lap = no_lap,
    ) -> bool:
        """Bring all that is kept up to date inside the boxes. Returns whether the picture is finite there."""
        body = self.body
        if boxes == whole:
            self._kept.clear()  # before the same is taken again
        else:
            self.settle()
        fine, middle, coarse, middle_out, fine_out = boxes

        around = self.means_around(fine, whole.fine, torch.from_numpy(planes))
        paint = body.paint_stem(around.to(body.dtype))
        around[:, 3:].mul_(1 - strength)
        spread = body.spread(around)
        residual = body.start(fine.of(noise), spread)
        self.keep("sketch", spread[:, : patches.COLORS], fine, whole.fine)
        self.keep("residual", residual, fine, whole.fine)
        lap("start")

        bias = iter(biases.split(body.widths))
        x = body.stem(body.pack(residual, 1.0), next(bias), skip=paint, relu=True)
        x = self.keep("stem", x, fine, whole.fine)
        skip_fine = x = self.chain("fine_in", x, fine, whole.fine, bias)
        x = self.convolve("to_middle", body.to_middle, x, middle, whole.middle, next(bias), down=True)
        skip_middle = x = self.chain("middle_in", x, middle, whole.middle, bias)
        x = self.convolve("to_coarse", body.to_coarse, x, coarse, whole.coarse, next(bias), down=True)
        x = self.chain("coarse", x, coarse, whole.coarse, bias)
        x = self.climb("from_coarse", x, skip_middle, middle_out, whole.middle)
        x = self.chain("middle_out", x, middle_out, whole.middle, bias)
        x = self.climb("from_middle", x, skip_fine, fine_out, whole.fine)
        x = self.chain("fine_out", x, fine_out, whole.fine, bias)
        near = fine_out.moved(1, whole.fine)
        ends = tuple(fine_out.inside(near).of(end) for end in body.ends(near.of(x)))
        lap("denoise")
        made = body.unpack(ends, fine_out.of(self._kept["residual"]), 1.0)
        finite = bool(made.sum().isfinite())
        pixels = body.picture(made, fine_out.of(self._kept["sketch"]))
        self.keep("picture", pixels, fine_out.finer(CELL_PX), whole.fine.finer(CELL_PX))
        lap("decode")
        return finite

    def settle(self) -> None:
        """Move what a whole frame left in the heap to pages of its own, in which parts of it will change."""
        for name, value in self._kept.items():
            place = self._places.get(name)
            if place is value:
                continue
            if place is None or place.shape != value.shape or place.dtype != value.dtype:
                dense = value if value.dim() == 3 else value.contiguous(memory_format=torch.channels_last)
                place = self._places[name] = allocator.apart(dense)
            self._kept[name] = place.copy_(value)

    @staticmethod
    def means_around(box: Box, whole: Box, planes: Tensor) -> Tensor:
        """(1, 4, h + 2, w + 2): the paper's cells in the box and one more on each side."""
        near = box.grown(1, whole)
        pixels = near.finer(CELL_PX)
        mean = patches.means(planes[:, pixels.y0 : pixels.y1, pixels.x0 : pixels.x1])
        inside = box.inside(near)
        beyond = 1 - inside.x0, 1 - (near.width - inside.x1), 1 - inside.y0, 1 - (near.height - inside.y1)
        return patches.bordered(mean, beyond)

    def chain(self, name: str, x: Tensor, box: Box, whole: Box, bias: Iterator[Tensor]) -> Tensor:
        for index, layer in enumerate(getattr(self.body, name)):
            x = self.convolve(f"{name} {index}", layer, x, box, whole, next(bias))
        return x

    def convolve(
        self, name: str, conv, source: Tensor, box: Box, whole: Box, bias: Tensor, *, down: bool = False
    ) -> Tensor:
        """A window of 3x3 over the box, which reads one cell more; what comes of that rim is left out.

        down: the source is of the finer scale, and there is no skip.
        """
        near = box.moved(1, whole)
        part = F.avg_pool2d(near.finer(2).of(source), 2) if down else near.of(source)
        made = conv(part, bias, skip=None if down else part, relu=True)
        return self.keep(name, box.inside(near).of(made), box, whole)

    def climb(self, name: str, below: Tensor, skip: Tensor, box: Box, whole: Box) -> Tensor:
        part = enlarge(box.coarser(2).of(below))
        made = getattr(self.body, name)(part, skip=box.of(skip), relu=True)
        return self.keep(name, made, box, whole)

    def keep(self, name: str, part: Tensor, box: Box, whole: Box) -> Tensor:
        """Lay a part into what is kept by this name; returns the whole of it."""
        if box == whole:
            self._kept[name] = part
        else:
            self._kept[name][..., box.y0 : box.y1, box.x0 : box.x1] = part
        return self._kept[name]
