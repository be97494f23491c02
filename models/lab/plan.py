"""Settings of `compare`: number and size of pictures, samplers and their numbers of steps."""

from __future__ import annotations

from dataclasses import dataclass

from models.painter.contenders import Contender

REFERENCE = ("diffusion", "dpm++2m", 30)  # the row that speeds are relative to


@dataclass(frozen=True)
class Plan:
    """Settings of a comparison.

    side_px: side of the pictures. pictures: number used for quality and time. converging: number used for
    distances to the ODE's solution, which Heun's method computes in `converged` steps.
    steps: step counts of every sampler. orders: step counts of the fits. many: step counts of DDPM, which
    needs many steps. strengths: strengths at which a flow started at the sketch is compared with one started
    in pure noise, using `shortcut`.
    """

    side_px: int = 256
    pictures: int = 6
    converging: int = 1
    converged: int = 256
    steps: tuple[int, ...] = (1, 2, 4, 8, 16, 30, 50)
    orders: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    many: tuple[int, ...] = (250, 1000)
    strengths: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    shortcut: str = "flow-euler"
    flow: tuple[str, ...] = (
        "flow-euler",
        "flow-heun",
        "dpm++2m",
        "dpm++2m-karras",
        "unipc",
        "euler-a",
        "dpm++2s-a",
        "dpm++sde",
    )
    diffusion: tuple[str, ...] = (
        "ddim",
        "euler",
        "heun",
        "dpm++2m",
        "dpm++2m-karras",
        "unipc",
        "euler-a",
        "dpm++2s-a",
        "dpm++sde",
    )

    def rows(self, contender: Contender) -> list[tuple[str, int]]:
        """Return (sampler, steps) of every table row of this contender."""
        if contender.name == "painter":  # one network for these step counts, conditioned on step length
            return [("flow-euler", steps) for steps in (1, 2, 4)]
        samplers = getattr(self, contender.kind)
        rows = [(name, steps) for name in samplers for steps in self.steps]
        if contender.kind == "diffusion":
            rows += [("ddpm", steps) for steps in self.many]
        return rows

    def fits(self, contender: Contender) -> list[str]:
        """Return the samplers whose distance to the converged solution is measured."""
        return [] if contender.name == "painter" else list(getattr(self, contender.kind))

    def shortens(self, contender: Contender) -> bool:
        """Return whether the contender can start at the sketch: flows can, diffusions start in pure noise."""
        return contender.kind == "flow" and contender.name != "painter"


QUICK = Plan(
    side_px=128,
    pictures=6,
    converging=1,
    steps=(1, 2, 4, 8, 16, 30),
    orders=(8, 16, 32, 64, 128),
    many=(250,),
    strengths=(0.2, 0.6, 1.0),
    flow=("flow-euler", "flow-heun", "dpm++2m", "dpm++2m-karras", "euler-a"),
    diffusion=("ddim", "dpm++2m", "dpm++2m-karras", "euler-a"),
)
