"""Extras of pretrained models: LoRA, ControlNet, offloading and quantization."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
import threading
from itertools import product
from types import ModuleType

import diffusers
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import painted, save_control, save_lora, save_sd, save_sdxl

from models.api import ModelError, Request, no_progress
from models.pretrained.components import controlnet
from models.pretrained.families.base import Size
from models.pretrained.loading import component_loader, loader
from models.pretrained.sources.catalogue import for_folder
from models.pretrained.sources.folder import read_folder
from renderer.actions import Change
from renderer.ui.input.tools import Tools

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
CPU = {"device": "cpu", "dtype": "float32", "tiny": False, "fuse": True}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_control(save_sd(tmp_path_factory.mktemp("models") / "sd"))


@pytest.fixture(scope="module")
def led(whole, tmp_path_factory):
    """A model with a ControlNet and the `diffusers` pipeline of the same components, cached."""

    @functools.cache
    def make(name: str):
        large = name == "large"
        folder = save_control(save_sdxl(tmp_path_factory.mktemp("models") / "xl")) if large else whole
        model = load(folder, control="scribble")
        parts = {k: v for k, v in model.family.pipe.components.items() if k != "image_encoder"}
        kind = (
            "StableDiffusionXLControlNetImg2ImgPipeline"
            if large
            else "StableDiffusionControlNetImg2ImgPipeline"
        )
        more = {} if large else {"requires_safety_checker": False}
        pipe = getattr(diffusers, kind)(**parts, controlnet=model.family.control.network, **more)
        pipe.set_progress_bar_config(disable=True)
        return model, pipe

    return make


@pytest.fixture(scope="module")
def adapter(whole, tmp_path_factory):
    return save_lora(whole, tmp_path_factory.mktemp("lora"))


def load(whole, **options):
    return loader.load(str(whole), loader.Options(**(CPU | options)))


def picture(model, **values):
    return model.render(Request(painted(), seed=3, prompt="a lake", **values)).picture


def test_a_lora_and_its_live_scale(whole, adapter):
    plain = picture(load(whole))
    model = load(whole, lora=(f"{adapter}:0",))
    assert np.abs(picture(model).astype(int) - plain).max() <= 1
    model.scale_loras([1.0])
    strong = picture(model)
    assert np.abs(strong.astype(int) - plain).mean() > 0.5
    assert np.abs(picture(load(whole, lora=(str(adapter),))).astype(int) - strong).max() <= 1


def test_the_keys_scale_a_lora_while_it_paints(whole, adapter, make_loop):
    """Shift+comma lowers the LoRA scale in the loop; returning to the old scale gives the old picture."""
    one = make_loop(lambda: load(whole, lora=(f"{adapter}:0.8",))).ready()
    first = shown_at(one, 1)
    for _ in range(3):
        one.do(*Tools().do("lora.less", one.app.scene.params))
        one.tick()
    less = shown_at(one, 0.7)
    assert (less.picture != first.picture).any() and less.notes == ("LoRA at 0.7 of its scale",)
    one.do(Change("lora_scale", 1))
    assert np.array_equal(shown_at(one, 1).picture, first.picture)


def shown_at(one, lora_scale: float):
    """Wait until a frame with 4 steps, strength 0.7 and this LoRA scale is shown, and return it."""

    def there() -> bool:
        request = one.app.picture.request
        return (request.steps, request.strength, request.lora_scale) == (4, 0.7, lora_scale)

    one.until(there)
    return one.app.picture


def test_the_pen_does_not_wait_for_a_prompt_to_be_encoded(whole, make_loop, monkeypatch):
    model, encoded = load(whole), threading.Event()
    encode = model.family.pipe.encode_prompt

    def slowly(*values, **named):
        assert encoded.wait(10)
        return encode(*values, **named)

    one = make_loop(lambda: model).ready()
    monkeypatch.setattr(model.family.pipe, "encode_prompt", slowly)
    one.do(Change("prompt", "a lake"))
    one.tick()
    one.stroke((20, 20), (60, 60))
    one.tick(5)
    assert one.app.canvas.pixels[40, 40, 3] and one.app.engine.busy and one.app.picture.request.prompt == ""
    encoded.set()
    one.until(lambda: one.app.picture.request.prompt == "a lake")
    before = model.prompts.encoded
    one.do(Change("prompt", ""))
    one.until(lambda: one.app.picture.request.prompt == "")
    assert model.prompts.encoded == before, "it is one of the last"


def test_several_loras_each_with_its_scale(whole, adapter):
    """The same adapter loaded twice at half scale equals one at full scale."""
    one, two = load(whole, lora=(str(adapter),)), load(whole, lora=(f"{adapter}:0.5", f"{adapter}:0.5"))
    assert len(two.loras) == 2
    assert np.abs(picture(two).astype(int) - picture(one)).max() <= 1
    two.scale_loras([0.0, 0.5])
    half = picture(two)
    one.scale_loras([0.5])
    assert np.abs(half.astype(int) - picture(one)).max() <= 1


def test_a_lora_of_another_family_and_files_that_are_none(whole, tmp_path):
    other = tmp_path / "other.safetensors"
    save_file({"transformer.blocks.0.lora_A.weight": torch.zeros(2, 4)}, other)
    with pytest.raises(ModelError, match="is a LoRA for another family of models"):
        load(whole, lora=(str(other),))
    plain = tmp_path / "plain.safetensors"
    save_file({"weight": torch.zeros(2)}, plain)
    with pytest.raises(ModelError, match="is no LoRA"):
        load(whole, lora=(str(plain),))
    with pytest.raises(ModelError, match="there is no LoRA file"):
        load(whole, lora=("nowhere.safetensors:0.5",))


LARGE = [("large", *plan) for plan in ((1, 0.55), (2, 0.33), (4, 1.0), (20, 0.55))]
PLANS = [("whole", *plan) for plan in product((1, 2, 4, 20), (1.0, 0.55, 0.33))]


@torch.no_grad()
@pytest.mark.parametrize(("name", "steps", "strength"), [*PLANS, *LARGE])
def test_a_controlnet_is_the_pipeline_s(led, monkeypatch, name, steps, strength):
    model, pipe = led(name)
    seen, decode = [], model.family.coder.decode
    monkeypatch.setattr(model.family.coder, "decode", lambda latent: seen.append(latent) or decode(latent))
    picture(model, steps=steps, strength=strength)
    noise = model.noise(Request(painted(), seed=3), 4, 32, 32)
    monkeypatch.setattr(
        importlib.import_module(type(pipe).__module__), "randn_tensor", lambda *_, **__: noise
    )
    image = torch.from_numpy(painted()[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    times = model.family.grid("euler", steps, strength, Size(256, 256)).times[:-1]
    plan = type(pipe.scheduler).set_timesteps
    monkeypatch.setattr(
        type(pipe.scheduler), "set_timesteps", lambda self, *_, **__: plan(self, timesteps=list(times))
    )
    expected = pipe(
        prompt="a lake",
        image=image,
        control_image=controlnet.ink_lines(torch.from_numpy(painted())),
        strength=1.0,
        num_inference_steps=steps,
        guidance_scale=0.0,
        controlnet_conditioning_scale=1.0,
        output_type="latent",
    ).images
    assert (seen[0] - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))


def test_a_controlnet_changes_the_picture(whole, led):
    assert (picture(led("whole")[0], steps=2) != picture(load(whole), steps=2)).any()


def test_ink_lines():
    paper = np.zeros((8, 8, 4), np.uint8)
    paper[2:6, 2:6] = (200, 0, 0, 255)
    lines = controlnet.ink_lines(torch.from_numpy(paper))
    assert lines.shape == (1, 3, 8, 8) and set(lines.unique().tolist()) == {0.0, 1.0}
    assert lines[0, 0, 4, 2] and lines[0, 0, 4, 6] and not lines[0, 0, 4, 4] and not lines[0, 0, 0].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"offload": True}, "on the cpu there is nothing to move"),
        ({"control": "depth"}, "--control takes scribble, not 'depth'"),
        ({"quantize": "1bit"}, "--quantize takes 8bit, 4bit, not '1bit'"),
    ],
)
def test_options_that_cannot_be_had(whole, options, message):
    with pytest.raises(ModelError, match=message):
        load(whole, **options)


def test_an_offloaded_model_paints_the_same(whole):
    """Accelerate's offload hooks with the CPU as the execution device: components are moved in and out."""
    plain = picture(load(whole, fuse=False))
    folder = read_folder(whole)
    pipe = component_loader.load_pipeline(folder, "sd", torch.float32, no_progress)
    model = loader.assemble("sd", pipe, for_folder("unet"), "cpu", loader.Options(**CPU, offload=True))
    came = []
    for name in ("unet", "text_encoder"):
        hook = getattr(pipe, name)._hf_hook
        before = hook.pre_forward
        hook.pre_forward = lambda *a, name=name, before=before, **k: came.append(name) or before(*a, **k)
    assert pipe.unet._hf_hook.prev_module_hook.model is pipe.text_encoder  # offloaded when the UNet loads
    unet = next(hook for hook in pipe._all_hooks if hook.model is pipe.unet)
    leave = unet.offload
    unet.offload = lambda: came.append("unet leaves") or leave()
    assert np.abs(picture(model).astype(int) - plain).max() <= 1
    model.render(Request(painted(), prompt="lake a"))
    model.render(Request(painted(), prompt="a lake"))
    assert came == ["unet leaves", "text_encoder", "unet"] * 2 + ["unet"]


