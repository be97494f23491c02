"""Metrics of the material painter on held-out views, photographs and paintings, for each look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from models import checkpoint
from models.api import DEFAULT_MOOD, LOOKS, ModelError, Request
from models.device.layout import channels_last
from models.painter.materials.flow import MaterialFlow
from models.painter.materials.network import MaterialConfig, MaterialNetwork
from models.painter.materials.plan import PlanNetwork
from models.training.data.labelled_pictures import LabelledPicture
from models.training.data.labelled_views import LabelledView
from models.training.data.material_sketcher import sketch
from models.training.evaluation import metrics
from models.training.evaluation.evaluate import rounded
from models.training.evaluation.grids import to_pixels
from models.training.evaluation.hand_sketches import drawn
from models.training.evaluation.material_grids import condition_of_paper, shown
from models.training.evaluation.recognition import Judged, Probe, load_features, place_labels

SIDE_PX = 512
STEPS = (1, 2, 4)
SKETCH_KIND = "regions"  # regions in up to three shades, half of them with blank parts
SKETCH_SEED = 21
GALLERY_STEPS, GALLERY_STRENGTH = (1, 4), 0.6
DIAGNOSED = 24  # pictures used for the older metrics


@dataclass(frozen=True)
class Sketched:
    """A held-out picture with its sketch: picture (S, S, 3), labels (S, S), paper (S, S, 4), materials."""

    picture: np.ndarray
    labels: np.ndarray
    paper: np.ndarray
    materials: np.ndarray
    mood: tuple[float, ...]
    strength: float

    @property
    def asked(self) -> np.ndarray:
        """Labels of the places where the painted material equals the view's; 0 elsewhere."""
        painted = self.paper[..., 3] > 127
        agrees = (self.materials == self.labels) | (self.materials == 0)
        return np.where(painted & agrees, self.labels, 0).astype(np.uint8)


Painting = Callable[[Sketched, str, int], np.ndarray]
"""(sketch, look, steps) -> (S, S, 3) uint8"""


