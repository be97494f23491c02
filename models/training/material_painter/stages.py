"""Training stages of the material painter; every stage resumes where it was stopped."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from assets import ASSETS
from models import checkpoint
from models.api import LOOKS, ModelError
from models.device.precision import fast_dtype
from models.painter.materials.flow import MaterialFlow
from models.painter.materials.network import PAINTER, PAINTER_SMALL, MaterialConfig
from models.painter.materials.plan import PlanNetwork
from models.training.data import dataset, labelled_pictures, labelled_views
from models.training.data.crops import Crops
from models.training.data.labelled_pictures import LabelledPicture
from models.training.data.labelled_views import LabelledView
from models.training.data.landscapes.scenes import HELD_OUT
from models.training.evaluation import material_report
from models.training.evaluation.material_grids import hand_sheet
from models.training.material_painter import finish, flow_stages, plan
from models.training.material_painter.finish import Draw, Recipe
from models.training.stage_names import STAGES

GRID_PX = 256


@dataclass(frozen=True)
class Sizes:
    """Sizes of data and training. Pairs are for small crops first, then for large ones.

    steps: optimizer steps. crop_px, batch: of teacher, reflow, distil and the first part of the finish.
    """

    views: int = 600
    view_px: int = 512
    held_out: int = 40
    crop_px: int = 128
    batch: int = 16
    teacher_steps: int = 8_000
    reflow_steps: int = 3_000
    distil_steps: int = 3_000
    couplings: int = 96
    plan_steps: int = 6_000
    plan_batch: int = 64
    finish_steps: tuple[int, int] = (30_000, 12_000)
    large_crop_px: int = 256
    large_batch: int = 6
    small_steps: int = 20_000
    evaluate_views: int = 40
    gallery: int = 12  # hand-made sketches
    probe_views: int = 100
    config: MaterialConfig = PAINTER
    small_config: MaterialConfig = PAINTER_SMALL


TINY = MaterialConfig(widths=(32, 32, 32), blocks=(0, 0, 1, 0, 1), embedding=16)
QUICK = Sizes(
    views=2,
    view_px=256,
    held_out=2,
    crop_px=64,
    batch=2,
    teacher_steps=2,
    reflow_steps=3,
    distil_steps=2,
    couplings=1,
    plan_steps=4,
    plan_batch=4,
    finish_steps=(3, 2),
    large_crop_px=96,
    large_batch=2,
    small_steps=2,
    evaluate_views=2,
    gallery=2,
    probe_views=2,
    config=TINY,
    small_config=TINY,
)


def run(
    stage: str,
    folder: Path | None = None,
    *,
    quick: bool = False,
    pictures: Path | None = None,
    spread: dataset.Spread | None = None,
) -> dict | None:
    """Run one stage, or "all" in order.

    pictures: a folder of labelled photographs and paintings. spread: runs the jobs of `data` on a cluster.

    Returns the metrics of `evaluate`, or the files copied by `export`. Raises ModelError.
    """
    workshop = Workshop(
        folder or dataset.default_folder() / ("materials-quick" if quick else "materials"),
        QUICK if quick else Sizes(),
        pictures,
        spread,
    )
    if stage == "all":
        results = {each: workshop.run(each) for each in STAGES["materials"]}
        return results["evaluate"]
    return workshop.run(stage)


class Workshop:
    """A training folder with its data, stages and weights."""

    def __init__(
        self, folder: Path, sizes: Sizes, pictures: Path | None, spread: dataset.Spread | None = None
    ):
        self.folder, self.sizes, self.pictures, self.spread = folder, sizes, pictures, spread
        if pictures is not None:
            labelled_pictures.read_manifest(pictures)  # report a wrong folder before hours of work
        self._sources: list[LabelledView | LabelledPicture] | None = None

    def run(self, stage: str) -> dict | None:
        """Run one stage and log its duration and device in stages.jsonl."""
        work: dict[str, Callable[[], Any]] = {
            "data": self.make_data,
            "teacher": lambda: self.train_flow("teacher"),
            "reflow": lambda: self.train_flow("reflow"),
            "distil": lambda: self.train_flow("distil"),
            "plan": self.train_plan,
            "finish": self.train_painter,
            "small": self.train_small,
            "evaluate": self.evaluate,
            "export": self.export,
        }
        began = time.perf_counter()
        result = work[stage]()
        line = {
            "stage": stage,
            "seconds": round(time.perf_counter() - began, 1),
            "threads": torch.get_num_threads(),
            "dtype": str(fast_dtype()).removeprefix("torch."),
            "sources": len(self._sources or ()),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with open(self.folder / "stages.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return result if isinstance(result, dict) else None

    # Data

    def make_data(self) -> None:
        """Render missing views, for training and held out."""
        workers = os.cpu_count() or 1
        sizes = self.sizes
        self.make_held_out(workers)
        labelled_views.write(
            self.folder / "views",
            views=sizes.views,
            seed=0,
            size_px=sizes.view_px,
            workers=workers,
            spread=self.spread,
        )

    def make_held_out(self, workers: int) -> None:
        labelled_views.write(
            self.folder / "held-out",
            views=self.sizes.held_out,
            seed=HELD_OUT,
            size_px=self.sizes.view_px,
            workers=workers,
            spread=self.spread,
        )

    def sources(self) -> list[LabelledView | LabelledPicture]:
        """Return all training data: the views rendered so far, and the pictures of the training split."""
        if self._sources is None:
            self._sources = [*labelled_views.read(self.folder / "views")]
            if self.pictures is not None:
                self._sources += labelled_pictures.load(self.pictures)
        return self._sources

    def draw(self, crop_px: int, batch: int) -> Draw:
        """Return a function that draws the samples of one batch."""
        views = [one for one in self.sources() if isinstance(one, LabelledView)]
        pictures = [one for one in self.sources() if isinstance(one, LabelledPicture)]
        crops = Crops(views, pictures, crop_px=crop_px)
        return lambda rng: [crops.sample(rng) for _ in range(batch)]

    def looks(self) -> tuple[str, ...]:
        """Return the looks that have pictures."""
        found = {material_report.look_of(one) for one in self.sources()}
        return tuple(look for look in LOOKS if look in found)

    # Training

    def weights(self, stage: str, name: str) -> Path:
        return self.folder / stage / f"{name}.safetensors"

    def before(self, stage: str) -> MaterialFlow:
        """Return the network that a stage starts from."""
        order = {"reflow": ("teacher", "teacher"), "distil": ("reflow", "reflow")}
        if stage in order:
            path = self.weights(*order[stage])
            if not path.is_file():
                raise ModelError(f"{path} is missing: run `python main.py train {order[stage][0]}` first")
            return material_report.load_flow(path)
        torch.manual_seed(0)
        return MaterialFlow(self.sizes.config)

    def show(self, *, steps: tuple[int, ...] = (1,)) -> finish.Show:
        """Return a function that writes the sheet of hand-made sketches in every look."""
        looks = self.looks()

        def save(flow: MaterialFlow, path: Path) -> None:
            hand_sheet(path, flow, side_px=GRID_PX, looks=looks, steps=steps)

        return save

    def train_flow(self, stage: flow_stages.Stage) -> None:
        sizes = self.sizes
        steps = {
            "teacher": sizes.teacher_steps,
            "reflow": sizes.reflow_steps,
            "distil": sizes.distil_steps,
        }
        flow_stages.train(
            stage,
            self.draw(sizes.crop_px, sizes.batch),
            self.before(stage),
            self.folder / stage,
            steps=steps[stage],
            batch_size=sizes.batch,
            couplings=sizes.couplings,
            show=self.show(steps=(4,) if stage != "distil" else (1, 4)),
        )

    def train_plan(self) -> None:
        sizes = self.sizes
        plan.train(self.sources(), self.folder / "plan", steps=sizes.plan_steps, batch_size=sizes.plan_batch)

    def train_painter(self) -> None:
        """Run the finish on small crops, from the student or from random weights, then on large crops."""
        sizes, student = self.sizes, self.weights("distil", "student")
        first = material_report.load_flow(student) if student.is_file() else self.before("finish")
        forms = finish.train(
            self.draw(sizes.crop_px, sizes.batch),
            first,
            self.folder / "forms",
            steps=sizes.finish_steps[0],
            batch_size=sizes.batch,
            show=self.show(),
        )
        finish.train(
            self.draw(sizes.large_crop_px, sizes.large_batch),
            forms,
            self.folder / "finish",
            steps=sizes.finish_steps[1],
            batch_size=sizes.large_batch,
            recipe=Recipe(rate=2e-4, critic_rate=4e-4),
            show=self.show(steps=(1, 4)),
            seed=1,
        )

    def train_small(self) -> None:
        """Distil the painter into the small painter, on pictures from the same noise."""
        sizes, path = self.sizes, self.weights("finish", "painter")
        if not path.is_file():
            raise ModelError(f"{path} is missing: run `python main.py train finish` first")
        torch.manual_seed(0)
        finish.train(
            self.draw(sizes.crop_px, sizes.batch),
            MaterialFlow(sizes.small_config),
            self.folder / "small",
            steps=sizes.small_steps,
            batch_size=sizes.batch,
            teacher=material_report.load_flow(path),
            show=self.show(),
            name="painter-small",
        )

    # Evaluation

    def held_out(self) -> dict[str, Sequence[LabelledView | LabelledPicture]]:
        """Return the held-out views and pictures by look."""
        if not list((self.folder / "held-out").glob("views-*.npz")):
            self.make_held_out(os.cpu_count() or 1)
        views = list(labelled_views.read(self.folder / "held-out", self.sizes.evaluate_views))
        found: dict[str, list[LabelledView | LabelledPicture]] = {"scenic": [*views]}
        if self.pictures is not None:
            for one in labelled_pictures.load(self.pictures, held_out=True):
                found.setdefault(one.look, []).append(one)
        return dict(found)

    def painters(self) -> dict[str, material_report.Painting]:
        """Return the painters to evaluate: those trained in this folder, and the shipped painter."""
        found = {"ships": material_report.of_color_painter(ASSETS / "painter.safetensors")}
        network = self.plan_network()
        for name, path in (
            ("painter", self.weights("finish", "painter")),
            ("painter-small", self.weights("small", "painter-small")),
        ):
            if path.is_file():
                found[name] = material_report.of_flow(material_report.load_flow(path), network)
        return found

    def plan_network(self) -> PlanNetwork | None:
        path = self.weights("plan", "plan")
        return plan.load(path) if path.is_file() else None

    def probe_sources(self) -> list[LabelledView | LabelledPicture]:
        """Return real views and pictures for the probes, at most `probe_views` of each look."""
        if not list((self.folder / "views").glob("views-*.npz")):
            labelled_views.write(
                self.folder / "views",
                views=self.sizes.probe_views,
                seed=0,
                size_px=self.sizes.view_px,
                workers=os.cpu_count() or 1,
            )
        counts: dict[str, int] = dict.fromkeys(LOOKS, 0)
        chosen = []
        for one in self.sources():
            look = material_report.look_of(one)
            counts[look] += 1
            if counts[look] <= self.sizes.probe_views:
                chosen.append(one)
        return chosen

    def evaluate(self) -> dict:
        """Write metrics, their table and the gallery to the folder; return the metrics."""
        report = material_report.Report(self.probe_sources(), self.held_out())
        figures = report.card(self.painters())
        path = self.weights("finish", "painter")
        if path.is_file():
            flow = material_report.load_flow(path)
            figures["painter"] = {
                "gflop": round(flow.network.gflop(512, 512), 2),
                "reach_px": flow.network.receptive_radius_px(),
            }
        (self.folder / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
        (self.folder / "figures.md").write_text(material_report.markdown(figures), encoding="utf-8")
        material_report.gallery(
            self.folder / "gallery.png",
            self.painters(),
            looks=self.looks(),
            side_px=self.sizes.view_px,
            most=self.sizes.gallery,
        )
        return figures

    def export(self) -> dict:
        """Copy weights to assets/ (a quick run: into its folder), and write the credits of the pictures.

        The shipped painter is not replaced: its successor is written beside it, to be chosen by eye.
        """
        target = self.folder / "assets" if self.sizes is QUICK else ASSETS
        target.mkdir(parents=True, exist_ok=True)
        made = {}
        for source, name in (
            (self.weights("finish", "painter"), "material-painter"),
            (self.weights("small", "painter-small"), "material-painter-small"),
            (self.weights("plan", "plan"), "plan"),
        ):
            if source.is_file():
                path = target / f"{name}.safetensors"
                shutil.copyfile(source, path)
                made[name] = f"{path} ({checkpoint.content_hash(path)})"
        if self.pictures is not None:
            path = self.folder / "credits.md"
            path.write_text(labelled_pictures.credits(self.pictures), encoding="utf-8")
            made["credits"] = str(path)
        return made
