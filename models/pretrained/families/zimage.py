"""Z-Image: a rectified flow with a single stream of picture and text tokens (Tongyi-MAI, 2025)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from models.pretrained.components.prompt_cache import Condition, cut_message
from models.pretrained.components.schedule import flow_grid, shift_of
from models.pretrained.families.base import Size
from models.pretrained.families.modulation_cache import Modulated
from models.sampling.paths import Grid

TOKENS = 512
WHOLE = 32  # the network pads tokens to a multiple of this


class ZImageFamily(Modulated):
    words = "words"

    def readers(self) -> list[Any]:
        return [self.network.cap_embedder, *self.network.context_refiner]

    def read_words(self, words: Tensor) -> Tensor:
        """Prompt embedding padded to a multiple of 32 tokens and refined, as the network does first."""
        network, count = self.network, len(words)
        places = (count + -count % WHOLE, 1, 1), (1, 0, 0)
        padded, ids, beyond, *_ = network._pad_with_ids(words, *places, words.device)
        first, *refiners = self.readers()
        padding = network.cap_pad_token
        made, turns, mask, *_ = network._prepare_sequence([first(padded)], [ids], [beyond], padding)
        for layer in refiners:
            made = layer(made, mask, turns)
        return made[0]

    def encode(self, text: str) -> Condition:
        return self.of_prompt(text, self._told, cut_message(self.pipe.tokenizer, text, TOKENS))

    def _told(self, text: str) -> dict[str, Tensor]:
        states, _ = self.pipe.encode_prompt(
            text, self.device, do_classifier_free_guidance=False, max_sequence_length=TOKENS
        )
        return {"words": states[0].to(self.dtype)}

    def grid(self, sampler: str, steps: int, strength: float, size: Size) -> Grid:
        side = 2 * self.latent_px
        tokens = (size.height // side) * (size.width // side)
        return flow_grid(sampler, steps, strength, shift_of(self.pipe.scheduler.config, tokens))

    def told_time(self, t: float) -> float:
        """Network time, which runs in the opposite direction: 1 - t."""
        return 1 - t

    def embedding(self, moment: Tensor, **told: Tensor) -> Tensor:
        return self.network.t_embedder(moment * self.network.t_scale).to(self.dtype)

    def velocity(self, x: Tensor, moment: Tensor, words: Tensor) -> Tensor:
        """Velocity, with flipped sign: the network's output points from noise to picture."""
        pictures = [x[0].to(self.dtype)[:, None]]  # (C, frames, h, w)
        return -self.network(pictures, moment, [words], return_dict=False)[0][0].float()[None, :, 0]
