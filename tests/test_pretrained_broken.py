"""Model folders with invalid or missing components: one-line errors from the commands and the loop."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from small_models import save_sd, save_sdxl

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_sd(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture
def broken(whole, tmp_path):
    """Copy of the model folder that a test may modify."""
    return shutil.copytree(whole, tmp_path / "sd")


def lose(folder, component: str) -> None:
    """Remove one weight from a component."""
    (file,) = (folder / component).glob("*.safetensors")
    weights = load_file(file)
    weights.pop(next(name for name in weights if "q_proj.weight" in name or "conv_in.weight" in name))
    save_file(weights, file, metadata={"format": "pt"})


def config(folder, component: str, **values) -> None:
    file = folder / component / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def drop(folder, component: str) -> None:
    """Remove a component from model_index.json but keep its folder."""
    file = folder / "model_index.json"
    file.write_text(json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != component}))


def index(folder, old: str, new: str) -> None:
    file = folder / "model_index.json"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def empty(folder) -> None:
    for file in folder.iterdir():
        file.unlink()


def cut(folder) -> None:
    file = folder / "unet" / WEIGHTS
    file.write_bytes(file.read_bytes()[:-100])


BROKEN = {
    "no vae": (lambda at: shutil.rmtree(at / "vae"), "{at}: its vae is missing"),
    "no config": (lambda at: (at / "unet/config.json").unlink(), "{at}: unet/config.json is missing"),
    "no words": (
        lambda at: empty(at / "tokenizer"),
        "{at}: its tokenizer is missing: tokenizer/tokenizer.json",
    ),
    "no times": (
        lambda at: (at / "scheduler/scheduler_config.json").unlink(),
        "{at}: scheduler/scheduler_config",
    ),
    "not told of": (lambda at: drop(at, "unet"), "{at}: its model_index.json names no unet"),
    "unknown": (
        lambda at: index(at, "UNet2DC", "UNet9C"),
        "{at}: its unet is a UNet9ConditionModel, which is",
    ),
    "another": (
        lambda at: index(at, "UNet2DConditionModel", "AutoencoderKL"),
        "{at}: its unet cannot be loaded as AutoencoderKL: ",
    ),
    "cut short": (cut, "{at}/unet/diffusion_pytorch_model.safetensors is cut short: 100 of "),
    "a weight less": (
        lambda at: lose(at, "unet"),
        "{at}: its unet lacks 1 of its weights, such as conv_in.weight",
    ),
    "a weight less in words": (
        lambda at: lose(at, "text_encoder"),
        "{at}: its text_encoder lacks 1 of its weights, such as ",
    ),
    "other shapes": (
        lambda at: config(at, "unet", cross_attention_dim=48),
        "{at}: its unet cannot be loaded as UNet2DConditionModel: its weights have other shapes",
    ),
    "other shapes of words": (
        lambda at: config(at, "text_encoder", intermediate_size=64),
        "{at}: its text_encoder cannot be loaded as CLIPTextModel: its weights have other shapes",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_folder_whose_components_are_wrong_or_missing(broken, told, case):
    spoil, says = BROKEN[case]
    spoil(broken)
    assert told(broken).startswith(says.format(at=broken))


def test_components_that_do_not_belong_together(broken, told, tmp_path):
    """Each component is valid alone; the first picture reveals the mismatch."""
    shutil.rmtree(broken / "unet")
    shutil.copytree(save_sdxl(tmp_path / "sdxl") / "unet", broken / "unet")
    assert told(broken).startswith(f"{broken}: its components do not seem to go together: ")