def sketched(sources: Sequence[LabelledView | LabelledPicture], side_px: int = SIDE_PX) -> list[Sketched]:
    """Crop the middle of each picture and sketch it; every call gives the same sketches."""
    found = []
    for index, source in enumerate(sources):
        rng = np.random.default_rng([SKETCH_SEED, index])
        height, width = source.labels.shape
        side = min(side_px, height // 32 * 32, width // 32 * 32)
        y, x = (height - side) // 2, (width - side) // 2
        picture = np.ascontiguousarray(source.picture[y : y + side, x : x + side])
        labels = np.ascontiguousarray(source.labels[y : y + side, x : x + side])
        strength = float(rng.random())
        paper, materials = sketch(picture, labels, rng, strength, kind=SKETCH_KIND)
        mood = tuple(float(value) for value in source.mood)
        found.append(Sketched(picture, labels, paper, materials, mood, strength))
    return found


def of_flow(flow: MaterialFlow, plan: PlanNetwork | None = None) -> Painting:
    def paint(one: Sketched, look: str, steps: int) -> np.ndarray:
        condition = condition_of_paper(
            one.paper, one.materials, look=look, strength=one.strength, mood=one.mood, plan=plan
        )
        return to_pixels(flow.sample(condition, steps))[0]

    return paint


def of_color_painter(path: Path) -> Painting:
    """Load the shipped color painter as a `Painting`; it has a single look."""
    from models.painter.painter import load

    painter = load(path, device="cpu")

    def paint(one: Sketched, look: str, steps: int) -> np.ndarray:
        request = Request(one.paper, steps=steps, strength=one.strength, mood=one.mood)
        return painter.render(request).picture

    return paint


def load_flow(path: Path) -> MaterialFlow:
    """Load the weights of a flow. Raises ModelError for weights of another network."""
    weights, config = checkpoint.load(path)
    if config.get("kind") != "materials":
        raise ModelError(f"{path} holds no weights of the painter that sees materials")
    network = MaterialNetwork(MaterialConfig.from_dict(config))
    network.load_state_dict({name: value.float() for name, value in weights.items()})
    return channels_last(MaterialFlow(network).eval().requires_grad_(False))


class Report:
    """Scores paintings of held-out sketches for each look, next to real views and the flat sketches."""

    def __init__(
        self,
        training: Sequence[LabelledView | LabelledPicture],
        held_out: dict[str, Sequence[LabelledView | LabelledPicture]],
    ):
        """training: real views for the probe. held_out: pictures by look; looks without any are left out.

        A look has its own probe if `training` has pictures of it, else it uses the probe of the views.
        """
        self.features = load_features()
        self.sets = {look: sketched(held_out[look]) for look in LOOKS if held_out.get(look)}
        self.side_px = max(one.labels.shape[0] for found in self.sets.values() for one in found)
        self.real = {
            look: Judged.of(self.features, [one.picture for one in found])
            for look, found in self.sets.items()
        }
        self.probes = self.train_probes(training)

    def train_probes(self, training: Sequence[LabelledView | LabelledPicture]) -> dict[str, Probe]:
        probes = {}
        self.training: dict[str, Tensor] = {}
        for look in self.sets:
            mine = [one for one in training if look_of(one) == look] or list(training)
            real = sketched(mine)
            self.training[look] = stacked([one.picture for one in real[:DIAGNOSED]])
            judged = Judged.of(self.features, [one.picture for one in real])
            labels = torch.cat([place_labels(one.labels) for one in real])
            probes[look] = Probe(judged.places, labels)
        return probes

    def reference(self, look: str) -> dict:
        """Return the metrics of the real pictures and of the flat sketches."""
        found, probe = self.sets[look], self.probes[look]
        there, asked = places_of(found)
        flat = Judged.of(self.features, [shown(one.paper) for one in found])
        return {
            "count": len(found),
            "reads": {
                "real": probe.reads(self.real[look].places, there),
                "sketch": probe.reads(flat.places, there),
            },
            "reads_painted": {
                "real": probe.reads(self.real[look].places, asked),
                "sketch": probe.reads(flat.places, asked),
            },
            "fd": {"sketch": flat.fd(self.real[look])},
        }

    def judge(self, paint: Painting, look: str, steps: int) -> dict:
        """Return reads, fd and the older metrics of one painter for one look and number of steps.

        reads covers every place, including those that the sketch left blank; reads_painted only painted ones.
        """
        found = self.sets[look]
        made = [paint(one, look, steps) for one in found]
        judged = Judged.of(self.features, made)
        there, asked = places_of(found)
        few = slice(DIAGNOSED)
        ours, real = stacked(made[few]), stacked([one.picture for one in found[few]])
        paper = torch.from_numpy(np.stack([one.paper for one in found[few]])).permute(0, 3, 1, 2).float()
        alpha = paper[:, 3:] / 255
        color = (paper[:, :3] / 127.5 - 1) * alpha
        return {
            "reads": self.probes[look].reads(judged.places, there),
            "reads_painted": self.probes[look].reads(judged.places, asked),
            "fd": judged.fd(self.real[look]),
            "swd": metrics.swd(ours, real),
            "sharpness": metrics.sharpness(ours, real),
            "sketch_error": metrics.sketch_error(ours, color, alpha),
            "nearest": {
                "painter to training": metrics.nearest_patch(ours, self.training[look]),
                "real to training": metrics.nearest_patch(real, self.training[look]),
            },
        }

    def card(self, painters: dict[str, Painting], *, steps: Sequence[int] = STEPS) -> dict:
        """Return the rounded metrics of all looks and painters.

        {"looks": {look: {"count", "reads", "fd", "painters": {name: {steps: figures}}}}}
        """
        looks = {}
        for look in self.sets:
            looks[look] = self.reference(look)
            looks[look]["painters"] = {
                name: {str(count): self.judge(paint, look, count) for count in steps}
                for name, paint in painters.items()
            }
        return rounded({"size": self.side_px, "looks": looks})


def places_of(found: Sequence[Sketched]) -> tuple[Tensor, Tensor]:
    """Return labels of all places, and of those where the painted material equals the view's."""
    there = torch.cat([place_labels(one.labels) for one in found])
    return there, torch.cat([place_labels(one.asked) for one in found])


def look_of(one: LabelledView | LabelledPicture) -> str:
    return one.look if isinstance(one, LabelledPicture) else "scenic"


def stacked(pictures: Sequence[np.ndarray]) -> Tensor:
    """Stack pictures to (N, 3, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def markdown(figures: dict) -> str:
    """Format the metrics of every look and painter as a table."""
    rows = ["| look | pictures | reads | fd at 1/4, 1/8, 1/16 | swd |", "|---|---|---|---|---|"]

    def distances(values: list[float]) -> str:
        return ", ".join(f"{value:.0f}" for value in values)

    for look, found in figures["looks"].items():
        rows.append(f"| {look} | real, {found['count']} held out | {found['reads']['real']:.2f} | | |")
        flat = distances(found["fd"]["sketch"])
        rows.append(f"| {look} | flat sketch | {found['reads']['sketch']:.2f} | {flat} | |")
        for name, by_steps in found["painters"].items():
            for steps, one in by_steps.items():
                cells = (look, f"{name}, steps {steps}", f"{one['reads']:.2f}", distances(one["fd"]))
                rows.append("| " + " | ".join(cells) + f" | {one['swd']:.3f} |")
    return "\n".join(rows) + "\n"


def gallery(
    path: Path,
    painters: dict[str, Painting],
    *,
    looks: Sequence[str],
    side_px: int = SIDE_PX,
    most: int | None = None,
) -> None:
    """Write the hand-made sketches with every painter's pictures in every look, in one and four steps."""
    rows = []
    for _, paper, materials in drawn(side_px)[:most]:
        tiles = [shown(paper)]
        one = Sketched(tiles[0], materials, paper, materials, DEFAULT_MOOD, GALLERY_STRENGTH)
        for name, paint in painters.items():
            for look in looks if name != "ships" else looks[:1]:
                tiles += [paint(one, look, steps) for steps in GALLERY_STEPS]
        rows.append(np.concatenate(tiles, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imencode(path.suffix, np.concatenate(rows, 0)[..., ::-1])[1].tofile(path)
