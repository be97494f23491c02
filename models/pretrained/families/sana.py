"""SANA-Sprint: consistency-distilled on a circular path, with a 32-fold autoencoder.

Chen et al. 2025, arXiv 2503.09641.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

from torch import Tensor

from models.pretrained.components.prompt_cache import Condition, cut_words
from models.pretrained.components.schedule import LEAST_STRENGTH
from models.pretrained.families.base import Size
from models.pretrained.families.modulation_cache import Modulated
from models.pretrained.fusion import precompute
from models.sampling.paths import Grid, VariancePreserving

TOKENS = 300
QUARTER, MIDDLE = 1.57080, 1.3  # times of the first and of the second of two steps, as distilled


class Circle(VariancePreserving):
    """Circular path: a = cos t, b = sin t (Lu and Song 2024, "TrigFlow", arXiv 2410.11081)."""

    name, start = "circle", QUARTER

    def scale(self, t: float) -> tuple[float, float]:
        return math.cos(t), math.sin(t)

    def time(self, sigma: float) -> float:
        return math.atan(sigma)


class SanaFamily(Modulated):
    kind = "consistency model"
    latent_px = 32

    def usual_sampler(self) -> str:
        return "lcm"

    def ready(self, whole: bool) -> None:
        default = inspect.signature(type(self.pipe).__call__).parameters["complex_human_instruction"].default
        self.instruction = list(default) if default else None
        super().ready(whole)

    @property
    def guided(self) -> bool:
        """Always False: guidance is an input of the network."""
        return False

    def encode(self, text: str) -> Condition:
        return self.of_prompt(text, self._told, cut_words(self.pipe.tokenizer, text, TOKENS))

    def _told(self, text: str) -> dict[str, Tensor]:
        states, mask = self.pipe.encode_prompt(
            text,
            device=self.device,
            max_sequence_length=TOKENS,
            complex_human_instruction=self.instruction,
        )
        scale = self.network.config.guidance_embeds_scale
        return {
            "encoder_hidden_states": states.to(self.dtype),
            "encoder_attention_mask": mask,
            "guidance": self.moment(self.guidance * scale).to(self.dtype),
        }

    def grid(self, sampler: str, steps: int, strength: float, size: Size) -> Grid:
        strength = max(strength, LEAST_STRENGTH)
        shares = [QUARTER * k / steps for k in range(steps, 0, -1)]
        if steps == 2:
            shares[1] = MIDDLE
        return Grid(Circle(), (*(strength * share for share in shares), 0.0))

    def noise_share(self, keep: Tensor) -> Tensor:
        return (1 - keep * keep).sqrt()

    def readers(self) -> list[Any]:
        return [self.network.caption_projection, self.network.caption_norm]

    def prepare(self, condition: Condition, times: tuple[float, ...], size: Size) -> None:
        """Also compute the prompt's keys and values; their addresses stay, so graphs remain valid."""
        super().prepare(condition, times, size)
        for known in self.known.values():
            for block in self.network.transformer_blocks:
                if "fused" in vars(block):
                    made = precompute.prompt_keys_values(block.attn2, known[self.words])
                    self.version += precompute.keep(block.fused, "prompt", [made])

    def told_time(self, t: float) -> float:
        """Time on a straight path, which the network uses, with the same sigma as t on the circle."""
        a, b = math.cos(t), math.sin(t)
        return b / (a + b)

    def predict(self, x: Tensor, t: float, grid: Grid, condition: Condition) -> Tensor:
        a, b = math.cos(t), math.sin(t)
        time = self.told_time(t)
        scale = math.sqrt(time**2 + (1 - time) ** 2)
        straight = x * scale
        out = self.asked(straight, t, condition.tensors)
        velocity = ((1 - 2 * time) * straight + (1 - 2 * time + 2 * time**2) * out) / scale
        return a * x - b * velocity

    def embedding(self, moment: Tensor, **told: Tensor) -> tuple[Tensor, ...]:
        embed = self.network.time_embed
        made = embed(moment, guidance=told["guidance"], hidden_dtype=self.dtype)
        return *made, self.network.scale_shift_table

    def velocity(self, x: Tensor, moment: Tensor, **told: Tensor) -> Tensor:
        return self.network(x.to(self.dtype), timestep=moment, return_dict=False, **told)[0].float()
