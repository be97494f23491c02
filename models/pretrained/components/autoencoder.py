"""Encode pictures to latents and decode them: one interface for full and tiny autoencoders."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from models.pretrained.fusion import patching


class Coder:
    """Autoencoder of a pretrained model.

    vae: AutoencoderKL, AutoencoderTiny, AutoencoderDC or AutoencoderKLFlux2 of `diffusers`. Latents are
    scaled as the denoiser expects them; a full encoder returns the mean of its distribution.
    """

    def __init__(self, vae: Any, *, fuse: bool = True):
        self.vae, config = vae, vae.config
        self.kind = type(vae).__name__
        self.dtype = next(vae.parameters()).dtype
        self.scaling = 1.0 if self.kind == "AutoencoderTiny" else config.get("scaling_factor", None) or 1.0
        self.shift = 0.0 if self.kind == "AutoencoderTiny" else config.get("shift_factor", None) or 0.0
        if fuse:
            patching.install_fused_passes(vae)

    def encode(self, image: Tensor) -> Tensor:
        """(1, 3, H, W) in [-1, 1] -> (1, C, h, w) float32."""
        made = self.vae.encode(image.to(self.dtype))
        latent = made.latent_dist.mode() if hasattr(made, "latent_dist") else latent_of(made)
        latent = latent.float()
        if self.kind == "AutoencoderKLFlux2":
            return (fold(latent) - self.mean()) / self.deviation()
        return (latent - self.shift) * self.scaling

    def decode(self, latent: Tensor) -> Tensor:
        """(1, C, h, w) -> (1, 3, H, W), approximately in [-1, 1]."""
        if self.kind == "AutoencoderKLFlux2":
            latent = unfold(latent * self.deviation() + self.mean())
        else:
            latent = latent / self.scaling + self.shift
        return self.vae.decode(latent.to(self.dtype)).sample

    def mean(self) -> Tensor:
        return self.vae.bn.running_mean.view(1, -1, 1, 1).float()

    def deviation(self) -> Tensor:
        return torch.sqrt(self.vae.bn.running_var.view(1, -1, 1, 1).float() + self.vae.config.batch_norm_eps)


def latent_of(made) -> Tensor:
    return made.latents if hasattr(made, "latents") else made.latent


def fold(x: Tensor) -> Tensor:
    """Pixel unshuffle, (B, C, 2 h, 2 w) -> (B, 4 C, h, w): the positions of a 2x2 cell become channels.

    The output channels are grouped by input channel.
    """
    return nn.functional.pixel_unshuffle(x, 2)


def unfold(x: Tensor) -> Tensor:
    return nn.functional.pixel_shuffle(x, 2)
