"""Z-Image: a rectified flow on one stream of picture and words (Tongyi-MAI, 2025)."""

from __future__ import annotations

from torch import Tensor

from models.lab.path import Grid
from models.pretrained.family import Size
from models.pretrained.modulated import Modulated
from models.pretrained.prompts import Condition
from models.pretrained.schedule import flow_grid, shift_of

TOKENS = 512


class ZImageFamily(Modulated):
    def encode(self, text: str) -> Condition:
        return self.of_prompt(text, self._told, "")

    def _told(self, text: str) -> dict[str, Tensor]:
        states, _ = self.pipe.encode_prompt(
            text, self.device, do_classifier_free_guidance=False, max_sequence_length=TOKENS
        )
        return {"words": states[0].to(self.dtype)}

    def grid(self, sampler: str, steps: int, strength: float, size: Size) -> Grid:
        side = 2 * self.latent_px
        tokens = (size.height // side) * (size.width // side)
        return flow_grid(steps, strength, shift_of(self.pipe.scheduler.config, tokens))

    def told_time(self, t: float) -> float:
        """Its time runs the other way."""
        return 1 - t

    def embedding(self, moment: Tensor, **told: Tensor) -> Tensor:
        return self.network.t_embedder(moment * self.network.t_scale).to(self.dtype)

    def velocity(self, x: Tensor, moment: Tensor, words: Tensor) -> Tensor:
        """The network's points from noise to picture."""
        pictures = [x[0].to(self.dtype)[:, None]]  # (C, frames, h, w)
        return -self.network(pictures, moment, [words], return_dict=False)[0][0].float()[None, :, 0]
