"""Inferred settings of a user's model folder or file: steps, guidance, strength, tiny autoencoder."""

from __future__ import annotations

import json
import shutil

import cv2
import diffusers
import numpy as np
import pytest
from huggingface_hub import constants
from loop_harness import ROOT
from small_flows import save_flux, save_sana
from small_hub import SmallHub, files_of
from small_models import painted, save_sd, save_sdxl, small_tiny, trained_at
from small_single import save_single

from models import registry
from models.api import ModelError, Request
from models.pretrained.loading import loader
from models.pretrained.sources import settings_inference

pytestmark = pytest.mark.slow  # importing diffusers takes seconds
CPU = {"device": "cpu", "dtype": "float32"}
FEW, MANY = (4, 0.0, 0.7), (20, 7.5, 0.6)  # default steps, guidance, strength
SKETCH = ROOT / "assets" / "sketches" / "lake.png"
SD15 = "stable-diffusion-v1-5/stable-diffusion-v1-5"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Stable Diffusion with its training schedule, and XL; each also as a single file."""
    home = tmp_path_factory.mktemp("models")
    leading = trained_at("PNDMScheduler", timestep_spacing="leading", skip_prk_steps=True)
    made = {"sd": save_sd(home / "sd", scheduler=leading, tiny=True), "xl": save_sdxl(home / "xl")}
    for name, kind in (("sd", "StableDiffusionPipeline"), ("xl", "StableDiffusionXLPipeline")):
        whole = getattr(diffusers, kind).from_pretrained(made[name])
        made[f"{name}-file"] = save_single(whole, made[name].with_suffix(".safetensors"))
    return made


def schedule(folder, **values):
    """Change values in the scheduler configuration of the folder; returns the folder."""
    file = folder / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
    return folder


def run_as(model) -> tuple[int, float, float]:
    return model.steps[2], model.guidance, model.strength


@pytest.mark.parametrize(
    ("name", "told", "runs"),
    [
        ("sd", {}, MANY),
        ("sd", {"timestep_spacing": "trailing"}, FEW),  # like SD-Turbo and SDXL Lightning
        ("sd", {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True}, MANY),
        ("sd", {"_class_name": "LCMScheduler"}, FEW),
        ("xl", {}, FEW),
        ("xl", {"timestep_spacing": "leading"}, (20, 5.0, 0.6)),
    ],
)
def test_a_folder_of_stable_diffusion_is_run_as_its_scheduler_says(folders, tmp_path, name, told, runs):
    folder = schedule(shutil.copytree(folders[name], tmp_path / "mine"), **told)
    model = settings_inference.of_name(str(folder))
    assert run_as(model) == runs and model.steps[:2] == (1, 50) and model.hub == ""


def test_flux_is_run_as_its_transformer_says(tmp_path):
    assert run_as(settings_inference.of_name(str(save_flux(tmp_path / "schnell")))) == FEW
    assert run_as(settings_inference.of_name(str(save_flux(tmp_path / "dev", guidance_embeds=True)))) == (
        20,
        3.5,
        0.7,
    )
    assert run_as(settings_inference.of_name(str(save_sana(tmp_path / "sana")))) == FEW


def test_what_is_expected_of_a_model_is_what_comes(folders):
    for path in (folders["sd"], folders["sd-file"]):
        told, model = registry.expected(str(path)), registry.loader(str(path), **CPU)()
        assert (told.default_steps, told.default_strength) == (20, 0.6)
        assert (model.card.default_steps, model.card.default_strength) == (20, 0.6)
        assert model.family.guidance == 7.5 and model.sampler == "dpm++2m"


def test_a_file_has_the_tiny_autoencoder_of_the_folder_beside_it(folders):
    file = str(folders["sd-file"])
    tiny, full = (loader.load(file, loader.Options(**CPU, tiny=tiny)) for tiny in (True, False))
    assert tiny.card.path.startswith("AutoencoderTiny") and full.card.path.startswith("AutoencoderKL,")


def test_a_file_alone_has_configuration_and_tiny_autoencoder_of_the_hub(folders, tmp_path, monkeypatch):
    """A single file uses configuration, tiny autoencoder and settings of the base model on the hub."""
    small_tiny().save_pretrained(tmp_path / "tiny")
    hub = SmallHub(SD15, files_of(folders["sd"]))
    hub.others["madebyollin/taesd"] = files_of(tmp_path / "tiny")
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    file = shutil.copy(folders["sd-file"], tmp_path / "mine.safetensors")
    try:
        model = loader.load(str(file), loader.Options(**CPU))
        weights = [path for how, path, _ in hub.asked if how == "GET" and path.endswith(".safetensors")]
    finally:
        hub.close()
    assert all("taesd" in path for path in weights) and model.card.path.startswith("AutoencoderTiny")
    assert (model.card.default_steps, model.family.guidance) == (20, 7.5)
    assert model.render(Request(painted(), steps=2, prompt="a lake")).picture.std() > 1


def test_guidance_can_be_asked_for(folders, program, refused, tmp_path):
    output = tmp_path / "out.png"
    words = ("--size", 256, "--device", "cpu", "--steps", 2, "--prompt", "a lake")
    render = ("render", SKETCH, "-o", output, *words)
    pictures = []
    for words in ((), ("--guidance", 7.5), ("--guidance", 0)):
        assert program(*render, "--model", folders["sd"], *words).returncode == 0
        pictures.append(cv2.imread(str(output)))
    assert np.array_equal(*pictures[:2]) and (pictures[1] != pictures[2]).any()
    assert "painter takes no --guidance" in refused(*render, "--guidance", 2)
    with pytest.raises(ModelError, match="--guidance runs from 0 to 30, not -1"):
        loader.load(str(folders["sd"]), loader.Options(**CPU, guidance=-1))


def test_a_folder_that_is_none_is_told_before_anything_is_loaded(tmp_path, refused):
    (tmp_path / "none").mkdir()
    for command in (["render", SKETCH, "-o", tmp_path / "o.png"], ["bench"]):
        line = refused(*command, "--model", tmp_path / "none")
        assert line.endswith("there is no model_index.json; this is no diffusers folder\n")
