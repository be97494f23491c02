"""FLUX.1: a rectified flow on a sequence of 2x2 patches of the latent (Black Forest Labs, 2024)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from models.pretrained.components.autoencoder import fold, unfold
from models.pretrained.components.prompt_cache import Condition, cut_words
from models.pretrained.components.schedule import flow_grid, shift_of
from models.pretrained.families.base import Size
from models.pretrained.families.modulation_cache import Modulated
from models.sampling.paths import Grid

TOKENS = 256  # of the prompt: schnell was distilled with 256; dev takes 512


class FluxFamily(Modulated):
    cell_px, axes = 16, 3  # pixels per side of a token; axes of its position

    def channels(self) -> int:
        return self.network.config.in_channels // 4

    def encode(self, text: str) -> Condition:
        return self.of_prompt(text, self._told, cut_words(self.pipe.tokenizer_2, text, self.tokens()))

    def tokens(self) -> int:
        return 512 if self.heeds_guidance else TOKENS

    def _told(self, text: str) -> dict[str, Tensor]:
        states, pooled, ids = self.pipe.encode_prompt(
            text, None, device=self.device, max_sequence_length=self.tokens()
        )
        told = {
            "encoder_hidden_states": states.to(self.dtype),
            "pooled_projections": pooled.to(self.dtype),
            "txt_ids": ids,
        }
        if self.heeds_guidance:
            told["guidance"] = self.moment(self.guidance)
        return told

    @property
    def guided(self) -> bool:
        """Always False: guidance is an input of the network, not a second call."""
        return False

    @property
    def heeds_guidance(self) -> bool:
        return self.network.config.guidance_embeds

    def grid(self, sampler: str, steps: int, strength: float, size: Size) -> Grid:
        tokens = (size.height // self.cell_px) * (size.width // self.cell_px)
        return flow_grid(sampler, steps, strength, shift_of(self.pipe.scheduler.config, tokens))

    def embedding(self, moment: Tensor, **told: Tensor) -> Tensor:
        scaled = [moment.to(self.dtype) * 1000]
        if "guidance" in told:
            scaled.append(told["guidance"].to(self.dtype) * 1000)
        return self.network.time_text_embed(*scaled, told["pooled_projections"])

    def turner(self) -> Any:
        return self.network.pos_embed

    def read_places(self, told: dict[str, Tensor], size: Size) -> dict[str, Tensor]:
        side = self.cell_px
        ids = {"img_ids": self.places(size.height // side, size.width // side), "txt_ids": told["txt_ids"]}
        return {name: torch.cat(self.turner()(places.flatten(0, -2)), 1) for name, places in ids.items()}

    def velocity(self, x: Tensor, moment: Tensor, **told: Tensor) -> Tensor:
        cells = fold(x)
        height, width = cells.shape[2:]
        if "img_ids" not in told:
            told["img_ids"] = self.places(height, width)
        out = self.network(
            cells.flatten(2).transpose(1, 2).to(self.dtype),
            timestep=moment,
            return_dict=False,
            **told,
        )[0]
        return unfold(out.float().transpose(1, 2).unflatten(2, (height, width)))

    def places(self, height: int, width: int) -> Tensor:
        """Token positions (height * width, axes): row and column on axes 1 and 2, zero on the others."""
        ids = torch.zeros(height, width, self.axes, dtype=torch.float32, device=self.device)
        ids[..., 1] = torch.arange(height, device=self.device)[:, None]
        ids[..., 2] = torch.arange(width, device=self.device)[None]
        return ids.flatten(0, 1)
