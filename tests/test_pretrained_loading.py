"""Loading of pretrained models: one-line refusals, and code that must never run."""

from __future__ import annotations

import functools
import json
import shutil
import struct
import threading
import time

import diffusers
import numpy as np
import pytest
import torch
import transformers
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from small_models import painted, save_sd, save_sdxl
from small_single import save_single

from models import registry
from models.api import ModelError, Request
from models.pretrained.loading import loader, memory_estimate
from models.pretrained.sources import error_messages, folder, settings_inference
from models.pretrained.sources.catalogue import MODELS, PIPELINES
from renderer.runtime.engine import Engine

pytestmark = pytest.mark.slow  # importing diffusers takes seconds


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return save_sd(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture
def broken(whole, tmp_path):
    """Copy of the model folder that a test may modify."""
    return shutil.copytree(whole, tmp_path / "sd")


def refusal(path) -> str:
    with pytest.raises(ModelError) as caught:
        loader.load(str(path), loader.Options(device="cpu", dtype="float32", fuse=True))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def weights(path, component="unet"):
    return path / component / "diffusion_pytorch_model.safetensors"


def test_every_line_of_the_catalogue_can_be_run():
    for name, model in MODELS.items():
        least, most, usual = model.steps
        assert 1 <= least <= usual <= most <= 50 and 0 < model.strength <= 1
        assert model.hub.count("/") == 1 and model.licence and model.about
        assert name not in registry.ENTRIES
        assert registry.is_pretrained(name)
    assert {model.family for model in MODELS.values()} == {family for family, _ in PIPELINES.values()}


def test_two_loads_at_once_leave_torch_as_it_was(whole, monkeypatch):
    """Two concurrent loads leave torch's functions and default dtype unchanged.

    Libraries replace them while they load and then restore what they found, which could be the replacement
    made by the other thread.
    """
    make = transformers.CLIPTextModel.__init__

    @functools.wraps(make)
    def slowly(self, *args, **kwargs):
        time.sleep(0.2)
        make(self, *args, **kwargs)

    monkeypatch.setattr(transformers.CLIPTextModel, "__init__", slowly)
    before = state_of_torch()
    made = []
    options = loader.Options(device="cpu", dtype="bfloat16")
    threads = [threading.Thread(target=lambda: made.append(loader.load(str(whole), options))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    try:
        assert len(made) == 2 and state_of_torch() == before
    finally:
        torch.linspace = before[0]
        torch.set_default_dtype(before[1])


def state_of_torch() -> tuple:
    return torch.linspace, torch.get_default_dtype(), vars(torch.nn.init).copy()


def test_half_precision_of_some_components_alone(broken):
    """Layout of Stable Diffusion 3.5: text encoders in both precisions, one sharded, the rest plain."""
    encoder = broken / "text_encoder"
    model = transformers.CLIPTextModel.from_pretrained(encoder)
    for file in encoder.glob("*.safetensors"):
        file.unlink()
    model.half().save_pretrained(encoder, variant="fp16", max_shard_size="10KB")
    assert len(list(encoder.glob("*.fp16-0*"))) > 1
    assert loader.load(str(broken), CPU).render(Request(painted(), prompt="a lake")).picture.std() > 1


def test_a_truncated_file(broken):
    file = weights(broken)
    file.write_bytes(file.read_bytes()[:-100])
    assert "is cut short: 100 of" in refusal(broken)
    file.write_bytes(file.read_bytes()[:30])
    assert "is no whole safetensors file" in refusal(broken)


def test_a_missing_component(broken):
    shutil.rmtree(broken / "vae")
    assert refusal(broken).endswith("its vae is missing")


def test_a_pickle_is_not_loaded(broken):
    weights(broken).rename(broken / "unet" / "diffusion_pytorch_model.bin")
    assert "only as a pickle (diffusion_pytorch_model.bin), which is not loaded" in refusal(broken)


def test_foreign_code_is_not_run(broken):
    index = broken / "model_index.json"
    index.write_text(index.read_text().replace('"diffusers",\n    "UNet2D', '"evil_unet",\n    "UNet2D'))
    assert "unet comes with code of its own (evil_unet), which is not run" in refusal(broken)


def test_a_component_of_another_kind(broken):
    index = broken / "model_index.json"
    told = index.read_text()
    index.write_text(told.replace("UNet2DConditionModel", "UNetOfTomorrow"))
    assert refusal(broken).endswith("its unet is a UNetOfTomorrow, which is not known here")
    index.write_text(told.replace("UNet2DConditionModel", "AutoencoderKL"))
    assert str(broken) in refusal(broken)


def test_an_auto_map_is_foreign_code(broken):
    config = broken / "text_encoder" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"auto_map": {"AutoModel": "x.Y"}}))
    assert "text_encoder comes with code of its own" in refusal(broken)


def test_another_pipeline_and_a_folder_that_is_none(broken, tmp_path):
    index = broken / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "AudioLDMPipeline"))
    assert "a AudioLDMPipeline cannot be painted with" in refusal(broken)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no model_index.json" in refusal(empty)


def test_a_weights_file_of_another_shape(broken):
    config = broken / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"cross_attention_dim": 48}))
    assert str(broken) in refusal(broken)


def test_cuda_that_is_not_there(whole, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match="cuda was asked for, but this build of torch is without CUDA"):
        loader.load(str(whole), loader.Options(device="cuda"))


def test_headers_are_read_without_the_weights(whole):
    numbers, size = folder.count_parameters([weights(whole)])
    assert size == 4 * numbers
    assert numbers == sum(p.numel() for p in loader.load(str(whole), CPU).family.network.parameters())


