"""Downloads from a hub on the loopback: what is fetched, resumed and refused, and that nothing else is."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from easel import ROOT
from safetensors.numpy import save
from small_hub import SmallHub

from models.api import ModelError
from models.pretrained.hub import wanted_files

REPO = "someone/small"
CODE = f"""
from models.pretrained import faults, hub
try:
    print("path", hub.fetch({REPO!r}))
except Exception as error:
    print("error", faults.explain(error, {REPO!r}))
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
    "whole-model.ckpt": b"another pickle",
}


@pytest.fixture
def hub():
    made = SmallHub(REPO, dict(FILES))
    yield made
    made.close()


@pytest.fixture
def fetch(hub, tmp_path):
    """Fetch the model in a fresh interpreter with a cache of its own; what it says."""

    def run(**more) -> str:
        env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        env = {k: v for k, v in env.items() if not k.startswith("HF_TOKEN")} | more
        command = [sys.executable, "-c", CODE]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=env, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


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
        assert "run it again to go on from there" in said
        said = fetch()
    assert said.startswith("path ")
    resumed = [wanted for _, path, wanted in hub.asked if wanted and path.endswith("model.safetensors")]
    assert len(resumed) == 1 and 0 < int(resumed[0][6:].split("-")[0]) <= 15_000_000
    assert (Path(said[5:]) / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == WEIGHTS


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


def test_a_hub_that_cannot_be_reached(fetch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        said = fetch(HF_ENDPOINT=f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert said == f"error {REPO}: it is not on this machine, and the hub cannot be reached"


def test_pickles_alone_are_refused(hub, fetch):
    for name in [n for n in hub.files if n.endswith(".safetensors")]:
        del hub.files[name]
    assert "the hub has no safetensors of it, and nothing else is loaded" in fetch()
    assert fetched(hub) == set()


def test_half_precision_is_preferred():
    names = [
        "model_index.json",
        "unet/config.json",
        "unet/model.safetensors",
        "unet/model.fp16.safetensors",
        "unet/model.non_ema.safetensors",
        "vae/model.safetensors",
        "x/y/deep.safetensors",
        "sd.safetensors",
    ]
    assert sorted(wanted_files(names)) == sorted(
        ["model_index.json", "unet/config.json", "unet/model.fp16.safetensors", "vae/model.safetensors"]
    )
    assert wanted_files(["config.json", "model.safetensors", "x.bin"]) == ["config.json", "model.safetensors"]
    with pytest.raises(ModelError, match="no safetensors"):
        wanted_files(["model_index.json", "unet/model.bin"])
