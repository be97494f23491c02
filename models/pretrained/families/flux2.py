"""FLUX.2 klein: a rectified flow on normalized latent patches, with a language model as text encoder.

The `diffusers` pipeline starts from pure noise and takes a picture as a reference. Here an edit starts from
the mix of latent and noise, as in the other families, with a third of the tokens.
"""

from __future__ import annotations

import math

from torch import Tensor

from models.pretrained.components.prompt_cache import Condition, cut_message
from models.pretrained.components.schedule import flow_grid, shift_of
from models.pretrained.families.base import Size
from models.pretrained.families.flux import FluxFamily
from models.sampling.paths import Grid

TOKENS = 512
# exponent of the shift = slope * picture tokens + offset, at 10 and 200 steps (Black Forest Labs, flux2)
SLOPE_10, AT_10 = 8.73809524e-05, 1.89833333
SLOPE_200, AT_200 = 0.00016927, 0.45666666
LARGE = 4300  # tokens above which the number of steps has no effect


class Flux2Family(FluxFamily):
    latent_px, axes = 16, 4

    def channels(self) -> int:
        return self.network.config.in_channels

    def encode(self, text: str) -> Condition:
        return self.of_prompt(text, self._told, cut_message(self.pipe.tokenizer, text, TOKENS))

    @property
    def heeds_guidance(self) -> bool:
        return False

    def _told(self, text: str) -> dict[str, Tensor]:
        states, ids = self.pipe.encode_prompt(text, device=self.device, max_sequence_length=TOKENS)
        return {"encoder_hidden_states": states.to(self.dtype), "txt_ids": ids}

    def grid(self, sampler: str, steps: int, strength: float, size: Size) -> Grid:
        tokens = (size.height // self.latent_px) * (size.width // self.latent_px)
        config = {**self.pipe.scheduler.config}
        return flow_grid(sampler, steps, strength, shift_of(config, tokens, exponent(tokens, steps)))

    def embedding(self, moment: Tensor, **told: Tensor) -> Tensor:
        return self.network.time_guidance_embed(moment.to(self.dtype) * 1000, None)

    def velocity(self, x: Tensor, moment: Tensor, **told: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if "img_ids" not in told:
            told["img_ids"] = self.places(height, width)
        out = self.network(
            x.flatten(2).transpose(1, 2).to(self.dtype),
            timestep=moment,
            guidance=None,
            return_dict=False,
            **told,
        )[0]
        return out.float().transpose(1, 2).unflatten(2, (height, width))


def exponent(tokens: int, steps: int) -> float:
    """Exponent of the timestep shift, linear in tokens and in steps (Black Forest Labs, flux2)."""
    many = SLOPE_200 * tokens + AT_200
    if tokens > LARGE:
        return many
    few = SLOPE_10 * tokens + AT_10
    return math.fsum((many, (many - few) / 190 * (steps - 200)))
