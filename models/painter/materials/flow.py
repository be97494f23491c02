"""Rectified flow of the painter that sees materials: path, prediction, loss and sampling in one object.

Time runs from t=1 (the start z) to t=0 (the picture x): x_t = (1-t) x + t z (Liu et al. 2022; Lipman et al.
2022). Everything is told as the residual on the softened sketch, r_t = x_t - E[x_t | sketch], which moves on
a straight path of its own: from share * noise at t=1 to picture - sketch at t=0. Residuals are cells,
(B, 48, H/4, W/4), so that passes over single pixels are few.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.device.precision import autocast
from models.painter import flow
from models.painter.flow import CELL_PX, MIN_TIME, column
from models.painter.materials.condition import MaterialCondition
from models.painter.materials.network import COLORS, MaterialConfig, MaterialNetwork
from models.sampling.paths import Straight, uniform
from models.sampling.solvers import ddim


class MaterialFlow(nn.Module):
    """A MaterialNetwork with what training, evaluation and sampling ask of it, so that they cannot disagree.

    Pictures are (B, 3, H, W) float32 in [-1, 1].
    """

    def __init__(self, network: MaterialNetwork | MaterialConfig | None = None):
        super().__init__()
        self.network = network if isinstance(network, MaterialNetwork) else MaterialNetwork(network)

    def start(self, condition: MaterialCondition) -> Tensor:
        """The residual at t=1: all noise on blank paper, a share `strength` of it under opaque paint."""
        covered = condition.means[:, 3:] * column(1 - condition.strength)
        return condition.noise.start() * (1 - covered)

    def predict(self, residual: Tensor, condition: MaterialCondition, t: Tensor, step: Tensor) -> Tensor:
        """The residual of the picture, float32 cells, seen from `residual` at times t, (B,).

        step: (B,) length of the step to take; 0 asks for a tangent. Preconditioned as in Karras et al. 2022.
        """
        c_in, c_skip, c_out = (column(c) for c in flow.scales(t))
        scaled = residual * c_in
        with autocast(residual.device.type):
            out = self.network(scaled, condition, t, step)
        head, gate = out.float().split((COLORS, out.shape[1] - COLORS), 1)
        return c_skip * residual + c_out * (head + gate.repeat(1, 3, 1, 1) * scaled)

    def picture(self, residual: Tensor, condition: MaterialCondition) -> Tensor:
        """(B, 3, H, W), not clamped."""
        return F.pixel_shuffle(residual, CELL_PX) + condition.sketch

    def residual(self, picture: Tensor, condition: MaterialCondition) -> Tensor:
        """The residual cells of a picture: where the path ends."""
        return F.pixel_unshuffle(picture - condition.sketch, CELL_PX)

    def one_step(self, condition: MaterialCondition) -> Tensor:
        """The picture in one step from the start, not clamped; with gradients where they are enabled."""
        whole = torch.ones_like(condition.strength)
        return self.picture(self.predict(self.start(condition), condition, whole, whole), condition)

    @torch.no_grad()
    def sample(self, condition: MaterialCondition, steps: int) -> Tensor:
        """The picture by `steps` steps of Euler's method, in [-1, 1]."""

        def model(residual: Tensor, t: float, step: float) -> Tensor:
            times = torch.full_like(condition.strength, t)
            return self.predict(residual, condition, times, torch.full_like(times, step))

        residual = ddim(model, self.start(condition), uniform(Straight(), steps))
        return self.picture(residual, condition).clamp(-1, 1)

    def velocity_loss(self, picture: Tensor, condition: MaterialCondition, t: Tensor) -> Tensor:
        """(B,) mean squared error of the velocity at times t: what the teacher learns.

        The network does not see the levels of the noise: with them and x_t it could work the picture out.
        """
        end = self.residual(picture, condition)
        x_t = torch.lerp(end, self.start(condition), column(t))
        blind = without_levels(condition)
        predicted = self.predict(x_t, blind, t, t * torch.rand_like(t))
        return (predicted - end).square().mean((1, 2, 3)) / t.clamp_min(MIN_TIME) ** 2


def without_levels(condition: MaterialCondition) -> MaterialCondition:
    """The condition as a flow of many steps sees it, its noise known from x_t alone."""
    levels = tuple(torch.zeros_like(level) for level in condition.noise.levels)
    return condition._replace(noise=condition.noise._replace(levels=levels))
