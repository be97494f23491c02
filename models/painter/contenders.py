"""Networks compared in the evaluation, flows and diffusions, behind one interface for all samplers.

A flow does not start from pure noise: z = c + s e, with c = sketch (1 - strength) and s the noise's share of
each pixel. In the variable x_t - t c it is a Gaussian path of data x and noise s e, so the samplers' formulas
hold unchanged; fresh noise must be drawn as s e too. A diffusion starts from pure noise everywhere and uses
the sketch only as a condition.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any

import torch
from torch import Tensor, nn

from assets import ASSETS
from models import checkpoint
from models.api import ModelError
from models.device.layout import channels_last
from models.painter import diffusion, flow
from models.painter.flow import Condition
from models.painter.network import NetworkConfig, PainterNetwork
from models.sampling.paths import Path, path_of
from models.sampling.samplers import sampler_of
from models.sampling.solvers import Callback, Model, never

FILES = {  # contender: (weights file in assets/, path that its training stage writes)
    "diffusion-linear": ("diffusion-linear.safetensors", "diffusion-linear/diffusion-linear.safetensors"),
    "diffusion-cosine": ("diffusion-cosine.safetensors", "diffusion-cosine/diffusion-cosine.safetensors"),
    "teacher": ("teacher.safetensors", "teacher/teacher.safetensors"),
    "reflow": ("reflow.safetensors", "reflow/reflow.safetensors"),
    "painter": ("painter.safetensors", "finish/painter.safetensors"),
}
WHAT = {
    "diffusion-linear": "epsilon diffusion, linear schedule",
    "diffusion-cosine": "epsilon diffusion, cosine schedule",
    "teacher": "rectified flow",
    "reflow": "rectified flow, straightened",
    "painter": "distilled flow, the painter",
}


@dataclass(frozen=True)
class Contender:
    """A network and the path that it was trained on.

    network: a PainterNetwork, or a callable with the same signature. kind: "flow" or "diffusion".
    """

    name: str
    network: Any  # PainterNetwork or Cast
    path: Path

    @property
    def kind(self) -> str:
        return "flow" if self.path.name == "flow" else "diffusion"

    def start(self, condition: Condition, noise: Tensor) -> Tensor:
        """Initial value for a sampler: (B, 3, H, W), on the contender's path at path.start."""
        if self.kind == "diffusion":
            return noise
        return flow.noise_share(condition) * noise

    def model(self, condition: Condition) -> Model:
        """Return a function (x, t, step) -> predicted data, in the samplers' coordinates."""
        if self.kind == "diffusion":
            return lambda x, t, step: diffusion.denoise(self.network, x, condition, t, self.path)
        shift = condition.sketch * flow.column(1 - condition.strength)

        def model(x: Tensor, t: float, step: float) -> Tensor:
            count = len(x)
            times, steps = torch.full((count,), t), torch.full((count,), step)
            return flow.denoise(self.network, x + t * shift, condition, times, steps)

        return model

    def picture(self, data: Tensor, condition: Condition) -> Tensor:
        """Convert a sampler's result to pictures in [-1, 1], not clamped."""
        return diffusion.picture(data, condition) if self.kind == "diffusion" else data

    def noise_of(self, condition: Condition, seed: int) -> Callable[[], Tensor]:
        """Return a function that draws fresh noise for stochastic samplers, reproducible by seed."""
        generator = torch.Generator().manual_seed(seed)
        share = flow.noise_share(condition) if self.kind == "flow" else 1.0

        def draw() -> Tensor:
            return share * torch.randn(condition.sketch.shape, generator=generator)

        return draw

    @torch.no_grad()
    def sample(
        self,
        sampler: str,
        steps: int,
        condition: Condition,
        noise: Tensor,
        *,
        seed: int = 0,
        callback: Callback = never,
    ) -> Tensor:
        """Sample pictures (B, 3, H, W). Raises ModelError for an invalid sampler or number of steps."""
        chosen = sampler_of(sampler, self.kind, steps)
        grid = chosen.grid(self.path, steps)
        draw = self.noise_of(condition, seed)
        data = chosen.run(self.model(condition), self.start(condition, noise), grid, draw, callback)
        return self.picture(data, condition)

    def cast(self, dtype: torch.dtype) -> Contender:
        """Return a copy with its convolutions in `dtype`."""
        return replace(self, network=Cast(self.network, dtype))


