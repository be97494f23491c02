"""Compare the frame times of Flowbrush and of `diffusers` in one run.

Run with `python -m models.benchmarks.diffusers_comparison [--json]`.

The model is SD-Turbo in its real configuration with random weights, which take the same time, at 512x512 and
one step. Three contenders run interleaved: the unmodified img2img pipeline (float32, full autoencoder), the
same with every public option (bfloat16, channels-last, tiny autoencoder, prompt encoded in advance), and
Flowbrush. Nothing is downloaded. `--save FOLDER` writes the model instead, for
`main.py bench --model FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.api import Request
from models.benchmarks.real_models import FULL, SD_TURBO
from models.pretrained.loading.component_loader import TINY, alone
from models.pretrained.loading.loader import Options, load

SIDE_PX, WARM_PX = 512, 256
TEXT_ENCODER = {  # of Stable Diffusion 2.1 and Turbo: OpenCLIP ViT-H without its last layer
    "vocab_size": 49408,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 23,
    "num_attention_heads": 16,
    "max_position_embeddings": 77,
    "hidden_act": "gelu",
}


def save(folder: Path) -> Path:
    """Write a model in SD-Turbo's layout with random bfloat16 weights, and a tiny autoencoder beside it."""
    import diffusers
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        kind: Any = diffusers.StableDiffusionPipeline  # its annotations do not allow None
        pipe = kind(
            vae=diffusers.AutoencoderKL(**FULL),
            text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT_ENCODER)),
            tokenizer=words(folder.with_name(folder.name + "-words")),
            unet=diffusers.UNet2DConditionModel(**SD_TURBO),
            scheduler=diffusers.EulerDiscreteScheduler(
                beta_start=0.00085,
                beta_end=0.012,
                beta_schedule="scaled_linear",
                timestep_spacing="trailing",
                steps_offset=1,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipe.save_pretrained(folder)
        diffusers.AutoencoderTiny().save_pretrained(folder / TINY)
    finally:
        torch.set_default_dtype(before)
    return folder


def words(folder: Path):
    """Build a character-level tokenizer; timings do not need the real vocabulary."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    known = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(known)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def as_it_comes(folder: Path):
    import diffusers

    with alone():
        pipe = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(
            folder, dtype=torch.float32, safety_checker=None, requires_safety_checker=False
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def every_switch(folder: Path):
    import diffusers

    with alone():
        tiny = diffusers.AutoencoderTiny.from_pretrained(folder / TINY, dtype=torch.bfloat16)
        pipe = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(
            folder, vae=tiny, dtype=torch.bfloat16, safety_checker=None, requires_safety_checker=False
        )
    pipe.unet.to(memory_format=torch.channels_last)
    pipe.vae.to(memory_format=torch.channels_last)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def image_of(paper: np.ndarray):
    from PIL import Image

    return Image.fromarray(paper[..., :3])


@torch.inference_mode()
def measure(folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Return (seconds, seconds of CPU time) of each contender in each round.

    The contenders take turns, after one smaller warm-up frame of each.
    """
    paper = np.random.default_rng(0).integers(0, 255, (SIDE_PX, SIDE_PX, 4), np.uint8)
    paper[..., 3] = 255
    # two steps at `strength` 0.5 run one step, from the middle
    plan = {"num_inference_steps": 2, "strength": 0.5, "guidance_scale": 0.0}
    plain, tuned = as_it_comes(folder), every_switch(folder)
    states, _ = tuned.encode_prompt("a lake", "cpu", 1, False)
    ours = load(str(folder), Options(device="cpu", dtype="bfloat16"))
    contenders = {
        "diffusers, as it comes": lambda p: plain(prompt="a lake", image=image_of(p), **plan),
        "diffusers, every switch": lambda p: tuned(prompt_embeds=states, image=image_of(p), **plan),
        "flowbrush": lambda p: ours.render(Request(p, steps=1, strength=0.5, prompt="a lake")),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for run in contenders.values():
        run(np.ascontiguousarray(paper[:WARM_PX, :WARM_PX]))
    for _ in range(rounds):
        for name, run in contenders.items():
            begin, worked = time.perf_counter(), time.process_time()
            run(paper)
            seconds[name].append((time.perf_counter() - begin, time.process_time() - worked))
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--save", type=Path, help="write the model to this folder, and end")
    parser.add_argument("--model", type=Path, help="a folder written with --save")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    if wanted.save is not None:
        save(wanted.save)
        return
    with tempfile.TemporaryDirectory() as home:
        seconds = measure(wanted.model or save(Path(home) / "sd-turbo"), wanted.rounds)
    rows = {
        name: {
            "median_s": round(statistics.median(wall for wall, _ in each), 2),
            "cpu_s": round(statistics.median(cpu for _, cpu in each), 2),
        }
        for name, each in seconds.items()
    }
    for row in rows.values():
        row["ratio"] = round(row["median_s"] / rows["flowbrush"]["median_s"], 2)
        row["cpu_ratio"] = round(row["cpu_s"] / rows["flowbrush"]["cpu_s"], 2)
    if wanted.json:
        print(json.dumps({"threads": torch.get_num_threads(), "rounds": wanted.rounds, **rows}))
        return
    print(f"SD-Turbo, 512x512, 1 step, {torch.get_num_threads()} threads, {wanted.rounds} rounds in turn")
    print(f"{'':26}{'seconds':>9}{'ratio':>7}{'CPU s':>9}{'ratio':>7}")
    for name, row in rows.items():
        print(f"{name:26}{row['median_s']:9.2f}{row['ratio']:7.2f}{row['cpu_s']:9.2f}{row['cpu_ratio']:7.2f}")


if __name__ == "__main__":
    main()
