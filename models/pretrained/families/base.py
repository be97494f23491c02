"""What every family of pretrained models has in common: where an edit starts, how it is predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kernels.ops.paper import paper_in
from kernels.ops.picture import picture_out
from models.device.graph_frames import GraphedParts
from models.pretrained.components.autoencoder import Coder
from models.pretrained.components.prompt_cache import Condition
from models.sampling.paths import Grid


class Size(NamedTuple):
    """Of a picture, in pixels."""

    height: int
    width: int


class Family:
    """One denoiser with its text encoders. Subclasses say how it is asked.

    pipe: the pipeline of `diffusers` that holds the components; of its methods only those that encode a
    prompt are used. guidance: classifier-free, 0 or 1 for none.
    """

    kind = "flow"
    latent_px = 8  # pixels a latent position covers, in each direction

    def __init__(self, pipe, coder: Coder, guidance: float, *, whole: bool = True):
        """whole: the denoiser is on the device as it is, and its blocks may be fused."""
        self.pipe, self.coder, self.guidance, self.whole = pipe, coder, guidance, whole
        self.network: Any = self.denoiser()
        weights = self.network.parameters()
        self.dtype = next(w.dtype for w in weights if w.is_floating_point())  # no quantized one's
        self.device = torch.device(pipe._execution_device)
        self.version = 0  # a captured graph of an older one has read what is no longer there
        self.graphed: GraphedParts | None = None
        self.ready(whole)

    # The parts of a frame: pure functions of tensors on the device, so that each can be a graph

    def encoded(self, paper: Tensor) -> Tensor:
        """(H, W, 4) uint8 paper -> (1, C + 1, h, w): its latent, and how much of each place is painted."""
        none = torch.zeros((), dtype=torch.float32, device=paper.device).expand(1, 3, *paper.shape[:2])
        planes = paper_in(paper, 0.0, noise=none, dtype=self.coder.dtype)
        latent = self.coder.encode(planes.sketch)
        share = F.adaptive_avg_pool2d(planes.alpha.float(), (latent.shape[2], latent.shape[3]))
        return torch.cat((latent, share), 1)

    def forward(self, *args: Any, **inputs: Any) -> Tensor:
        """One evaluation of the denoiser, float32."""
        raise NotImplementedError

    def decoded(self, latent: Tensor) -> Tensor:
        """(3 H W + 1,) uint8: the picture, and whether its latent is finite."""
        finite = latent.isfinite().all()
        return torch.cat((picture_out(self.coder.decode(latent)).flatten(), finite.to(torch.uint8)[None]))

    def run(self, part: str, **inputs: Tensor) -> Tensor:
        """A part by its graph where there is one. The result must be used before the part runs again."""
        if self.graphed is None:
            return getattr(self, part)(**inputs)
        return self.graphed.run(part, self.version, inputs)

    @property
    def guided(self) -> bool:
        return self.guidance > 1

    @property
    def heeds_guidance(self) -> bool:
        """Whether guidance does anything to this model at all."""
        return True

    def ready(self, whole: bool) -> None:
        """Take the weights as they are now: called once, and when adapters have changed them."""

    def mismatch(self) -> str:
        """Why the components cannot belong to one model, by their configurations; empty where they can."""
        return ""

    def usual_sampler(self) -> str:
        """The sampler that its scheduler's configuration stands for."""
        return "flow-euler"

    def denoiser(self) -> Any:
        return self.pipe.transformer

    def channels(self) -> int:
        return self.network.config.in_channels

    def encode(self, text: str) -> Condition:
        raise NotImplementedError

    def grid(self, sampler: str, steps: int, strength: float, size: Size) -> Grid:
        raise NotImplementedError

    def see(self, paper: Tensor) -> None:
        """Look at a frame's paper, (H, W, 4) uint8, before it is encoded."""

    def start(self, latent: Tensor, noise: Tensor, share: Tensor, grid: Grid) -> Tensor:
        """The first x of an edit: under opaque paint the path's mix of sketch and noise, on blank paper pure
        noise.

        latent, noise: (1, C, h, w); share: (1, 1, h, w), how much of each place is painted.
        """
        a, _ = grid.scale(0)
        keep = a * share
        return keep * latent + self.noise_share(keep) * noise

    def noise_share(self, keep: Tensor) -> Tensor:
        """How much noise stands beside so much of the picture: what is left of the straight path."""
        return 1 - keep

    def prepare(self, condition: Condition, times: tuple[float, ...], size: Size) -> None:
        """Make what depends on prompt and times alone. Called when one of them has changed."""

    def predict(self, x: Tensor, t: float, grid: Grid, condition: Condition) -> Tensor:
        """The picture's latent, predicted from x at time t; float32, the shape of x."""
        if not self.guided:
            return x - t * self.asked(x, t, condition.tensors)
        plain = self.asked(x, t, condition.unprompted).clone()  # the next answer takes its place
        return x - t * (plain + self.guidance * (self.asked(x, t, condition.tensors) - plain))

    def asked(self, x: Tensor, t: float, told: dict[str, Tensor]) -> Tensor:
        """The network's velocity (float32) for x (1, C, h, w) at time t."""
        raise NotImplementedError

    def moment(self, value: float) -> Tensor:
        return torch.full(
            (1,), value, dtype=torch.float32, device=self.device
        )  # a fill: nothing is copied from the host

    def of_prompt(self, text: str, encode: Callable[[str], dict[str, Tensor]], cut: str) -> Condition:
        for hook in getattr(self.pipe, "_all_hooks", ()):
            hook.offload()  # so that the encoder comes to where the denoiser has lain, not beside it
        return Condition(encode(text), cut, encode("") if self.guided else None)
