"""Turn errors of pretrained models that a user can fix into one-line messages.

Any other error is a bug of the program: it keeps its type and its traceback.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

from models.api import Cancelled, ModelError

HUB = "https://huggingface.co"
MISMATCH = "its components do not seem to go together: "
OTHER_SHAPES = (  # torch's messages for tensors of mismatched shapes
    "shapes cannot be multiplied",
    "must match the size of tensor",
    "must match except in dimension",
    "Given groups=",
    "Given normalized_shape=",
    "Expected weight to be",
    "is invalid for input of size",
    "cannot be broadcast",
)


@contextmanager
def explained(what: str, *, mismatch: str = "") -> Iterator[None]:
    """Raise known errors of the block as ModelError, and all others unchanged.

    what: a model's name, file or hub id. mismatch: put before an error about shapes, where these come from
    the user's files; empty where a mismatch of shapes is a bug of the program.
    """
    try:
        yield
    except Exception as error:
        told = explain(error, what, mismatch=mismatch)
        if told is error:
            raise
        raise told from error


def explain(error: Exception, what: str, *, mismatch: str = "") -> Exception:
    """Return the ModelError to raise in place of a known error; else the error itself."""
    if isinstance(error, ModelError | Cancelled):
        return error
    known = reason(error, what)
    if not known and mismatch and any(words in str(error) for words in OTHER_SHAPES):
        known = mismatch + first_line(error)
    return ModelError(f"{what}: {known}") if known else error


def reason(error: BaseException, what: str) -> str:
    """Return what is wrong and what to do; empty for an unknown error."""
    kinds = kinds_of(error)
    text = first_line(error)
    if "GatedRepoError" in kinds:
        return f"its licence is not accepted yet; visit {HUB}/{what}, then run `hf auth login`"
    if "RepositoryNotFoundError" in kinds:
        return "the hub knows no such model, or shows it only to whom `hf auth login` has let in"
    if "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
        return f"the hub's copy lacks a file: {text}"
    if (status := answered(error)) is not None:
        return refusal(status, what)
    if "LocalEntryNotFoundError" in kinds or "OfflineModeIsEnabled" in kinds:
        return f"it is not on this machine, and {unreachable()}"
    if kinds & {"ConnectError", "ConnectTimeout", "ConnectionRefusedError"}:
        return f"it is not on this machine, and {unreachable()}"
    if kinds & {"ReadTimeout", "ConnectionError", "TransportError"}:
        return f"the connection to the hub was lost ({type(error).__name__}); run it again: whole files stay"
    if "SafetensorError" in kinds:
        return f"a weights file is damaged or cut short ({text}); download it again"
    if "ignore_mismatched_sizes" in str(error):
        return "its weights have other shapes than its config.json says"
    if "meta tensor" in text:  # weights were not loaded
        return "some of its weights are missing"
    if out_of_memory(error):
        return "there was not enough memory; try a smaller size, --dtype bfloat16 or --offload"
    if isinstance(error, OSError) and error.errno is not None:  # a full disk, an unreadable file
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    return ""


def kinds_of(error: BaseException) -> set[str]:
    """Names of an error's classes, so that their libraries need not be imported."""
    return {kind.__name__ for kind in type(error).__mro__}


def out_of_memory(error: BaseException) -> bool:
    """Whether the error is out of memory: a class of its own on CUDA, recognised by its text on a CPU."""
    kinds = kinds_of(error)
    return bool(kinds & {"OutOfMemoryError", "MemoryError"}) or "can't allocate memory" in str(error)


def answered(error: BaseException | None) -> int | None:
    """HTTP status of the hub's refusal, from an error or its causes."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status is not None:
            return status
        error = error.__cause__
    return None


def refusal(status: int, what: str) -> str:
    if status in (401, 403):
        return (
            f"the hub does not let you read it ({status}); log in with `hf auth login`, with a token that "
            f"may read gated models, and see {HUB}/{what}"
        )
    if status == 429:
        return (
            "the hub has had too many requests from here; wait some minutes, or log in with `hf auth login`"
        )
    return f"the hub answered with error {status}; try again later"


def unreachable() -> str:
    from huggingface_hub import constants

    if constants.is_offline_mode():
        return "HF_HUB_OFFLINE forbids to download it"
    return "the hub cannot be reached"


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return textwrap.shorten(lines[0], 200, placeholder=" ...") if lines else type(error).__name__
