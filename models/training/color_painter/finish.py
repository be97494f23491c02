"""Stage 4, finish: adversarial training of pictures of one to four steps, with a colour anchor.

Losses: a critic on features, sliced transport of features and of fine patches, and a variety loss on two
pictures of one sketch. Pictures of two and four steps are trained to agree with the one-step picture.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from models.checkpoint import save
from models.device.layout import channels_last
from models.device.precision import autocast
from models.painter import flow
from models.painter.flow import Condition
from models.painter.network import PainterNetwork
from models.training import distributed, feature_network
from models.training.color_painter.critic import Critic, critic_loss, painter_loss
from models.training.color_painter.losses import (
    band_loss,
    feature_loss,
    grid_loss,
    pyramid_loss,
    texture_loss,
    variety_loss,
)
from models.training.data.tensors import to_tensors
from models.training.evaluation.grids import save_grid
from models.training.run import Run, follow, learning_rate, set_rate

RATE, CRITIC_RATE = 3e-4, 1e-3
EMA_DECAY = 0.998
WARM_UP = 300  # steps until the critic reaches its full weight
CRITIC_WEIGHT, FEATURE_WEIGHT, TEXTURE_WEIGHT = 0.4, 3.0, 0.4
BAND_WEIGHT, GRID_WEIGHT = 8.0, 3.0
ANCHOR_LEVELS = (0.0, 0.0, 0.02, 0.12, 0.8)  # pyramid weights, fine levels first: mainly anchors colour
AGREEMENT_LEVELS, AGREEMENT_BAND = (12.0, 12.0, 12.0, 12.0, 15.0), 3.0
MOOD_LEVELS = (0.0, 0.0, 0.05, 0.3, 1.0)
PAPER_SHARE = 0.4  # share of batches in which a finished picture is one of the papers
MOOD_SHARE, MOOD_WEIGHT = 0.2, 2.0  # share of the steps, and weight of the loss
STEP_SHARES = ((1, 0.4), (2, 0.2), (4, 0.4))  # how often each number of steps is trained
LEAST_PX, LOOK_PX = 48, 96  # minimum side of the judged part; side to which it is resized


def train(
    batch: Callable[[], tuple[np.ndarray, ...]],
    network: PainterNetwork,
    folder: Path,
    *,
    steps: int,
    batch_size: int,
    keep_forms: bool = True,
    name: str = "painter",
) -> PainterNetwork:
    """Finish `network`; return the average of its weights and write `name`.safetensors in `folder`.

    batch: returns half of `batch_size`, since each sketch is painted twice, from two noises.
    keep_forms: on blank paper the anchor is the network's earlier picture from the same noise, which
    preserves invented forms and responses to moods; otherwise the real picture is the anchor everywhere.
    """
    before = channels_last(deepcopy(network)).requires_grad_(False)
    network = channels_last(network).requires_grad_(True)
    average, look, critic = deepcopy(network).requires_grad_(False), feature_network.load(), Critic()
    optimizer = torch.optim.Adam(network.parameters(), RATE, betas=(0.5, 0.99), fused=True)
    critic_optimizer = torch.optim.Adam(critic.parameters(), CRITIC_RATE, betas=(0.0, 0.99), fused=True)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    parts |= {"critic": critic, "critic_optimizer": critic_optimizer}
    run = Run(folder, parts, steps, batch_size)
    shown = to_tensors(batch())
    counts, shares = zip(*STEP_SHARES, strict=True)
    for step in run.steps(lambda done: save_grid(folder / f"grid-{done:07d}.png", average, *shown)):
        picture, condition = twice(*some_as_paper(*to_tensors(batch())))
        z = flow.start(condition, torch.randn_like(picture))
        if keep_forms and distributed.agreed(torch.rand(())) < MOOD_SHARE:
            losses = {"mood": MOOD_WEIGHT * mood_loss(network, before, condition, z)}
        else:
            count = int(counts[int(distributed.agreed(torch.multinomial(torch.tensor(shares), 1)))])
            made, first = student_picture(network, average, condition, z, count)
            seen_made, seen_real, paint = side_by_side(look, made, picture, condition)
            losses = {
                "feature": FEATURE_WEIGHT * feature_loss(seen_made, seen_real, paint),
                "texture": TEXTURE_WEIGHT * texture_loss(made, picture),
                "grid": GRID_WEIGHT * grid_loss(made),
            }
            if first is not None:
                losses[f"form_{count}"] = pyramid_loss(made, first, AGREEMENT_LEVELS)
                losses[f"band_{count}"] = AGREEMENT_BAND * band_loss(made, first)
            else:
                rate = learning_rate(step, steps, CRITIC_RATE, warm_up=1, floor=0.1)
                run.note(judged=critic_turn(critic, critic_optimizer, seen_made, seen_real, paint, rate))
                form = kept_form(before, picture, condition, z) if keep_forms else picture
                weight = CRITIC_WEIGHT * min(1, step / WARM_UP)
                losses |= {
                    "anchor": pyramid_loss(made, form, ANCHOR_LEVELS),
                    "critic": weight * verdict(critic, seen_made, paint),
                    "band": BAND_WEIGHT * band_loss(made, picture),
                    "variety": variety_loss(made, condition),
                }
        descend(
            optimizer, torch.stack(list(losses.values())).sum(), learning_rate(step, steps, RATE, floor=0.1)
        )
        follow(average, network, EMA_DECAY, step)
        run.note(**{what: loss.item() for what, loss in losses.items()})
    save(folder / f"{name}.safetensors", average.state_dict(), average.config.as_dict(), dtype=torch.bfloat16)
    return average


def some_as_paper(picture: Tensor, condition: Condition) -> tuple[Tensor, Condition]:
    """In some batches replace the first paper by the view itself, so that finished pictures are kept."""
    if torch.rand(()) < PAPER_SHARE:
        condition.sketch[:1], condition.alpha[:1] = flow.soften(picture[:1]), 1.0
    return picture, condition


def twice(picture: Tensor, condition: Condition) -> tuple[Tensor, Condition]:
    return torch.cat((picture, picture)), Condition(*(torch.cat((part, part)) for part in condition))


def mood_loss(network: PainterNetwork, before: PainterNetwork, condition: Condition, z: Tensor) -> Tensor:
    """Change of the network's response to a mood since before the finish, except in fine detail.

    The mood is taken from another sketch. In the data colours follow the mood, so a network that sees no
    other pairs may ignore the mood and follow the paint; people paint a blue sky and select a sunset.
    """
    condition = condition._replace(mood=condition.mood.roll(len(z) // 4, 0))
    with torch.no_grad():
        meant = predict(before, z, condition, 1.0, 1.0)
    return pyramid_loss(predict(network, z, condition, 1.0, 1.0), meant, MOOD_LEVELS)


def student_picture(
    network: PainterNetwork, average: PainterNetwork, condition: Condition, z: Tensor, steps: int
) -> tuple[Tensor, Tensor | None]:
    """Return the student's prediction at a time visited by `steps` steps, and the picture to agree with.

    The state is reached as in sampling, by the network's own steps from z: trained on the way to real
    pictures, the network sharpens its own errors. With more than one step the average's one-step picture is
    also returned; it alone fixes the layout.
    """
    index = int(torch.randint(steps, ()))
    first, x = None, z
    with torch.no_grad():
        if steps > 1:
            first = predict(average, z, condition, 1.0, 1.0)
        for done in range(index):
            picture = predict(network, x, condition, 1 - done / steps, 1 / steps)
            x = x + (picture - x) / (steps - done)
    return predict(network, x, condition, 1 - index / steps, 1 / steps), first


def kept_form(before: PainterNetwork, picture: Tensor, condition: Condition, z: Tensor) -> Tensor:
    """Return the real picture under paint, and the earlier network's picture from the same noise on blank."""
    with torch.no_grad():
        return torch.lerp(predict(before, z, condition, 1.0, 1.0), picture, condition.alpha)


