"""What every family of pretrained models has in common: where an edit starts, how it is predicted."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.lab.path import Grid
from models.pretrained.coder import Coder
from models.pretrained.prompts import Condition


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
        self.network = self.denoiser()
        self.dtype = next(self.network.parameters()).dtype
        self.device = torch.device(pipe._execution_device)
        self.ready(whole)

    @property
    def guided(self) -> bool:
        return self.guidance > 1

    def ready(self, whole: bool) -> None:
        """Take the weights as they are now: called once, and when adapters have changed them."""

    def usual_sampler(self) -> str:
        """The sampler that its scheduler's configuration stands for."""
        return "flow-euler"

    def denoiser(self) -> nn.Module:
        return self.pipe.transformer

    def channels(self) -> int:
        return self.network.config.in_channels

    def encode(self, text: str) -> Condition:
        raise NotImplementedError

    def grid(self, sampler: str, steps: int, strength: float, size: Size) -> Grid:
        raise NotImplementedError

    def see(self, paper: Tensor) -> None:
        """Look at a frame's paper, (H, W, 4) uint8, before it is encoded."""

    def start(self, latent: Tensor, noise: Tensor, alpha: Tensor, grid: Grid) -> Tensor:
        """The first x of an edit: under opaque paint the path's mix of sketch and noise, on blank paper pure
        noise.

        latent, noise: (1, C, h, w); alpha: (1, 1, H, W) in 0..1, coarsened here to the latent's places.
        """
        share = F.adaptive_avg_pool2d(alpha.float(), latent.shape[2:])
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
        velocity = self.asked(x, t, condition.tensors)
        if self.guided:
            plain = self.asked(x, t, condition.negative)
            velocity = plain + self.guidance * (velocity - plain)
        return x - t * velocity

    def asked(self, x: Tensor, t: float, told: dict[str, Tensor]) -> Tensor:
        """The network's velocity (float32) for x (1, C, h, w) at time t."""
        raise NotImplementedError

    def moment(self, value: float) -> Tensor:
        return torch.tensor([value], device=self.device, dtype=torch.float32)

    def of_prompt(self, text: str, encode: Callable[[str], dict[str, Tensor]], cut: str) -> Condition:
        return Condition(encode(text), cut, encode("") if self.guided else None)
