"""ControlNet that guides a Stable Diffusion UNet by the ink lines of the sketch.

Zhang et al. 2023, arXiv 2302.05543.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CONTRAST = 24  # of 255: a smaller difference of colour is no line


def ink_lines(paper: Tensor) -> Tensor:
    """(H, W, 4) uint8 paper -> (1, 3, H, W) float in {0, 1}: white where colour or paint changes."""
    alpha = paper[..., 3:].float() / 255
    planes = torch.cat((paper[..., :3].float() * alpha, 255 * alpha), 2)
    lines = torch.zeros(planes.shape[:2], dtype=torch.bool, device=paper.device)
    lines[1:] |= (planes[1:] - planes[:-1]).abs().amax(2) > CONTRAST
    lines[:, 1:] |= (planes[:, 1:] - planes[:, :-1]).abs().amax(2) > CONTRAST
    return lines.float().expand(1, 3, *lines.shape)


class Control:
    """Compute the additional UNet arguments of a ControlNet for a sample and a time.

    network: ControlNetModel of `diffusers`.
    """

    def __init__(self, network: nn.Module, scale: float = 1.0):
        self.network, self.scale = network, scale
        self.dtype = next(network.parameters()).dtype
        self.hint: Tensor | None = None

    def see(self, paper: Tensor) -> None:
        self.hint = ink_lines(paper).to(self.dtype)

    def __call__(self, sample: Tensor, t: Tensor, hint: Tensor, given: dict) -> dict:
        """given: the UNet's arguments beside sample and time."""
        hint = hint.expand(len(sample), -1, -1, -1)
        down, middle = self.network(sample, t, controlnet_cond=hint, conditioning_scale=self.scale, **given)
        return {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
