"""Rectified flow of the material-aware painter: path, prediction, loss and sampling.

Time runs from t=1 (the start z) to t=0 (the picture x): x_t = (1-t) x + t z (Liu et al. 2022; Lipman et al.
2022). All values are residuals on the softened sketch, r_t = x_t - E[x_t | sketch], which follow a straight
path from share * noise at t=1 to picture - sketch at t=0. Residuals are stored as cells,
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
    """A MaterialNetwork with the flow's formulas, shared by training, evaluation and sampling.

    Pictures are (B, 3, H, W) float32 in [-1, 1].
    """

    def __init__(self, network: MaterialNetwork | MaterialConfig | None = None):
        super().__init__()
        self.network = network if isinstance(network, MaterialNetwork) else MaterialNetwork(network)

    def start(self, condition: MaterialCondition) -> Tensor:
        """Residual at t=1: full noise on blank paper, noise times `strength` under opaque paint."""
        covered = condition.means[:, 3:] * column(1 - condition.strength)
        return condition.noise.start() * (1 - covered)

    def predict(self, residual: Tensor, condition: MaterialCondition, t: Tensor, step: Tensor) -> Tensor:
        """Predict the picture's residual, float32 cells, from `residual` at times t, (B,).

        step: (B,) length of the step to take; 0 for a tangent. Preconditioned as in Karras et al. 2022.
        """
        c_in, c_skip, c_out = (column(c) for c in flow.scales(t))
        scaled = residual * c_in
        with autocast(residual.device.type):
            out = self.network(scaled, condition, t, step)
        head, gate = out.float().split((COLORS, out.shape[1] - COLORS), 1)
        return c_skip * residual + c_out * (head + gate.repeat(1, 3, 1, 1) * scaled)

    def picture(self, residual: Tensor, condition: MaterialCondition) -> Tensor:
        """Convert residual cells to a picture (B, 3, H, W), not clamped."""
        return F.pixel_shuffle(residual, CELL_PX) + condition.sketch

    def residual(self, picture: Tensor, condition: MaterialCondition) -> Tensor:
        """Convert a picture to residual cells, the end of the path at t=0."""
        return F.pixel_unshuffle(picture - condition.sketch, CELL_PX)

    def one_step(self, condition: MaterialCondition) -> Tensor:
        """Predict the picture in one step from the start, not clamped; keeps gradients if enabled."""
        whole = torch.ones_like(condition.strength)
        return self.picture(self.predict(self.start(condition), condition, whole, whole), condition)

    @torch.no_grad()
    def sample(self, condition: MaterialCondition, steps: int) -> Tensor:
        """Sample the picture with `steps` Euler steps, clamped to [-1, 1]."""

        def model(residual: Tensor, t: float, step: float) -> Tensor:
            times = torch.full_like(condition.strength, t)
            return self.predict(residual, condition, times, torch.full_like(times, step))

        residual = ddim(model, self.start(condition), uniform(Straight(), steps))
        return self.picture(residual, condition).clamp(-1, 1)

    def velocity_loss(self, picture: Tensor, condition: MaterialCondition, t: Tensor) -> Tensor:
        """Mean squared error of the velocity at times t, (B,): the teacher's training loss.

        The network does not see the noise levels: from them and x_t it could compute the picture.
        """
        end = self.residual(picture, condition)
        x_t = torch.lerp(end, self.start(condition), column(t))
        blind = without_levels(condition)
        predicted = self.predict(x_t, blind, t, t * torch.rand_like(t))
        return (predicted - end).square().mean((1, 2, 3)) / t.clamp_min(MIN_TIME) ** 2


def without_levels(condition: MaterialCondition) -> MaterialCondition:
    """Set the noise levels to zero, for a flow of many steps, which sees the noise only in x_t."""
    levels = tuple(torch.zeros_like(level) for level in condition.noise.levels)
    return condition._replace(noise=condition.noise._replace(levels=levels))
