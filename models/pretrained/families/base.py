"""Base class of the pretrained model families: start of an edit, and prediction of its steps."""

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
    """Size of a picture in pixels."""

    height: int
    width: int


class Family:
    """A denoiser with its text encoders. Subclasses define how it is called.

    pipe: the `diffusers` pipeline that holds the components; only its methods that encode a prompt are used.
    guidance: scale of classifier-free guidance, 0 or 1 for none.
    """

    kind = "flow"
    latent_px = 8  # pixels per latent position, in each direction

    def __init__(self, pipe, coder: Coder, guidance: float, *, whole: bool = True):
        """whole: whether the denoiser is on the device unmodified, so that its blocks may be fused."""
        self.pipe, self.coder, self.guidance, self.whole = pipe, coder, guidance, whole
        self.network: Any = self.denoiser()
        weights = self.network.parameters()
        self.dtype = next(w.dtype for w in weights if w.is_floating_point())  # skips quantized weights
        self.device = torch.device(pipe._execution_device)
        self.version = 0  # a graph captured at an older version reads tensors that are gone
        self.graphed: GraphedParts | None = None
        self.ready(whole)

    # Parts of a frame: pure functions of tensors on the device, so that each can be captured as a graph

    def encoded(self, paper: Tensor) -> Tensor:
        """Encode paper, (H, W, 4) uint8, to (1, C + 1, h, w): latent and painted share of each position."""
        none = torch.zeros((), dtype=torch.float32, device=paper.device).expand(1, 3, *paper.shape[:2])
        planes = paper_in(paper, 0.0, noise=none, dtype=self.coder.dtype)
        latent = self.coder.encode(planes.sketch)
        share = F.adaptive_avg_pool2d(planes.alpha.float(), (latent.shape[2], latent.shape[3]))
        return torch.cat((latent, share), 1)

    def forward(self, *args: Any, **inputs: Any) -> Tensor:
        """One evaluation of the denoiser, float32."""
        raise NotImplementedError

    def decoded(self, latent: Tensor) -> Tensor:
        """Decode a latent to (3 H W + 1,) uint8: the picture, and 1 if the latent is finite."""
        finite = latent.isfinite().all()
        return torch.cat((picture_out(self.coder.decode(latent)).flatten(), finite.to(torch.uint8)[None]))

    def run(self, part: str, **inputs: Tensor) -> Tensor:
        """Run a part, by its graph if there is one. The next run of the part overwrites the result."""
        if self.graphed is None:
            return getattr(self, part)(**inputs)
        return self.graphed.run(part, self.version, inputs)

    @property
    def guided(self) -> bool:
        return self.guidance > 1

    @property
    def heeds_guidance(self) -> bool:
        """Whether guidance has an effect on this model."""
        return True

    def ready(self, whole: bool) -> None:
        """Prepare for the current weights; called once, and again when adapters have changed them."""

    def mismatch(self) -> str:
        """Why the configurations of the components do not fit one model; empty if they do."""
        return ""

    def usual_sampler(self) -> str:
        """Name of the sampler that matches the scheduler's configuration."""
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
        """Receive a frame's paper, (H, W, 4) uint8, before it is encoded."""

    def start(self, latent: Tensor, noise: Tensor, share: Tensor, grid: Grid) -> Tensor:
        """First x of an edit: a mix of sketch and noise under opaque paint, pure noise on blank paper.

        The mix is that of the path. latent, noise: (1, C, h, w); share: (1, 1, h, w), the painted share of
        each position.
        """
        a, _ = grid.scale(0)
        keep = a * share
        return keep * latent + self.noise_share(keep) * noise

    def noise_share(self, keep: Tensor) -> Tensor:
        """Weight of the noise for a weight `keep` of the picture: 1 - keep, on a straight path."""
        return 1 - keep

    def prepare(self, condition: Condition, times: tuple[float, ...], size: Size) -> None:
        """Precompute what depends only on prompt and times. Called when one of them has changed."""

    def predict(self, x: Tensor, t: float, grid: Grid, condition: Condition) -> Tensor:
        """Predict the picture's latent from x at time t; float32, the shape of x."""
        if not self.guided:
            return x - t * self.asked(x, t, condition.tensors)
        plain = self.asked(x, t, condition.unprompted).clone()  # the next call overwrites it
        return x - t * (plain + self.guidance * (self.asked(x, t, condition.tensors) - plain))

    def asked(self, x: Tensor, t: float, told: dict[str, Tensor]) -> Tensor:
        """Velocity (float32) that the network predicts for x (1, C, h, w) at time t."""
        raise NotImplementedError

    def moment(self, value: float) -> Tensor:
        return torch.full(
            (1,), value, dtype=torch.float32, device=self.device
        )  # a fill: no copy from the host

    def of_prompt(self, text: str, encode: Callable[[str], dict[str, Tensor]], cut: str) -> Condition:
        for hook in getattr(self.pipe, "_all_hooks", ()):
            hook.offload()  # frees the denoiser's memory for the encoder
        return Condition(encode(text), cut, encode("") if self.guided else None)
