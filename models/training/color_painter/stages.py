"""Training stages of the shipped color painter; every stage resumes where it was stopped."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from assets import ASSETS
from models import checkpoint
from models.api import ModelError
from models.training.color_painter import calibrate, diffusion, distil, finish, reflow, teacher
from models.training.data import dataset
from models.training.data.dataset import Mixture, Views
from models.training.data.landscapes.scenes import HELD_OUT
from models.training.evaluation import evaluate, learning_curve
from models.training.stage_names import STAGES

LARGE = 1 << 23  # first seed of the large views
SHARES = (0.55, 0.45)  # shares of views and large views in a batch
SCHEDULES = ("linear", "cosine")


@dataclass(frozen=True)
class Sizes:
    """Sizes of data and training. steps: optimizer steps."""

    views: int = 5632
    view_px: int = 256
    large_views: int = 240  # at the usual canvas size
    large_px: int = 512
    held_out: int = 64
    held_out_px: int = 512
    teacher_steps: int = 12_000
    teacher_batch: int = 48
    reflow_steps: int = 5_000
    distil_steps: int = 4_000
    coupled_batches: int = 96
    finish_steps: int = 20_500
    finish_batch: int = 16
    calibrate_steps: int = 950
    crop_px: int = 128
    evaluate_count: int = 96
    evaluate_px: tuple[int, ...] = (256, 512)


QUICK = Sizes(4, 128, 2, 256, 4, 256, 6, 4, 4, 4, 1, 3, 2, 2, 64, 4, (128,))


def run(
    stage: str,
    folder: Path | None = None,
    *,
    quick: bool = False,
    images: Path | None = None,
    spread: dataset.Spread | None = None,
) -> dict | None:
    """Run an existing stage, see models.training.run_stage. spread: runs the jobs of `data` on a cluster."""
    sizes = QUICK if quick else Sizes()
    folder = folder or dataset.default_folder() / ("quick" if quick else "full")
    if stage == "all":
        results = {each: run(each, folder, quick=quick) for each in STAGES["colors"]}
        return results["evaluate"]
    if images is not None and stage != "finish":
        raise ModelError("--images goes with the stage `finish` only")
    work = {
        "teacher": make_teacher,
        "reflow": make_reflow,
        "distil": make_student,
        "finish": make_painter,
        "diffusion": make_diffusions,
        "evaluate": measure,
        "export": export,
    }
    if stage == "data":
        return make_data(folder, sizes, spread)
    if stage == "finish" and images is not None:
        return learn_from(images, folder, sizes)
    return work[stage](folder, sizes)


def make_data(folder: Path, sizes: Sizes, spread: dataset.Spread | None = None) -> None:
    how = {"workers": os.cpu_count() or 1, "spread": spread}
    dataset.write(folder / "views", views=sizes.views, seed=0, size_px=sizes.view_px, **how)
    dataset.write(folder / "large", views=sizes.large_views, seed=LARGE, size_px=sizes.large_px, **how)
    make_held_out(folder, sizes, **how)
    dataset.contact_sheet(folder / "contact-sheet.png", Views(folder / "views"))


def make_held_out(folder: Path, sizes: Sizes, workers: int, spread: dataset.Spread | None = None) -> None:
    how = {"size_px": sizes.held_out_px, "workers": workers, "spread": spread}
    dataset.write(folder / "held-out", views=sizes.held_out, seed=HELD_OUT, **how)


def training_views(folder: Path) -> Mixture:
    return Mixture([Views(folder / name) for name in ("views", "large")], SHARES)


def batches(views, count: int, crop_px: int):
    """Return a function that draws one batch; every process draws different ones."""
    rng = np.random.default_rng([os.getpid(), int.from_bytes(os.urandom(4), "big")])
    return lambda: views.batch(rng, count, crop_px)


def make_teacher(folder: Path, sizes: Sizes) -> None:
    draw = batches(training_views(folder), sizes.teacher_batch, sizes.crop_px)
    teacher.train(
        draw,
        folder / "teacher",
        steps=sizes.teacher_steps,
        batch_size=sizes.teacher_batch,
        measure=learning_curve.curve(folder / "held-out", folder / "teacher"),
    )


def make_diffusions(folder: Path, sizes: Sizes) -> None:
    """Train the lab's diffusion contenders on as many samples as the teacher."""
    draw = batches(training_views(folder), sizes.teacher_batch, sizes.crop_px)
    for schedule in SCHEDULES:
        out = folder / f"diffusion-{schedule}"
        diffusion.train(
            draw,
            out,
            schedule=schedule,
            steps=sizes.teacher_steps,
            batch_size=sizes.teacher_batch,
            measure=learning_curve.curve(folder / "held-out", out),
        )


