"""Sampling loop of the UNet family against `diffusers` img2img: same weights, noise and times."""

from __future__ import annotations

import functools
import importlib
import json
from itertools import product

import diffusers
import numpy as np
import pytest
import torch
from small_models import painted, save_sd, save_sdxl, trained_at

import main
from models.api import Cancelled, ModelError, Request
from models.benchmarks import diffusers_comparison, real_models
from models.pretrained.components import schedule
from models.pretrained.components.prompt_cache import KEPT
from models.pretrained.families.base import Size
from models.pretrained.flop_counter import gflop_of
from models.pretrained.fusion import patching
from models.pretrained.loading import loader

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
SIZE = Size(256, 256)
NOISY = [
    f"diffusers.schedulers.scheduling_{name}"
    for name in ("euler_ancestral_discrete", "ddpm", "dpmsolver_multistep", "lcm")
]
PLANS = list(product((1, 2, 4, 20), (1.0, 0.55, 0.33)))
CPU = loader.Options(device="cpu", dtype="float32", fuse=True, tiny=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    return {
        "sd": save_sd(home / "sd", tiny=True),
        "v": save_sd(home / "v", scheduler=trained_at(prediction_type="v_prediction")),
        "sdxl": save_sdxl(home / "sdxl"),
    }


@pytest.fixture(scope="module")
def loaded(folders):
    """Models with their full autoencoder, each loaded once."""
    return functools.cache(lambda name: loader.load(str(folders[name]), CPU))


def render(model, **values):
    request = Request(painted(), **{"prompt": "a lake", "seed": 3, **values})
    return model.render(request)


def theirs(model, monkeypatch, *, steps, strength, scheduler=None, guidance=0.0):
    """Latent of the pipeline for our noise, at our times or, with a scheduler, at its own."""
    pipe, grid = model.family.pipe, model.family.grid(model.sampler, steps, strength, SIZE)
    request = Request(painted(), steps=steps, strength=strength, seed=3)
    first = [model.noise(request, 4, 32, 32)]
    fresh = model.fresh_noise(first[0], request)
    for module in (type(pipe).__module__, *NOISY):
        module = importlib.import_module(module)
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: first.pop() if first else fresh())
    plan = {"strength": 1.0, "timesteps": list(grid.times[:-1])}
    usual = pipe.scheduler
    if scheduler is not None:
        pipe.scheduler = scheduler
        plan = {"strength": strength, "num_inference_steps": round(steps / strength)}
    image = torch.from_numpy(painted()[..., :3].copy()).permute(2, 0, 1)[None].float() / 255
    pipe.set_progress_bar_config(disable=True)
    patching.restore(pipe.unet)  # the pipeline runs unmodified blocks
    latent = pipe(prompt="a lake", image=image, guidance_scale=guidance, output_type="latent", **plan).images
    pipe.scheduler = usual
    model.family.ready(True)
    model._made = None
    return latent


def pixels_of(pipe, latent):
    """Decode a latent as the pipelines do; returns (H, W, 3) in 0..1."""
    with torch.no_grad():
        image = pipe.vae.decode(latent / pipe.vae.config.scaling_factor, return_dict=False)[0]
    return pipe.image_processor.postprocess(image, output_type="np")[0]


@torch.no_grad()
def latent_of(model, **values):
    seen = []
    decode = model.family.coder.decode
    model.family.coder.decode = lambda latent: seen.append(latent) or decode(latent)
    try:
        frame = render(model, **values)
    finally:
        model.family.coder.decode = decode
    return seen[0], frame.picture


