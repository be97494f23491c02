"""Fused passes of SD 3.5, FLUX, Z-Image and SANA blocks in small models against their own."""

from collections import Counter

import diffusers
import pytest
import torch
from torch import nn

from models.pretrained import fused_flux, savings, surgery

pytestmark = pytest.mark.slow  # importing diffusers takes seconds


def sd3(**options) -> tuple[nn.Module, dict]:
    model = diffusers.SD3Transformer2DModel(
        sample_size=8,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=16,
        caption_projection_dim=32,
        pooled_projection_dim=24,
        pos_embed_max_size=16,
        **options,
    )
    inputs = {
        "hidden_states": torch.randn(2, 16, 8, 8),
        "encoder_hidden_states": torch.randn(2, 5, 16),
        "pooled_projections": torch.randn(2, 24),
        "timestep": torch.tensor([500, 900]),
    }
    return model, inputs


def flux() -> tuple[nn.Module, dict]:
    model = diffusers.FluxTransformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        pooled_projection_dim=10,
        axes_dims_rope=(4, 6, 6),
    )
    inputs = {
        "hidden_states": torch.randn(1, 9, 16),
        "encoder_hidden_states": torch.randn(1, 5, 12),
        "pooled_projections": torch.randn(1, 10),
        "timestep": torch.tensor([0.5]),
        "img_ids": torch.randint(0, 9, (9, 3)).float(),
        "txt_ids": torch.zeros(5, 3),
    }
    return model, inputs


def flux2() -> tuple[nn.Module, dict]:
    model = diffusers.Flux2Transformer2DModel(
        in_channels=16,
        num_layers=2,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=12,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    inputs = {
        "hidden_states": torch.randn(1, 9, 16),
        "encoder_hidden_states": torch.randn(1, 5, 12),
        "timestep": torch.tensor([0.5]),
        "img_ids": torch.randint(0, 9, (9, 4)).float(),
        "txt_ids": torch.randint(0, 9, (5, 4)).float(),
    }
    return model, inputs


def zimage() -> tuple[nn.Module, dict]:
    model = diffusers.ZImageTransformer2DModel(
        in_channels=4,
        dim=48,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=3,
        n_kv_heads=3,
        cap_feat_dim=20,
        axes_dims=[4, 6, 6],
        axes_lens=[128, 64, 64],
    )
    inputs = {"x": [torch.randn(4, 1, 8, 8)], "t": torch.tensor([0.4]), "cap_feats": [torch.randn(7, 20)]}
    return model, inputs


def sana() -> tuple[nn.Module, dict]:
    model = diffusers.SanaTransformer2DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=12,
        sample_size=8,
        guidance_embeds=True,
        qk_norm="rms_norm_across_heads",
    )
    inputs = {
        "hidden_states": torch.randn(2, 4, 6, 8),
        "encoder_hidden_states": torch.randn(2, 5, 12),
        "encoder_attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
        "guidance": torch.tensor([0.45, 0.45]),
        "timestep": torch.tensor([0.5, 0.8]),
    }
    return model, inputs


def output(model: nn.Module, inputs: dict) -> torch.Tensor:
    out = model(**inputs, return_dict=False)[0]
    return out[0] if isinstance(out, list) else out


ENDS = {"CombinedTimestepTextProjEmbeddings": 1, "AdaLayerNormContinuous": 1}
FAMILIES = {
    "sd3": (sd3, {"JointTransformerBlock": 3, **ENDS}),
    "sd35": (
        lambda: sd3(qk_norm="rms_norm", dual_attention_layers=(0, 1)),
        {"JointTransformerBlock": 3, **ENDS},
    ),
    "flux": (flux, {"FluxTransformerBlock": 2, "FluxSingleTransformerBlock": 2, **ENDS}),
    "flux2": (
        flux2,
        {
            "Flux2Modulation": 3,
            "Flux2TransformerBlock": 2,
            "Flux2SingleTransformerBlock": 2,
            "Flux2TimestepGuidanceEmbeddings": 1,
            "AdaLayerNormContinuous": 1,
        },
    ),
    "zimage": (
        zimage,
        {"ZImageTransformerBlock": 4, "TimestepEmbedder": 1, "FinalLayer": 1, "RMSNorm": 1},
    ),
    "sana": (
        sana,
        {
            "SanaTransformerBlock": 2,
            "SanaCombinedTimestepGuidanceEmbeddings": 1,
            "SanaModulatedNorm": 1,
            "RMSNorm": 1,
        },
    ),
}


def family(name: str) -> tuple[nn.Module, dict]:
    """A small model with weights that leave no gate or bias at zero, and inputs for it."""
    torch.manual_seed(0)
    model, inputs = FAMILIES[name][0]()
    for weight in model.parameters():
        nn.init.normal_(weight, mean=0.02, std=0.15)
    return model.eval().requires_grad_(False), inputs


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_fused_transformer_is_the_transformer(name):
    model, inputs = family(name)
    before, keys = output(model, inputs), set(model.state_dict())
    report = surgery.operate(model)
    assert report.fused == FAMILIES[name][1] and not report.left
    after = output(model, inputs)
    assert before.abs().max() > 0.1
    assert (after - before).abs().max() < 1e-4
    assert set(model.state_dict()) == keys
    surgery.restore(model)
    assert (output(model, inputs) - before).abs().max() < 1e-5


# products that a step no longer asks, as they are counted by hand in the configurations
PRODUCTS = {
    "SD 3.5 medium": 24 * 2 + 1 + 4 + 1,  # both streams of each block, the last norm, time and prompt, words
    "FLUX.1 schnell": 19 * 2 + 38 + 1 + 4 + 1,
    "FLUX.2 klein 4B": 3 + 1 + 2 + 1,
    "Z-Image Turbo": 30 + 2 + 1 + 2 + 1 + 2 * 4,  # two blocks refine the words, their seven products in four
    "SANA-Sprint 1.6B": 1 + 4 + 2 + 2 * 20,
}


@pytest.mark.parametrize("name", savings.REAL)
def test_what_the_folds_of_real_transformers_save(name):
    """The products of the folds are those that are missing from the evaluation, and no others."""
    found = savings.counted(name)
    products = {kind: Counter(one for one in ops if one.flops) for kind, ops in found.items()}
    missing = products["fused"] - products["folded"]
    linear = [one for one in missing.elements() if one.name != "attention"]
    assert not products["folded"] - products["fused"]
    assert len(linear) == PRODUCTS[name]
    assert len(found["folded"]) < len(found["fused"]) < len(found["plain"])


def test_adapters_are_left_alone():
    model, _ = family("flux2")
    block = model.transformer_blocks[0]
    block.attn.to_q = nn.Sequential(block.attn.to_q)
    report = surgery.operate(model)
    assert report.left == {"Flux2TransformerBlock: its products carry adapters: merge them": 1}
    assert fused_flux.run_flux2 not in [getattr(block.forward, "__func__", None)]