def make_reflow(folder: Path, sizes: Sizes) -> None:
    network = evaluate.network_of(folder / "teacher" / "teacher.safetensors")
    draw = batches(training_views(folder), sizes.teacher_batch, sizes.crop_px)
    reflow.train(
        draw,
        network,
        folder / "reflow",
        steps=sizes.reflow_steps,
        batch_size=sizes.teacher_batch,
        coupled_batches=sizes.coupled_batches,
    )


def make_student(folder: Path, sizes: Sizes) -> None:
    network = evaluate.network_of(folder / "reflow" / "reflow.safetensors")
    draw = batches(training_views(folder), sizes.teacher_batch, sizes.crop_px)
    distil.train(
        draw,
        network,
        folder / "distil",
        steps=sizes.distil_steps,
        batch_size=sizes.teacher_batch,
        coupled_batches=sizes.coupled_batches,
    )


def make_painter(folder: Path, sizes: Sizes) -> None:
    network = evaluate.network_of(folder / "distil" / "student.safetensors")
    views, count = training_views(folder), sizes.finish_batch
    draw = batches(views, count // 2, sizes.crop_px)
    finished = finish.train(draw, network, folder / "finish", steps=sizes.finish_steps, batch_size=count)
    draw = batches(views, count, sizes.crop_px)
    calibrate.train(draw, finished, folder / "calibrate", steps=sizes.calibrate_steps, batch_size=count)


def learn_from(images: Path, folder: Path, sizes: Sizes) -> dict:
    """Fine-tune the shipped painter on a folder of pictures; return the path of the new weights."""
    from models.training.data.user_images import Pictures

    pictures = Pictures(images, max(sizes.view_px, sizes.crop_px))
    network = evaluate.network_of(ASSETS / "painter.safetensors")
    out = folder / f"own-{images.resolve().name}"
    draw = batches(pictures, sizes.finish_batch // 2, sizes.crop_px)
    steps = max(3, sizes.finish_steps // 3)
    finish.train(draw, network, out, steps=steps, batch_size=sizes.finish_batch, keep_forms=False)
    return {
        "pictures": len(pictures.pictures),
        "skipped": pictures.skipped,
        "weights": str(out / "painter.safetensors"),
    }


def weights_of(folder: Path) -> dict[str, Path]:
    """Return the weights to evaluate: those of this folder, or the shipped ones where a stage is missing."""
    student = folder / "distil" / "student.safetensors"
    ends = [folder / stage / "painter.safetensors" for stage in ("calibrate", "finish")]
    found = {
        "painter": next((path for path in ends if path.is_file()), student),
        "student": student,
        "reflow": folder / "reflow" / "reflow.safetensors",
        "teacher": folder / "teacher" / "teacher.safetensors",
    }
    return {name: path if path.is_file() else ASSETS / f"{name}.safetensors" for name, path in found.items()}


def measure(folder: Path, sizes: Sizes) -> dict:
    """Write metrics, table and gallery beside the data; without data, render views for it first."""
    paths = weights_of(folder)
    workers = os.cpu_count() or 1
    if not list((folder / "held-out").glob("shard-*.npz")):
        make_held_out(folder, sizes, workers)
    if not list((folder / "views").glob("shard-*.npz")):
        few = min(sizes.views, dataset.SHARD_VIEWS)  # `data` continues from here
        dataset.write(folder / "views", views=few, seed=0, size_px=sizes.view_px, workers=workers)
    figures = evaluate.report_card(
        paths,
        folder / "held-out",
        folder / "views",
        count=sizes.evaluate_count,
        sides_px=sizes.evaluate_px,
    )
    (folder / "figures.md").write_text(evaluate.markdown(figures), encoding="utf-8")
    evaluate.gallery(folder / "gallery.png", paths, ASSETS / "sketches", folder / "held-out")
    return figures


def export(folder: Path, sizes: Sizes) -> dict:
    """Copy the stages' weights (bf16) and the gallery to assets/; those of a quick run stay in its folder."""
    assets = folder / "assets" if sizes is QUICK else ASSETS
    assets.mkdir(parents=True, exist_ok=True)
    made = {}
    contenders = {
        f"diffusion-{s}": folder / f"diffusion-{s}" / f"diffusion-{s}.safetensors" for s in SCHEDULES
    }
    for name, path in (weights_of(folder) | contenders).items():
        target = assets / f"{name}.safetensors"
        if not path.is_file():
            continue
        if path != target:
            shutil.copyfile(path, target)
        made[name] = f"{target} ({checkpoint.content_hash(target)})"
    if (folder / "gallery.png").is_file():
        whole = Image.open(folder / "gallery.png")
        half = whole.resize((whole.width // 2, whole.height // 2), Image.Resampling.BOX)
        half.save(assets / "gallery.webp", quality=82)
    return made