def critic_turn(
    critic: Critic, optimizer: torch.optim.Optimizer, made: list, real: list, paint: Tensor, rate: float
) -> float:
    """Train the critic on the features of one batch; return its loss."""
    loss = critic_loss(critic(real, paint), critic([x.detach() for x in made], paint))
    descend(optimizer, loss, rate)
    return loss.item()


def verdict(critic: Critic, made: list, paint: Tensor) -> Tensor:
    """Return the painter's critic loss, without gradients to the critic."""
    critic.requires_grad_(False)
    loss = painter_loss(critic(made, paint))
    critic.requires_grad_(True)
    return loss


def predict(network: PainterNetwork, x: Tensor, condition: Condition, t: float, step: float) -> Tensor:
    times = torch.full((len(x),), t)
    with autocast():
        return flow.denoise(network, x, condition, times, torch.full_like(times, step)).float()


def side_by_side(look, made: Tensor, real: Tensor, condition: Condition) -> tuple[list, list, Tensor]:
    """Return features of a generated and a real picture, and the paint, of one part at one magnification.

    Part and magnification are random each time: fixed strides would cause a grid pattern. In each direction a
    third of the parts end at a border of the crop, which would otherwise be sampled too rarely.
    """
    least = min(LEAST_PX, made.shape[2] // 2)
    side = int(least + torch.rand(()) * (made.shape[2] - 8 - least))
    y, x = ((torch.rand(2) * 1.5 - 0.25).clamp(0, 1) * (made.shape[2] - side)).round().int().tolist()

    def part(whole: Tensor) -> Tensor:
        cut = whole[..., y : y + side, x : x + side]
        return F.interpolate(cut, (LOOK_PX, LOOK_PX), mode="bilinear", antialias=True)

    with torch.no_grad():
        seen_real = look(part(real))
    return look(part(made)), seen_real, part(torch.cat((condition.sketch, condition.alpha), 1))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor, rate: float) -> None:
    """Clear old gradients and take one optimizer step on the loss."""
    set_rate(optimizer, rate)
    optimizer.zero_grad(set_to_none=True)
    weights = optimizer.param_groups[0]["params"]
    distributed.backward(loss, weights)
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()
