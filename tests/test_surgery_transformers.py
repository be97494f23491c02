"""Fused forward passes of SD 3.5, FLUX, Z-Image and SANA blocks in small models against the originals."""

from collections import Counter

import pytest
import small_flows
import torch
from torch import nn

from models.benchmarks import fusion_savings
from models.pretrained.fusion import patching

pytestmark = pytest.mark.slow  # importing diffusers takes seconds


def inputs(name: str) -> dict:
    """Arguments for the forward pass of a small transformer."""
    words, rows = torch.randn(1, 5, 24), torch.randint(0, 9, (14, 4)).float()
    return {
        "sd3": lambda: {
            "hidden_states": torch.randn(2, 4, 8, 8),
            "encoder_hidden_states": torch.randn(2, 5, 64),
            "pooled_projections": torch.randn(2, 64),
            "timestep": torch.tensor([500, 900]),
        },
        "flux": lambda: {
            "hidden_states": torch.randn(1, 9, 16),
            "encoder_hidden_states": words,
            "pooled_projections": torch.randn(1, 32),
            "timestep": torch.tensor([0.5]),
            "img_ids": rows[:9, :3],
            "txt_ids": torch.zeros(5, 3),
        },
        "flux2": lambda: {
            "hidden_states": torch.randn(1, 9, 16),
            "encoder_hidden_states": words.repeat(1, 1, 2),
            "timestep": torch.tensor([0.5]),
            "img_ids": rows[:9],
            "txt_ids": rows[9:],
        },
        "zimage": lambda: {
            "x": [torch.randn(4, 1, 8, 8)],
            "t": torch.tensor([0.4]),
            "cap_feats": [torch.randn(7, 16)],
        },
        "sana": lambda: {
            "hidden_states": torch.randn(2, 4, 6, 8),
            "encoder_hidden_states": torch.randn(2, 5, 16),
            "encoder_attention_mask": torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
            "guidance": torch.tensor([0.45, 0.45]),
            "timestep": torch.tensor([0.5, 0.8]),
        },
    }[name]()


def output(model: nn.Module, inputs: dict) -> torch.Tensor:
    out = model(**inputs, return_dict=False)[0]
    return out[0] if isinstance(out, list) else out


ENDS = {"CombinedTimestepTextProjEmbeddings": 1, "AdaLayerNormContinuous": 1}
FUSED = {
    "sd3": {"JointTransformerBlock": 3, **ENDS},
    "flux": {"FluxTransformerBlock": 2, "FluxSingleTransformerBlock": 2, **ENDS},
    "flux2": {
        "Flux2Modulation": 3,
        "Flux2TransformerBlock": 2,
        "Flux2SingleTransformerBlock": 2,
        "Flux2TimestepGuidanceEmbeddings": 1,
        "AdaLayerNormContinuous": 1,
    },
    "zimage": {"ZImageTransformerBlock": 4, "TimestepEmbedder": 1, "FinalLayer": 1, "RMSNorm": 1},
    "sana": {
        "SanaTransformerBlock": 2,
        "SanaCombinedTimestepGuidanceEmbeddings": 1,
        "SanaModulatedNorm": 1,
        "RMSNorm": 1,
    },
}
DEEPER = {"sd3": {"num_layers": 3}, "flux": {"num_layers": 2, "num_single_layers": 2}}
DEEPER["flux2"] = DEEPER["flux"]
PLAIN_SD3 = {"qk_norm": None, "dual_attention_layers": ()}


def family(name: str, **options) -> tuple[nn.Module, dict]:
    """A small model without zero gates or biases, and inputs for it."""
    torch.manual_seed(0)
    model = small_flows.TRANSFORMERS[name](**DEEPER.get(name, {}), **options)
    for weight in model.parameters():
        nn.init.normal_(weight, mean=0.02, std=0.15)
    return model.eval().requires_grad_(False), inputs(name)


@pytest.mark.parametrize(("name", "options"), [("sd3", PLAIN_SD3), *((name, {}) for name in FUSED)])
@torch.no_grad()
def test_fused_transformer_is_the_transformer(name, options):
    model, inputs = family(name, **options)
    before, keys = output(model, inputs), set(model.state_dict())
    report = patching.install_fused_passes(model)
    assert report.fused == FUSED[name] and not report.left
    after = output(model, inputs)
    assert before.abs().max() > 0.1
    assert (after - before).abs().max() < 1e-4
    assert set(model.state_dict()) == keys
    patching.restore(model)
    assert (output(model, inputs) - before).abs().max() < 1e-5


# matrix products that a step no longer needs, counted by hand from the configurations
PRODUCTS = {
    "sd3.5-medium": 24 * 2 + 1 + 4 + 1,  # both streams of each block, the last norm, time and prompt, words
    "flux-schnell": 19 * 2 + 38 + 1 + 4 + 1,
    "flux2-klein": 3 + 1 + 2 + 1,
    "z-image-turbo": 30 + 2 + 1 + 2 + 1 + 2 * 4,  # two blocks refine words: 7 products as 4
    "sana-sprint": 1 + 4 + 2 + 2 * 20,
}


@pytest.mark.parametrize("name", fusion_savings.COUNTED)
def test_what_the_folds_of_real_transformers_save(name):
    """Exactly the precomputed products are missing from the evaluation of a step."""
    found = fusion_savings.counted(name, plain=False)
    products = {kind: Counter(one for one in ops if one.flops) for kind, ops in found.items()}
    missing = products["fused"] - products["folded"]
    linear = [one for one in missing.elements() if one.name != "attention"]
    assert not products["folded"] - products["fused"]
    assert len(linear) == PRODUCTS[name]
    assert len(found["folded"]) < len(found["fused"])


def test_adapters_are_left_alone():
    model, _ = family("flux2")
    block = model.transformer_blocks[0]
    block.attn.to_q = nn.Sequential(block.attn.to_q)
    report = patching.install_fused_passes(model)
    assert report.left == {"Flux2TransformerBlock: its products carry adapters: merge them": 1}
    assert "forward" not in vars(block) and "forward" in vars(model.single_transformer_blocks[0])
