"""Incremental inference on a CPU: only the region that an edit affects is recomputed.

The network is local and the noise is anchored, so activations beyond the receptive radius of an edit do not
change. The activations of the last frame are cached for every step. Each convolution runs over the region in
which its input changed; the region grows from layer to layer, up to the receptive radius, and from step to
step. In one step an edit of 60 px costs a quarter of a frame of 512 px, and no more on a larger paper. A
convolution must give the same bits for a region as for the whole input. This is checked once for each number
of steps, while the painter is idle or else at the first partial frame; if a bit differs, all frames are
computed whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.device import allocator
from models.painter import patches
from models.painter.flow import CELL_PX
from models.painter.network import enlarge
from models.painter.packed import Lap, PackedNetwork, no_lap
from models.painter.regions import Box, Boxes, changed
from models.sampling.paths import uniform_times

MEMORY_BYTES = 1_000_000_000  # default limit of cached activations
WORTH = 0.6  # share of the work above which the whole frame is computed, in its one fixed shape
CHECK_PX = 48  # side of the synthetic edit of a check
DIFFERS = "frames are computed whole: on this CPU a part differs from the whole in some bits"


@dataclass
class Kept:
    """Cached activations of the last frame with a given number of steps, and that frame's inputs.

    layers: activations by step and name. places: memory outside the heap that holds the layers once partial
    frames are computed. planes, given: the inputs, see `Plan`.
    """

    layers: list[dict[str, Tensor]]
    places: list[dict[str, Tensor]]
    planes: np.ndarray | None = None
    given: tuple = ()

    @classmethod
    def of(cls, steps: int) -> Kept:
        return cls([{} for _ in range(steps)], [{} for _ in range(steps)])

    def nbytes(self) -> int:
        return sum(value.nbytes for step in self.layers for value in step.values())


@dataclass(frozen=True, eq=False)
class Plan:
    """Work of the next frame: boxes to compute for each step; none if nothing changed.

    share: fraction of a whole frame's work. given: noise, strength and biases.
    """

    planes: np.ndarray
    given: tuple[Tensor, float, tuple[Tensor, ...]]
    boxes: tuple[Boxes, ...]
    share: float


@dataclass
class IncrementalFrames:
    """PackedNetwork.frame on a CPU, with a cache of the activations of the last frames.

    memory_bytes: limit of the cache. why_off: why partial frames are disabled; empty while they are enabled.
    """

    body: PackedNetwork
    memory_bytes: int = MEMORY_BYTES
    why_off: str = ""
    _kept: dict[int, Kept] = field(default_factory=dict)  # by the number of steps
    _checked: set[int] = field(default_factory=set)

    def forget(self) -> None:
        """Clear the cache: the next frame of any number of steps is computed whole."""
        self._kept.clear()

    def takes(self, steps: int, height: int, width: int) -> bool:
        """Whether frames of this size and number of steps are cached; if not, use PackedNetwork.frame."""
        fewer = sum(self.need_bytes(count, height, width) for count in self._kept if count < steps)
        return not self.why_off and fewer + self.need_bytes(steps, height, width) <= self.memory_bytes

    def need_bytes(self, steps: int, height: int, width: int) -> int:
        """Bytes of the cache for frames of this size and number of steps."""
        body, item = self.body, self.body.dtype.itemsize
        fine, middle, coarse = body.channels
        fine_px = (2 + len(body.fine_in) + len(body.fine_out)) * fine * item
        middle_px = (2 + len(body.middle_in) + len(body.middle_out)) * middle * item
        coarse_px = (1 + len(body.coarse)) * coarse * item
        cells = height * width // CELL_PX**2
        a_step = fine_px + middle_px / 4 + coarse_px / 16 + 4 * patches.COLORS
        shared = 4 * patches.COLORS + patches.COLORS + (fine * item if steps > 1 else 0)
        return round(cells * (steps * a_step + shared))

    def plan(self, planes: np.ndarray, noise: Tensor, strength: float, biases: Sequence[Tensor]) -> Plan:
        """Find the regions that a frame has to compute.

        planes: (4, H, W) uint8 paper. noise: (1, 48, h, w) float32 cells. biases: (all channels,) per step.
        Noise and biases count as unchanged since the last frame with this number of steps only if they are
        the same tensor objects.
        """
        steps, whole = len(biases), Boxes.whole(*planes.shape[1:])
        all_of_it = Plan(planes, (noise, strength, tuple(biases)), (whole,) * steps, 1.0)
        kept = self._kept.get(steps)
        if kept is None or kept.planes is None or kept.planes.shape != planes.shape:
            return all_of_it
        old_noise, old_strength, old_biases = kept.given
        same = old_noise is noise and old_strength == strength
        if not (same and all(a is b for a, b in zip(old_biases, biases, strict=True))):
            return all_of_it
        box = changed(kept.planes, planes)
        if box is None:
            return Plan(planes, all_of_it.given, (), 0.0)
        boxes = whole.reached(box, self.body, steps)
        share = sum(one.work(self.body) for one in boxes) / (steps * whole.work(self.body))
        return all_of_it if share > WORTH else Plan(planes, all_of_it.given, boxes, share)

    def frame(self, plan: Plan, lap: Lap = no_lap) -> tuple[np.ndarray, bool]:
        """Compute a frame; returns the picture's planes, (3, H, W) uint8, and whether all values are finite.

        The next frame overwrites the planes. lap: called with the name of each stage that ends. If it raises,
        the next frame is computed whole.
        """
        steps = len(plan.given[2])
        kept = self._kept.setdefault(steps, Kept.of(steps))
        self._make_room(steps, plan.planes.shape)
        part = plan.share < 1
        kept.given, kept.planes, finite = (), None, True  # the cache is invalid until the frame is complete
        if not plan.boxes:
            for stage in ("start", "denoise", "decode"):
                lap(stage)
        elif part and steps not in self._checked:
            finite = self._compute_both(kept, plan, lap)
        else:
            finite = self._compute(kept, plan, lap)
        if any(kept.places):
            settle(kept)  # immediately: later allocations would come after it in the heap
        if finite:
            kept.planes, kept.given = plan.planes, plan.given
        return kept.layers[-1]["picture"].numpy(), finite

    def _make_room(self, steps: int, shape: tuple[int, ...]) -> None:
        """Drop caches of other sizes, then those with the most steps until the memory suffices."""
        for count in sorted(self._kept, reverse=True):
            other = self._kept[count]
            size = other.planes.shape if other.planes is not None else shape
            room = self.memory_bytes - self.need_bytes(steps, *shape[1:])
            if count != steps and (size != shape or self._bytes_but(steps) > room):
                del self._kept[count]

    def _bytes_but(self, steps: int) -> int:
        return sum(kept.nbytes() for count, kept in self._kept.items() if count != steps)

    def settle(self) -> None:
        """Move the cache out of the heap, where uncached frames allocate and free memory."""
        for kept in self._kept.values():
            settle(kept)

    def rest(self) -> bool:
        """While idle: check one unchecked number of steps. Returns whether more are left to check."""
        left = [n for n, kept in self._kept.items() if n not in self._checked and kept.planes is not None]
        if self.why_off or not left:
            return False
        self._check(self._kept[left[0]])
        return len(left) > 1 and not self.why_off

    def _check(self, kept: Kept) -> None:
        """Compute a synthetic edit partially and whole, compare them, and restore the cache."""
        before = [{name: value.clone() for name, value in step.items()} for step in kept.layers]
        if kept.planes is None:
            return
        planes, given = kept.planes.copy(), kept.given
        height, width = planes.shape[1:]
        y, x = ((side - CHECK_PX) // 2 for side in (height, width))
        planes[:, y : y + CHECK_PX, x : x + CHECK_PX] ^= 255
        whole = Boxes.whole(height, width)
        boxes = whole.reached(Box(y, y + CHECK_PX, x, x + CHECK_PX), self.body, len(kept.layers))
        self._compute_both(kept, Plan(planes, given, boxes, 0.0))
        for step, old in zip(kept.layers, before, strict=True):
            for name, value in old.items():
                step[name] = value

    def _compute_both(self, kept: Kept, plan: Plan, lap: Lap = no_lap) -> bool:
        """Compute a frame partially and then whole; if a bit differs, disable partial frames."""
        steps = len(kept.layers)
        self._checked.add(steps)
        self._compute(kept, plan)
        part = [{name: value.clone() for name, value in step.items()} for step in kept.layers]
        whole = (Boxes.whole(*plan.planes.shape[1:]),) * steps
        finite = self._compute(kept, Plan(plan.planes, plan.given, whole, 1.0), lap)
        for a, b in zip(part, kept.layers, strict=True):
            if not all(torch.equal(a[name], value) for name, value in b.items()):
                self.why_off = DIFFERS
        return finite

    def _compute(self, kept: Kept, plan: Plan, lap: Lap = no_lap) -> bool:
        """Update the cache inside the boxes. Returns whether the picture is finite there."""
        (noise, strength, biases), steps = plan.given, len(kept.layers)
        whole = Boxes.whole(*plan.planes.shape[1:])
        if plan.boxes[0] == whole:
            for step in kept.layers:
                step.clear()  # free the memory before the same amount is allocated
        else:
            settle(kept)
        times = uniform_times(steps)
        finite = True
        for index, boxes in enumerate(plan.boxes):
            step = Step(self.body, kept.layers[index], kept.layers[0], boxes, whole)
            if index == 0:
                step.start(torch.from_numpy(plan.planes), noise, strength, keep_paint=steps > 1)
            lap("start")
            made = step.denoise(biases[index], times[index], lap)
            if index + 1 < steps:
                step.go_on(made, kept.layers[index + 1], times[index + 1] / times[index])
            else:
                finite = step.finish(made)
            lap("decode")
        return finite


def settle(kept: Kept) -> None:
    """Move cached layers from the heap to separate memory, where partial frames update them in place."""
    for layers, places in zip(kept.layers, kept.places, strict=True):
        for name, value in layers.items():
            place = places.get(name)
            if place is value:
                continue
            if place is None or place.shape != value.shape or place.dtype != value.dtype:
                dense = value if value.dim() == 3 else value.contiguous(memory_format=torch.channels_last)
                place = places[name] = allocator.apart(dense)
            layers[name] = place.copy_(value)


@dataclass(eq=False)
class Step:
    """One evaluation of the network inside boxes.

    layers: cache of this step. first: cache of step 0, which also holds what all steps share.
    """

    body: PackedNetwork
    layers: dict[str, Tensor]
    first: dict[str, Tensor]
    boxes: Boxes
    whole: Boxes

    def start(self, planes: Tensor, noise: Tensor, strength: float, *, keep_paint: bool) -> None:
        """Compute the paper's part of the stem, the sketch, and the residual at t=1."""
        body, fine = self.body, self.boxes.fine
        around = self.means_around(planes)
        self.paint: Tensor | None = body.paint_stem(around.to(body.dtype))
        around[:, 3:].mul_(1 - strength)
        spread = body.spread(around)
        self.keep("sketch", spread[:, : patches.COLORS], fine, self.whole.fine)
        self.keep("residual", body.start(fine.of(noise), spread), fine, self.whole.fine)
        if keep_paint:
            self.keep("paint", self.paint, fine, self.whole.fine)

    def denoise(self, biases: Tensor, t: float, lap: Lap) -> Tensor:
        """Predict the residual of the picture inside `fine_out`, float32."""
        body, whole = self.body, self.whole
        fine, middle, coarse, middle_out, fine_out = self.boxes
        bias = iter(biases.split(body.widths))
        paint = fine.of(self.first["paint"]) if "paint" in self.first else self.paint
        x = body.stem(body.pack(fine.of(self.layers["residual"]), t), next(bias), skip=paint, relu=True)
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
        return body.unpack((ends[0], ends[1]), fine_out.of(self.layers["residual"]), t)

    def go_on(self, made: Tensor, following: dict[str, Tensor], ratio: float) -> None:
        """Take an Euler step to the next step's residual, which changes only inside `fine_out`."""
        box = self.boxes.fine_out
        residual = torch.lerp(made, box.of(self.layers["residual"]), ratio)
        keep(following, "residual", residual, box, self.whole.fine)

    def finish(self, made: Tensor) -> bool:
        """Compute the picture inside `fine_out`; returns whether it is finite there."""
        box = self.boxes.fine_out
        pixels = self.body.picture(made, box.of(self.first["sketch"]))
        self.keep("picture", pixels, box.finer(CELL_PX), self.whole.fine.finer(CELL_PX))
        return bool(made.sum().isfinite())

    def means_around(self, planes: Tensor) -> Tensor:
        """Cell means of the paper in the fine box and one more cell on each side, (1, 4, h + 2, w + 2)."""
        box = self.boxes.fine
        near = box.grown(1, self.whole.fine)
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
        """3x3 convolution over the box; reads one cell more on each side and crops the result to the box.

        down: the source has the finer scale and is average-pooled first, and there is no skip.
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
        return keep(self.layers, name, part, box, whole)


def keep(layers: dict[str, Tensor], name: str, part: Tensor, box: Box, whole: Box) -> Tensor:
    """Write a region into the cached layer of this name; returns the whole layer."""
    if box == whole:
        layers[name] = part
    else:
        layers[name][..., box.y0 : box.y1, box.x0 : box.x1] = part
    return layers[name]
