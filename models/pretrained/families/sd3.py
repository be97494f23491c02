"""Stable Diffusion 3 and 3.5: a rectified flow on a two-stream transformer.

Esser et al. 2024, arXiv 2403.03206.
"""

from __future__ import annotations

from torch import Tensor

from models.pretrained.components.prompt_cache import Condition, cut_words
from models.pretrained.components.schedule import flow_grid, shift_of
from models.pretrained.families.base import Size
from models.pretrained.families.modulation_cache import Modulated
from models.sampling.paths import Grid

TOKENS = 256  # for the T5 encoder, the default of `diffusers`


class SD3Family(Modulated):
    def ready(self, whole: bool) -> None:
        self.timesteps = self.pipe.scheduler.config.num_train_timesteps
        super().ready(whole)

    def encode(self, text: str) -> Condition:
        long = self.pipe.tokenizer_3 if self.pipe.text_encoder_3 is not None else None
        cut = cut_words(long, text, TOKENS) if long else self._cut_by_clip(text)
        return self.of_prompt(text, self._told, cut)

    def _cut_by_clip(self, text: str) -> str:
        return cut_words(self.pipe.tokenizer, text, self.pipe.tokenizer.model_max_length)

    def _told(self, text: str) -> dict[str, Tensor]:
        states, _, pooled, _ = self.pipe.encode_prompt(
            text,
            None,
            None,
            device=self.device,
            do_classifier_free_guidance=False,
            max_sequence_length=TOKENS,
        )
        return {
            "encoder_hidden_states": states.to(self.dtype),
            "pooled_projections": pooled.to(self.dtype),
        }

    def grid(self, sampler: str, steps: int, strength: float, size: Size) -> Grid:
        side = self.latent_px * self.network.config.patch_size
        tokens = (size.height // side) * (size.width // side)
        config = self.pipe.scheduler.config
        shift = shift_of(config, tokens)
        # the pipeline uses the scheduler's sigmas; the last one is that of the first timestep, to which a
        # fixed shift is applied twice
        last = 1 / config.num_train_timesteps
        if not config.get("use_dynamic_shifting"):
            last = shift(last)
        return flow_grid(sampler, steps, strength, shift, last=last)

    def told_time(self, t: float) -> float:
        return t * self.timesteps

    def embedding(self, moment: Tensor, **told: Tensor) -> Tensor:
        return self.network.time_text_embed(moment, told["pooled_projections"])

    def velocity(self, x: Tensor, moment: Tensor, **told: Tensor) -> Tensor:
        return self.network(x.to(self.dtype), timestep=moment, return_dict=False, **told)[0].float()