def test_a_word_makes_the_quantizer_of_diffusers_for_the_denoiser_alone(monkeypatch):
    """--quantize gives the loader a `diffusers` quantization config; bitsandbytes itself is not called."""
    monkeypatch.setitem(sys.modules, "bitsandbytes", ModuleType("bitsandbytes"))
    known = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.48" if name == "bitsandbytes" else known(name)
    )
    for word, bits in (("8bit", "load_in_8bit"), ("4bit", "load_in_4bit")):
        made = component_loader.quantizer(word, torch.bfloat16)
        for part in component_loader.QUANTIZED:
            found = made._resolve_quant_config(is_diffusers=True, module_name=part)
            assert type(found) is diffusers.BitsAndBytesConfig and getattr(found, bits)
        assert made._resolve_quant_config(is_diffusers=True, module_name="vae") is None
    assert found.bnb_4bit_compute_dtype == torch.bfloat16 and found.bnb_4bit_quant_type == "nf4"


def test_beside_a_quantized_denoiser_all_else_comes_to_the_device(whole):
    """With a quantized denoiser, whose integer weights stay in place, all other parts move to the device."""
    pipe = component_loader.load_pipeline(read_folder(whole), "sd", torch.bfloat16, no_progress)
    shape = pipe.unet.conv_in.weight.shape
    pipe.unet.conv_in.weight = torch.nn.Parameter(torch.zeros(shape, dtype=torch.uint8), requires_grad=False)
    device = torch.device("meta")
    pipe.unet.to = lambda *_, **told: told.get("memory_format") or pytest.fail()
    options = loader.Options(dtype="bfloat16", quantize="4bit", fuse=False)
    model = loader.assemble("sd", pipe, for_folder("unet"), str(device), options)
    assert {pipe.text_encoder.device, pipe.vae.device} == {device} and model.family.dtype == torch.bfloat16
    assert pipe.unet.device.type == "cpu" and model.family.prepared is None


def test_a_single_file_is_not_quantized(whole, tmp_path):
    with pytest.raises(ModelError, match="is a single file; --quantize takes models of the hub and folders"):
        load(tmp_path / "mine.safetensors", quantize="4bit")


def test_quantized_loading_says_what_it_lacks(whole):
    """Without a GPU the quantizers of diffusers cannot load; the reason is reported in one line."""
    with pytest.raises(ModelError) as error:
        load(whole, quantize="4bit")
    assert "bitsandbytes" in str(error.value) or "GPU" in str(error.value)
    assert "\n" not in str(error.value)
