"""Downloads from a hub on the loopback interface: only required files, resuming, refusals."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import constants
from loop_harness import ROOT
from safetensors.numpy import save
from small_hub import SmallHub, files_of
from small_models import painted, save_lora, save_sd, small_tiny

import main
from models.api import ModelError, Request
from models.pretrained.loading import loader
from models.pretrained.sources.hub import wanted_files
from renderer.cli.report import Watch

REPO = "someone/small"
SKETCH = next((ROOT / "assets" / "sketches").glob("*.png"))
CODE = f"""
import os, sys
from models.api import Cancelled
from models.pretrained.sources import error_messages, hub
shares = []
def told(line, share=None):
    shares.append(share)
    print(line, file=sys.stderr)
    if share > float(os.environ.get("GIVE_UP", 2)):
        raise Cancelled
try:
    path = hub.fetch({REPO!r}, progress=told)
    assert shares == sorted(shares) and (not shares or shares[-1] == 1), shares
    print("path", path)
except Cancelled:
    print("given up")
except Exception as error:
    print("error", error_messages.explain(error, {REPO!r}))
"""
WEIGHTS = save({"weight": np.zeros((6000, 1000), np.float32)})
INDEX = {
    "_class_name": "StableDiffusionPipeline",
    "unet": ["diffusers", "UNet2DConditionModel"],
    "scheduler": ["diffusers", "EulerDiscreteScheduler"],
}
FILES = {
    "model_index.json": json.dumps(INDEX).encode(),
    "unet/config.json": b'{"of": "unet"}',
    "unet/diffusion_pytorch_model.safetensors": WEIGHTS,
    "unet/diffusion_pytorch_model.bin": b"a pickle" * 10_000,
    "scheduler/scheduler_config.json": b"{}",
    "safety_checker/model.safetensors": WEIGHTS,
    "unet_of_before/diffusion_pytorch_model.safetensors": WEIGHTS,
    "whole-model.ckpt": b"another pickle",
}


@pytest.fixture
def hub():
    made = SmallHub(REPO, dict(FILES))
    yield made
    made.close()


@pytest.fixture
def run(hub, tmp_path):
    """Run a command in a fresh interpreter with a separate cache; returns (stdout, stderr)."""

    def run(*command: str, **more) -> tuple[str, str]:
        env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        env = {k: v for k, v in env.items() if not k.startswith("HF_TOKEN")} | more
        command = [sys.executable, *command]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip(), done.stderr

    return run


@pytest.fixture
def fetch(run):
    """Fetch the model in a fresh interpreter; returns its output."""
    return lambda **more: run("-c", CODE, **more)[0]


def fetched(hub) -> set[str]:
    paths = [path for how, path, _ in hub.asked if how == "GET" and "/resolve/" in path]
    return {path.split("/resolve/")[1].split("/", 1)[1] for path in paths}


def test_what_is_needed_is_downloaded_once(hub, fetch):
    said = fetch()
    assert said.startswith("path ")
    needed = {name for name in FILES if name.startswith(("model_index", "unet/", "scheduler/"))}
    assert fetched(hub) == needed - {"unet/diffusion_pytorch_model.bin"}
    hub.asked.clear()
    assert fetch() == said
    assert hub.asked == []


def test_what_is_there_needs_no_hub(hub, fetch):
    said = fetch()
    assert fetch(HF_HUB_OFFLINE="1") == said
    hub.status = 500
    assert fetch() == said


def test_offline_is_honoured(hub, fetch):
    assert "it is not on this machine, and HF_HUB_OFFLINE forbids to download it" in fetch(HF_HUB_OFFLINE="1")
    assert hub.asked == []


def test_a_cut_connection_goes_on_where_it_stopped(hub, fetch):
    hub.cut_after = 15_000_000
    said = fetch()
    if said.startswith("error"):
        assert "run it again: whole files stay" in said
        said = fetch()
    assert said.startswith("path ")
    resumed = [wanted for _, path, wanted in hub.asked if wanted and path.endswith("model.safetensors")]
    assert len(resumed) == 1 and 0 < int(resumed[0][6:].split("-")[0]) <= 15_000_000
    assert (Path(said[5:]) / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == WEIGHTS


def test_a_download_that_is_given_up_leaves_nothing_half_done(fetch, tmp_path):
    assert fetch(GIVE_UP="0.6") == "given up"
    assert not any(
        path.name.startswith("diffusion_pytorch_model") for path in tmp_path.rglob("*.safetensors")
    )
    assert not list(tmp_path.rglob("*.incomplete"))
    assert fetch().startswith("path ")


@pytest.fixture
def here(hub, tmp_path, monkeypatch):
    """Point this process to the hub on the loopback interface, which also has a small tiny autoencoder."""
    small_tiny().save_pretrained(tmp_path / "taesd")
    hub.others["madebyollin/taesd"] = files_of(tmp_path / "taesd")
    there = {
        "ENDPOINT": hub.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(tmp_path),
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in there.items():
        monkeypatch.setattr(constants, name, value)


@pytest.mark.slow
def test_lcm_is_stable_diffusion_with_a_lora_of_its_own(hub, here, tmp_path):
    base = save_sd(tmp_path / "sd")
    hub.others["stable-diffusion-v1-5/stable-diffusion-v1-5"] = files_of(base)
    hub.others["latent-consistency/lcm-lora-sdv1-5"] = files_of(save_lora(base, tmp_path / "lora").parent)
    paper = Request(painted(), steps=4, prompt="a lake")
    options = {"device": "cpu", "dtype": "float32"}
    model = loader.load("lcm", loader.Options(**options))
    plain = loader.load("sd15", loader.Options(**options, sampler="lcm"))
    assert model.sampler == "lcm" and model.card.steps == tuple(range(1, 9)) and plain.card.steps[-1] == 50
    made = model.render(paper).picture
    assert (made != plain.render(paper).picture).any()
    less = replace(paper, lora_scale=0.5)  # applies only to the user's LoRAs
    assert np.array_equal(model.render(less).picture, made)


@pytest.mark.slow
def test_a_model_of_the_catalogue_comes_behind_the_painter(hub, here, tmp_path, monkeypatch, capsys):
    """The usual `paint --model` command, with small weights under the name of the catalogue model."""
    hub.others["stable-diffusion-v1-5/stable-diffusion-v1-5"] = files_of(save_sd(tmp_path / "sd"))

    def run(watch, seconds, **_):
        """Run until the model has shown a picture; record which model made each picture."""
        app, end_s = watch.app, time.perf_counter() + 40
        while time.perf_counter() < end_s and not (served and served[-1][1] == "sd15"):
            app.step()
            if app.picture is not None and app.picture.request.epoch == app.requests.epoch:
                served.append((app.engine.name, app.scene.card.name))
        watch.seconds = 1.0

    served = []
    monkeypatch.setattr(Watch, "run", run)
    main.app(
        ["paint", "--headless", "--json", "--size", "256", "--model", "sd15", "--device", "cpu"],
        standalone_mode=False,
    )
    out, lines = capsys.readouterr()
    found = json.loads(out)
    assert (found["model"], found["steps"], found["problem"], found["errors"]) == ("sd15", 20, None, 0)
    assert served[0] == ("painter", "painter") and served[-1] == ("sd15", "sd15")
    for line in (
        "downloading stable-diffusion-v1-5/stable-diffusion-v1-5, ",
        "MB: 100%",
        "downloading madebyollin/taesd",
        "loading sd15, unet: ",
        "loading sd15: 100%",
        "sd15 makes its first picture",
    ):
        assert line in lines, lines


@pytest.mark.parametrize(
    ("status", "gated", "message"),
    [
        (401, True, f"its licence is not accepted yet; visit https://huggingface.co/{REPO}"),
        (401, False, "the hub knows no such model"),
        (404, False, "the hub knows no such model"),
    ],
)
def test_a_refusal_in_one_line(hub, fetch, status, gated, message):
    hub.status, hub.gated = status, gated
    said = fetch()
    assert message in said and "\n" not in said and said.startswith(f"error {REPO}: ")


SILENT = f"""
import socket, sys
def connect(self, address):
    sys.exit(f"asked the network: {{address}}")