CPU = loader.Options(device="cpu", dtype="float32", fuse=True)


@pytest.mark.parametrize("content", [b"", b"abc", struct.pack("<Q", 1 << 60) + b"{}", b"\0" * 9])
def test_what_is_no_safetensors_file(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="is no whole safetensors file"):
        folder.read_header(path)


def test_errors_are_told_in_a_line():
    assert "not enough memory" in str(error_messages.explain(MemoryError(), "sdxl"))
    full = OSError(28, "No space left on device", "/models/x")
    assert str(error_messages.explain(full, "sdxl")) == "sdxl: No space left on device: /models/x"
    same = ModelError("as it is")
    assert error_messages.explain(same, "sdxl") is same


def test_errors_of_the_program_stay_what_they_are():
    fault = KeyError("blocks")
    assert error_messages.explain(fault, "sdxl") is fault
    shapes = RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)")
    assert error_messages.explain(shapes, "sdxl") is shapes
    assert "go together: mat1" in str(
        error_messages.explain(shapes, "sdxl", mismatch="they do not go together: ")
    )
    with pytest.raises(KeyError) as caught, error_messages.explained("sdxl"):
        raise fault
    assert caught.value is fault and fault.__cause__ is None


def test_a_fault_of_the_program_in_a_frame_has_its_trace_and_the_model_is_loaded_anew(whole):
    """An internal error in a frame keeps its traceback, unlike a user error, and the model is reloaded."""

    def forward(**inputs):
        raise AttributeError("no such block")

    loads, engine = [], Engine()

    def load():
        model = loader.load(str(whole), CPU)
        if not loads:
            model.family.forward = forward
        loads.append(model)
        return model

    engine.load(load, "sd")
    engine.submit(Request(painted(), prompt="a lake"))
    failure = polled(engine)
    assert failure.message == "AttributeError: no such block"
    assert "in forward" in failure.trace and "families/base.py" in failure.trace
    engine.submit(Request(painted(), sequence=1, prompt="a lake"))
    assert polled(engine).picture.std() > 1 and len(loads) == 2
    assert engine.close(10)


def polled(engine):
    end_s = time.perf_counter() + 60
    while time.perf_counter() < end_s:
        made = engine.poll()
        if made is not None:
            return made
        time.sleep(0.01)
    raise AssertionError("nothing came of the request")


def test_a_folder_is_a_name_to_the_registry(whole):
    model = registry.loader(str(whole), "cpu", "float32")()
    assert model.card.family == "unet" and registry.weights_hash(str(whole)) == ""
    with pytest.raises(ModelError, match=r"choose painter, .*sd-turbo.* or name a .safetensors file"):
        registry.loader("sd-tubro")


def test_a_single_file_of_stable_diffusion_is_known_by_its_header(tmp_path, monkeypatch):
    """The configuration comes from the base model; if that is missing, a one-line error says so."""
    import torch

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    file = tmp_path / "mine.safetensors"
    save_file({settings_inference.SINGLE_KEY: torch.zeros(320, 4, 3, 3)}, file)
    assert registry.is_pretrained(str(file))
    told = refusal(file)
    assert (
        told.startswith(f"{file}, with the configuration of stable-diffusion-v1-5/")
        and "not on this machine" in told
    )
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(3)}, other)
    assert not registry.is_pretrained(str(other))


@pytest.fixture(scope="module")
def singles(whole, tmp_path_factory):
    """Model folders, each with a single file of the same weights beside it."""
    xl = save_sdxl(tmp_path_factory.mktemp("xl") / "mine")
    for path, kind in ((whole, "StableDiffusionPipeline"), (xl, "StableDiffusionXLPipeline")):
        save_single(getattr(diffusers, kind).from_pretrained(path), path.with_suffix(".safetensors"))
    return {"sd15": whole, "sdxl": xl}


@pytest.mark.parametrize("name", ["sd15", "sdxl"])
def test_a_single_file_paints_what_the_folder_of_its_weights_does(singles, monkeypatch, name):
    """A file in the original key layout, with its configuration beside it, paints offline like the folder.

    Weights are memory-mapped, and a matrix product at another alignment may differ in the last digit, so they
    are copied first.
    """
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    request = Request(painted(), steps=2, strength=0.6, seed=3, prompt="a lake")
    pictures = []
    for path in (singles[name], singles[name].with_suffix(".safetensors")):
        model = loader.load(str(path), loader.Options(device="cpu", dtype="float32", tiny=False))
        for part in model.family.pipe.components.values():
            for weight in part.parameters() if isinstance(part, torch.nn.Module) else ():
                weight.data = weight.data.clone()
        pictures.append(model.render(request).picture)
    assert np.array_equal(*pictures) and pictures[0].std() > 1


def test_a_single_file_that_lacks_weights(singles, tmp_path):
    file = tmp_path / "mine.safetensors"
    weights = load_file(singles["sd15"].with_suffix(".safetensors"))
    save_file({k: w for k, w in weights.items() if "middle_block.1" not in k}, file)
    shutil.copytree(singles["sd15"], tmp_path / "mine")
    assert "some of its weights are missing" in refusal(file)


def test_a_single_file_that_is_too_large(singles, monkeypatch):
    monkeypatch.setattr(memory_estimate, "free_bytes", lambda device: 100_000_000)
    told = refusal(singles["sd15"].with_suffix(".safetensors"))
    assert "needs 1.2 GB in float32" in told and "cpu has 0.1 GB free beside " in told
    assert told.endswith("what would fit: painter")
