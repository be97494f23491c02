"""Every family in float16 and bfloat16 against float32: same weights, noise, prompt and times."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_flows import SAVERS
from small_models import painted, save_sd, save_sdxl

from models.api import Request
from models.pretrained.components.autoencoder import Coder
from models.pretrained.fusion import patching
from models.pretrained.loading import loader
from models.pretrained.pretrained_model import Pretrained

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
FAMILIES = {"sd": partial(save_sd, tiny=True), "sdxl": save_sdxl, **SAVERS}
ROUNDING = {torch.float16: 2**-11, torch.bfloat16: 2**-8}  # half a unit in the last place of 1


def modules(model) -> list[torch.nn.Module]:
    parts = [part for part in model.family.pipe.components.values() if isinstance(part, torch.nn.Module)]
    return [*parts, model.family.coder.vae]


@torch.inference_mode()
def latent_of(model, *, fuse: bool) -> torch.Tensor:
    """Final latent of a frame by the current components, with or without fused passes."""
    for part in modules(model):
        patching.restore(part)
    old = model.family
    family = type(old)(old.pipe, Coder(old.coder.vae, fuse=fuse), old.guidance, whole=fuse)
    seen = []
    decode = family.coder.decode
    family.coder.decode = lambda latent: seen.append(latent) or decode(latent)
    made = Pretrained(family, model.card, model.sampler, graphs=False)
    assert made.render(Request(painted(), steps=2, strength=0.7, seed=3, prompt="a lake")).picture.std() > 1
    return seen[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_fused_half_precision_is_no_further_off_than_the_library_s_own(tmp_path, name):
    """The error is a few roundings, and fused passes have no larger error than the library's code.

    Each dtype represents the weights exactly. FLUX has an error of up to 22 roundings: its pipelines round
    the time to the dtype and then multiply it by 1000.
    """
    model = loader.load(
        str(FAMILIES[name](tmp_path / name)), loader.Options(device="cpu", dtype="float32", fuse=False)
    )
    for part in modules(model):
        for weight in part.parameters():
            weight.data = weight.data.bfloat16().half().float()
            weight.data[weight.data.abs() < 2**-14] = 0  # below float16's normal numbers
    exact = latent_of(model, fuse=False)
    assert torch.allclose(latent_of(model, fuse=True), exact, atol=1e-4 * float(exact.abs().max()))
    for dtype, rounding in ROUNDING.items():
        for part in modules(model):
            patching.restore(part)
            part.to(dtype)
        off = {
            fuse: float((latent_of(model, fuse=fuse) - exact).norm() / exact.norm()) / rounding
            for fuse in (False, True)
        }
        most = 30 if "flux" in name else 5
        assert 0.1 < off[False] < most and 0.1 < off[True] < 1.2 * off[False] + 0.5, (dtype, off)
