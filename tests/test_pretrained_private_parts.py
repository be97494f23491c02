"""Private parts of diffusers, accelerate and huggingface_hub that pretrained models depend on.

pyproject.toml bounds the versions; when a bound is raised, these tests show what has changed.
"""

from __future__ import annotations

import inspect
import sys

import diffusers
import pytest
import torch
from torch import nn

from models.benchmarks.real_models import REAL
from models.pretrained.fusion import patching
from models.pretrained.sources.catalogue import PIPELINES

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
FOLDED = ("AutoencoderKL", "AutoencoderKLFlux2")  # their modules are imported with the others below


@pytest.fixture(scope="module")
def blocks() -> dict[str, list[type]]:
    """Module classes of diffusers by class name."""
    for real in REAL.values():
        for name in (real.denoiser, real.coder[0], *FOLDED):
            getattr(diffusers, name)
    found: dict[str, set[type]] = {}
    for module in [m for name, m in sys.modules.items() if name.startswith("diffusers.models")]:
        for kind in vars(module).values():
            if isinstance(kind, type) and issubclass(kind, nn.Module) and served(kind.__module__):
                found.setdefault(kind.__name__, set()).add(kind)
    return {name: list(kinds) for name, kinds in found.items()}


def served(module: str) -> bool:
    """False for modules of unsupported transformers, some of whose blocks have the same names."""
    ours = {getattr(diffusers, real.denoiser).__module__ for real in REAL.values()}
    others = module.startswith("diffusers.models.transformers.transformer_") and "_2d" not in module
    return module in ours or not others


@pytest.mark.parametrize("name", patching.FUSED_PASSES)
def test_blocks_take_what_their_fused_passes_take(blocks, name):
    """A fused pass has every parameter of the library's forward pass, in the same order."""
    _, run = patching.FUSED_PASSES[name]
    ours = list(inspect.signature(run).parameters.values())[1:]
    named = [p.name for p in ours if p.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD][1:]  # x is positional
    more = any(p.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD) for p in ours)
    assert blocks.get(name), f"diffusers has no {name}"
    for kind in blocks[name]:
        parameters = list(inspect.signature(kind.forward).parameters.values())[1:]
        theirs = [p.name for p in parameters if p.kind == inspect.Parameter.POSITIONAL_OR_KEYWORD][1:]
        assert theirs[: len(named)] == named if more else theirs == named, kind


@pytest.mark.parametrize("name", sorted({kind for _, kind in PIPELINES.values()}))
def test_pipelines_tell_their_components(name):
    kind = getattr(diffusers, name)
    needed, _ = kind._get_signature_keys(kind)
    assert {"vae", "scheduler"} <= set(needed) and isinstance(kind._optional_components, list)
    assert isinstance(inspect.getattr_static(kind, "_execution_device"), property)
    for method in ("enable_model_cpu_offload", "remove_all_hooks", "encode_prompt", "from_pretrained"):
        assert callable(getattr(kind, method))


def test_removing_a_hook_leaves_a_bound_method():
    """The bound method is a reference cycle, which closing a model removes."""
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module, remove_hook_from_module

    layer = nn.Linear(2, 2)
    add_hook_to_module(layer, AlignDevicesHook())
    remove_hook_from_module(layer)
    assert "forward" in vars(layer)


def test_z_image_prepares_words_as_it_did():
    """Signatures of the private methods that `ZImageFamily.read_words` calls."""
    kind = diffusers.ZImageTransformer2DModel
    assert [*inspect.signature(kind._pad_with_ids).parameters][1:] == [
        "feat",
        "pos_grid_size",
        "pos_start",
        "device",
        "noise_mask_val",
    ]
    assert [*inspect.signature(kind._prepare_sequence).parameters][1:5] == [
        "feats",
        "pos_ids",
        "inner_pad_mask",
        "pad_token",
    ]


def test_the_unet_s_own_steps_are_there():
    """Methods that `PreparedUNet` calls instead of the UNet's forward pass."""
    kind = diffusers.UNet2DConditionModel
    for method in ("get_time_embed", "get_aug_embed", "process_encoder_hidden_states"):
        assert callable(getattr(kind, method))


def test_embeddings_have_the_names_that_families_call():
    with torch.device("meta"):
        made = {
            "time_text_embed": diffusers.SD3Transformer2DModel(num_layers=1),
            "pos_embed": diffusers.FluxTransformer2DModel(num_layers=1, num_single_layers=1),
            "time_guidance_embed": diffusers.Flux2Transformer2DModel(num_layers=1, num_single_layers=1),
            "t_embedder": diffusers.ZImageTransformer2DModel(n_layers=1),
            "time_embed": diffusers.SanaTransformer2DModel(num_layers=1),
        }
    for name, model in made.items():
        assert isinstance(getattr(model, name), nn.Module)


def test_the_hub_s_cache_has_the_layout_that_is_read():
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    assert repo_folder_name(repo_id="a/b", repo_type="model") == "models--a--b"
    assert constants.HF_HUB_CACHE and callable(constants.is_offline_mode)