@pytest.mark.parametrize("name", ["sd", "v", "sdxl"])
@pytest.mark.parametrize(("steps", "strength"), PLANS)
def test_the_pipeline_s_latent_and_pixels(loaded, monkeypatch, name, steps, strength):
    model = loaded(name)
    latent, picture = latent_of(model, steps=steps, strength=strength)
    expected = theirs(model, monkeypatch, steps=steps, strength=strength)
    assert expected.abs().max() > 0.5
    assert (latent - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))
    pixels = pixels_of(model.family.pipe, expected)
    assert np.abs(picture / 255.0 - pixels).max() <= 1.01 / 255


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_guidance(folders, monkeypatch, name):
    model = loader.load(str(folders[name]), CPU)
    model.family.guidance = 5.0
    model.family.ready(True)
    latent, _ = latent_of(model, steps=4, strength=0.7)
    expected = theirs(model, monkeypatch, steps=4, strength=0.7, guidance=5.0)
    assert (latent - expected).abs().max() < 1e-4 * float(expected.abs().max())


OTHERS = {
    "ddpm": ("DDPMScheduler", {"clip_sample": False}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "dpm++2m": ("DPMSolverMultistepScheduler", {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}


@pytest.mark.parametrize("sampler", OTHERS)
def test_other_samplers_at_the_pipeline_s_own_times(loaded, monkeypatch, sampler):
    """At strength 0.5 both the pipeline and our loop run the last 4 of 8 trailing steps."""
    model = loaded("sd")
    model.sampler = sampler
    latent, _ = latent_of(model, steps=4, strength=0.5)
    scheduler = trained_at(OTHERS[sampler][0], **OTHERS[sampler][1])
    expected = theirs(model, monkeypatch, steps=4, strength=0.5, scheduler=scheduler)
    model.sampler = "euler"
    assert (latent - expected).abs().max() < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("steps", [2, 4, 20])
def test_karras_sigmas_are_those_of_diffusers(steps):
    scheduler = trained_at("DPMSolverMultistepScheduler", use_karras_sigmas=True, final_sigmas_type="zero")
    scheduler.set_timesteps(steps)
    grid = schedule.karras_grid(schedule.Discrete(scheduler.alphas_cumprod.numpy()), steps, 1.0)
    sigmas = [grid.sigma(i) for i in range(steps + 1)]
    assert sigmas == pytest.approx(scheduler.sigmas.tolist(), rel=1e-4)


def test_the_tiny_autoencoder_in_both(folders, monkeypatch):
    model = loader.load(str(folders["sd"]), loader.Options(device="cpu", dtype="float32", fuse=True))
    assert model.card.path == "AutoencoderTiny, fused"
    latent, picture = latent_of(model, steps=2, strength=0.55)
    patching.restore(model.family.coder.vae)
    model.family.pipe.vae = model.family.coder.vae
    expected = theirs(model, monkeypatch, steps=2, strength=0.55)
    assert (latent - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))
    pixels = pixels_of(model.family.pipe, expected)
    assert np.abs(picture / 255.0 - pixels).max() <= 1.01 / 255


@pytest.fixture
def model(folders):
    return loader.load(str(folders["sd"]), loader.Options(device="cpu", dtype="float32", fuse=True))


def test_strength_and_seed_are_continuous_and_live(model):
    pictures = [render(model, strength=s).picture.astype(int) for s in (0.5, 0.501, 0.8)]
    near, far = (np.abs(pictures[0] - other).mean() for other in pictures[1:])
    assert 0 < near < far / 10
    assert (render(model, seed=4).picture != render(model, seed=5).picture).any()
    assert np.array_equal(render(model, strength=0.5).picture, pictures[0])


def test_blank_paper_starts_from_pure_noise_whatever_the_strength(model):
    blank = np.zeros((256, 256, 4), np.uint8)
    grid = model.family.grid("euler", 1, 0.4, SIZE)
    request = Request(blank, seed=9, strength=0.4)
    start = model.start(torch.from_numpy(blank), request, grid)
    assert torch.equal(start, model.noise(request, 4, 32, 32))


def test_prompts_are_encoded_once_and_the_last_are_kept(model):
    for text in ("a", "b", "a", "a"):
        render(model, prompt=text)
    assert model.prompts.encoded == 2
    for number in range(KEPT):
        model.prompts("x" * (number % 12) + "y" * (number // 12))
    model.prompts("a")
    assert model.prompts.encoded > 2 + KEPT


def test_what_a_prompt_too_long_loses_is_said(model):
    frame = render(model, prompt="a b c d e f g h i j k l m n o p q r s")
    assert frame.notes == ("the prompt is too long; left out: o p q r s",)


def test_steps_strength_and_size_out_of_range(model):
    for values, message in (
        ({"steps": 51}, "takes 1 to 50 steps, not 51"),
        ({"strength": 1.5}, "strength runs from 0 to 1"),
    ):
        with pytest.raises(ModelError, match=message):
            render(model, **values)
    model.sampler = "flow-euler"
    with pytest.raises(ModelError, match="no sampler for this diffusion is named 'flow-euler'; choose ddpm"):
        render(model)


def test_a_render_is_given_up_between_two_steps(model):
    with pytest.raises(Cancelled):
        model.render(Request(painted(), steps=4), cancelled=lambda: True)
    model.render(Request(painted(), steps=1), cancelled=lambda: True)


@pytest.mark.parametrize("sampler", sorted({*schedule.SAMPLERS} - {*OTHERS, "euler"}))
def test_every_sampler_runs(model, sampler):
    model.sampler = sampler
    picture = render(model, steps=3).picture
    assert picture.shape == (256, 256, 3) and picture.std() > 1
    assert np.array_equal(render(model, steps=3).picture, picture)


def test_the_work_of_a_frame_is_counted(model):
    one, two, four = (model.gflop(256, 256, steps) for steps in (1, 2, 4))
    assert 0 < two - one < one / 2  # the autoencoder dominates the small network
    assert four - two == pytest.approx(2 * (two - one))
    assert model.denoise_gflop(256, 256, 3) == pytest.approx(3 * (two - one))


def test_the_race_against_diffusers_is_run_in_turns(folders, monkeypatch, capsys):
    """Runs on a small model; the real one takes minutes."""
    monkeypatch.setattr(diffusers_comparison, "SIDE_PX", 256)
    monkeypatch.setattr("sys.argv", ["rival", "--model", str(folders["sd"]), "--rounds", "2", "--json"])
    diffusers_comparison.main()
    found = json.loads(capsys.readouterr().out)
    names = ("diffusers, as it comes", "diffusers, every switch", "flowbrush")
    assert found["rounds"] == 2 and all(found[name]["cpu_s"] > 0 for name in names)
    assert found["flowbrush"]["ratio"] == 1


def test_the_rival_s_unet_has_the_size_of_sd_turbo():
    with torch.device("meta"):
        unet = diffusers.UNet2DConditionModel(**real_models.SD_TURBO)
    assert sum(weight.numel() for weight in unet.parameters()) == 865_910_724


def test_bench_takes_a_pretrained_model(folders, capsys):
    words = [
        "bench",
        "--model",
        str(folders["sd"]),
        "--frames",
        "2",
        "--steps",
        "2",
        "--size",
        "256",
        "--json",
    ]
    main.app(words, standalone_mode=False)
    found = json.loads(capsys.readouterr().out)
    assert found["model_fps"] > 0 and found["stage_ms"]["denoise"] > 0 and found["gflop_per_frame"] > 0


@torch.inference_mode()
def test_what_counts_as_work():
    a, b, x, w = torch.ones(3, 4), torch.ones(4, 5), torch.ones(1, 2, 8, 8), torch.ones(6, 2, 3, 3)
    q = torch.ones(1, 2, 16, 8)
    assert gflop_of(lambda: a @ b) == 2 * 3 * 4 * 5 / 1e9
    assert gflop_of(lambda: torch.conv2d(x, w, padding=1)) == 2 * 2 * 9 * 6 * 64 / 1e9
    assert (
        gflop_of(lambda: torch.nn.functional.scaled_dot_product_attention(q, q, q))
        == 4 * 2 * 16 * 16 * 8 / 1e9
    )