class Cast:
    """A PainterNetwork with convolutions in `dtype`; conditions, samplers and pictures stay in float32."""

    def __init__(self, network: PainterNetwork, dtype: torch.dtype):
        self.body = channels_last(deepcopy(network))
        self.dtype = dtype
        for module in self.body.modules():
            if isinstance(module, nn.Conv2d):
                module.to(dtype=dtype)

    def __call__(self, residual: Tensor, condition: Condition, t: Tensor, step: Tensor) -> Tensor:
        biases = self.body.biases(t, step, condition.strength, condition.mood)
        if len(t) == 1:
            biases = [bias[0] for bias in biases]  # a (C,) bias is fused into the convolution
        x = torch.cat((residual, condition.sketch, condition.alpha), 1)
        out = self.body.body(x.to(self.dtype), biases)
        return out.contiguous().float()  # the layout of x: adding mixed layouts takes as long as the network


def listed(words: str) -> list[str]:
    """Split a comma-separated list of names. Raises ModelError for an empty name."""
    parts = [part.strip() for part in words.split(",")]
    if not all(parts):
        raise ModelError(f"{words!r} names nothing at one place; write names with one comma between")
    return parts


def load(name: str, folder: File | None = None) -> Contender:
    """Load a contender by name or from a .safetensors file.

    The weights of a name come from `folder`, the output of `train`, or from assets/. Raises ModelError that
    names what is missing.
    """
    weights, config = checkpoint.load(find(name, folder))
    schedule = config.pop("diffusion", "flow")
    try:
        network = PainterNetwork(NetworkConfig.from_dict(config))
        network.load_state_dict({key: value.float() for key, value in weights.items()})
    except (RuntimeError, TypeError) as error:
        raise ModelError(f"the weights of {name} do not fit: {str(error).splitlines()[0]}") from error
    network = channels_last(network.eval().requires_grad_(False))
    return Contender(File(name).stem if name.endswith(".safetensors") else name, network, path_of(schedule))


def find(name: str, folder: File | None = None) -> File:
    """Find a contender's weights file. Raises ModelError for an unknown name or missing weights."""
    if folder is not None and not folder.is_dir():
        raise ModelError(f"{folder} is no folder: name one that `train` has written")
    if name.endswith(".safetensors"):
        return File(name)
    if name not in FILES:
        raise ModelError(f"no contender is named {name!r}; choose {', '.join(FILES)}, or a .safetensors file")
    shipped, trained = FILES[name]
    places = [folder / trained] if folder else []
    for path in (*places, ASSETS / shipped):
        if path.is_file():
            return path
    stage = "diffusion" if name.startswith("diffusion") else name
    raise ModelError(f"no weights of {name} are here; `python main.py train {stage}` makes them")


def kind_of(name: str, folder: File | None = None) -> str:
    """Return "flow" or "diffusion". Raises ModelError like `find`, and for a file that holds no weights."""
    if name.endswith(".safetensors"):
        return "diffusion" if "diffusion" in checkpoint.load(find(name, folder))[1] else "flow"
    find(name, folder)
    return "diffusion" if name.startswith("diffusion") else "flow"


def load_all(names: list[str], folder: File | None = None) -> tuple[list[Contender], list[str]]:
    """Return (contenders with weights, one message for each without). Raises ModelError for unknown names.

    Names are unique: the second of two files with the same name is prefixed with its folder's name.
    """
    found: dict[str, Contender] = {}
    missing = []
    for name in dict.fromkeys(names):
        if name in FILES:
            try:
                find(name, folder)
            except ModelError as error:
                missing.append(str(error))
                continue
        one = load(name, folder)
        if one.name in found:
            one = replace(one, name=f"{File(name).resolve().parent.name}-{one.name}")
        found[one.name] = one
    return list(found.values()), missing