socket.socket.connect = socket.socket.connect_ex = connect
import main
for words in (["models", "--json"], ["render", {str(SKETCH)!r}, "-o", sys.argv[1], "--size", "256"]):
    main.app(words, standalone_mode=False)
"""


def test_without_a_pretrained_model_the_network_is_not_asked(run, tmp_path):
    run("-c", SILENT, str(tmp_path / "out.png"))
    assert (tmp_path / "out.png").is_file()


def test_a_hub_that_cannot_be_reached(fetch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        said = fetch(HF_ENDPOINT=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert said == f"error {REPO}: it is not on this machine, and the hub cannot be reached"


def test_pickles_alone_are_refused(hub, fetch):
    for name in [n for n in hub.files if n.endswith(".safetensors")]:
        del hub.files[name]
    assert "the hub has no safetensors of it, and nothing else is loaded" in fetch()
    assert fetched(hub) == {"model_index.json"}


def test_half_precision_is_preferred():
    names = [
        "model_index.json",
        "unet/config.json",
        "unet/model.safetensors",
        "unet/model.fp16.safetensors",
        "unet/model.non_ema.safetensors",
        "vae/model.safetensors",
        "text/model-1-of-2.safetensors",
        "text/model.fp16-1-of-2.safetensors",
        "text/model.safetensors.index.fp16.json",
        "text/model.safetensors.index.json",
        "vae_1_0/model.safetensors",
        "x/y/deep.safetensors",
        "sd.safetensors",
    ]
    assert set(wanted_files(names, ("unet", "vae", "text"))) == {
        "model_index.json",
        "unet/config.json",
        "unet/model.fp16.safetensors",
        "vae/model.safetensors",
        "text/model.fp16-1-of-2.safetensors",
        "text/model.safetensors.index.fp16.json",
    }
    alone = ["config.json", "model.fp16.safetensors", "model.safetensors"]
    assert wanted_files(alone) == ["config.json", "model.safetensors"]
    assert wanted_files(["config.json", "model.safetensors", "x.bin"]) == ["config.json", "model.safetensors"]
    with pytest.raises(ModelError, match="no safetensors"):
        wanted_files(["model_index.json", "unet/model.bin"], ("unet",))
