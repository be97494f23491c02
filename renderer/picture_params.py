"""Picture settings: model, steps, strength, seed, prompt, mood."""

from __future__ import annotations

from dataclasses import dataclass, replace

from models.api import DEFAULT_MOOD, MAX_PROMPT_CHARS, MOOD_AXES, ModelError, Request, check_look
from renderer.actions import Change, InputError

MAX_SEED = 2**63 - 1
STORED = ("steps", "strength", "seed", "prompt", "lora_scale", "look", "material_prompt")
# fields stored in requests, logs and pictures


@dataclass(frozen=True)
class PictureParams:
    """Settings from which a picture is rendered, besides the paper. Changed by panel, keys and logs."""

    model: str = "painter"
    steps: int = 1
    strength: float = 0.6
    seed: int = 0
    prompt: str = ""
    mood: tuple[float, ...] = DEFAULT_MOOD
    target_fps: float = 0.0
    lora_scale: float = 1.0
    look: str = "scenic"  # one of models.api.LOOKS
    material_prompt: bool = False  # add names of painted materials to the prompt of pretrained models

    def change(self, name: str, value) -> PictureParams:
        """A copy with one setting changed, within its range. Raises InputError for an invalid value."""
        axes = [axis.name for axis in MOOD_AXES]
        try:
            if name.startswith("mood.") and name[5:] in axes:
                at = axes.index(name[5:])
                level = round(min(1.0, max(0.0, float(value))), 3)
                return replace(self, mood=(*self.mood[:at], level, *self.mood[at + 1 :]))
            if name == "prompt":
                return replace(self, prompt=checked_prompt(str(value)))
            if name == "steps":
                return replace(self, steps=min(50, max(1, int(value))))
            if name == "strength":
                return replace(self, strength=round(min(1.0, max(0.0, float(value))), 3))
            if name == "lora_scale":
                return replace(self, lora_scale=round(min(2.0, max(0.0, float(value))), 3))
            if name == "seed":
                return replace(self, seed=min(MAX_SEED, max(0, int(value))))
            if name == "target_fps":
                return replace(self, target_fps=max(0.0, float(value)))
            if name == "look":
                check_look(str(value))
                return replace(self, look=str(value))
            if name == "material_prompt":
                return replace(self, material_prompt=bool(value))
            if name == "model":
                return replace(self, model=str(value))
        except ModelError as error:
            raise InputError(str(error)) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"{name} cannot be {value!r}") from error
        raise InputError(f"there is no setting named {name!r}")

    def asked(self, options) -> PictureParams:
        """A copy with the command-line options that are not None. options.mood: text as for `mood_of`."""
        params = self
        for name in ("steps", "strength", "seed", "prompt", "look", "material_prompt"):
            if getattr(options, name, None) is not None:
                params = params.change(name, getattr(options, name))
        if getattr(options, "mood", None) is not None:
            params = replace(params, mood=mood_of(options.mood))
        return params

    def starts_epoch(self, other: PictureParams) -> bool:
        """Whether pictures made with the other settings are refused once these apply."""
        names = ("model", "seed", "prompt", "mood", "look", "material_prompt")
        return any(getattr(self, name) != getattr(other, name) for name in names)

    def changes_to(self, other: PictureParams, models: tuple[str, ...]) -> list[Change]:
        """The changes from these settings to the others; of the model only if it is in `models`."""
        names = [*STORED, *["model"] * (other.model in models)]
        made = [Change(n, getattr(other, n)) for n in names if getattr(self, n) != getattr(other, n)]
        moods = zip(MOOD_AXES, self.mood, other.mood, strict=True)
        return made + [Change(f"mood.{axis.name}", to) for axis, level, to in moods if level != to]

    def request(self, paper, **fields) -> Request:
        """A request with these settings. fields: materials, sequence, epoch, dirty, steps."""
        made = {name: getattr(self, name) for name in STORED}
        return Request(paper=paper, mood=self.mood, **(made | fields))

    def as_dict(self) -> dict:
        moods = {axis.name: value for axis, value in zip(MOOD_AXES, self.mood, strict=True)}
        return {name: getattr(self, name) for name in STORED} | {"mood": moods}

    @classmethod
    def of(cls, request: Request, model: str) -> PictureParams:
        """The settings of a request."""
        return cls(model, mood=tuple(request.mood), **{name: getattr(request, name) for name in STORED})

    @classmethod
    def from_dict(
        cls, values: dict, model: str = "painter", before: PictureParams | None = None
    ) -> PictureParams:
        """The settings stored in a log or a picture; missing ones are taken from `before` or their defaults.

        Raises InputError for invalid values.
        """
        params = cls(model=model) if before is None else replace(before, model=model)
        for name in STORED:
            if name in values:
                params = params.change(name, values[name])
        moods = values.get("mood", {})
        if not isinstance(moods, dict):
            raise InputError("mood must be given by the names of its axes")
        for name, value in moods.items():
            params = params.change(f"mood.{name}", value)
        return params


def mood_of(text: str) -> tuple[float, ...]:
    """Parse the mood from comma-separated numbers in the order of the axes; omitted ones keep their default.

    Raises InputError for a value that is not a number from 0 to 1, and for too many values.
    """
    names = ", ".join(axis.name for axis in MOOD_AXES)
    try:
        levels = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"mood {text!r} is not valid: give comma-separated numbers, for {names}") from error
    if len(levels) > len(MOOD_AXES) or not all(0 <= level <= 1 for level in levels):
        raise InputError(
            f"mood {text!r} is not valid: at most {len(MOOD_AXES)} numbers from 0 to 1, for {names}"
        )
    return (*(round(level, 3) for level in levels), *DEFAULT_MOOD[len(levels) :])


def checked_prompt(text: str) -> str:
    """The prompt as one line of at most MAX_PROMPT_CHARS. Raises InputError for a longer one."""
    text = " ".join(text.split())
    if len(text) > MAX_PROMPT_CHARS:
        raise InputError(f"the prompt has {len(text)} characters; at most {MAX_PROMPT_CHARS} will do")
    return text
