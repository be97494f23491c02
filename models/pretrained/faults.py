"""What can go wrong with a pretrained model, as one line that says what to do."""

from __future__ import annotations

import os

from models.api import Cancelled, ModelError

HUB = "https://huggingface.co"


def explain(error: BaseException, what: str) -> BaseException:
    """The ModelError to raise for an error met while `what` (a model's name or file) was loaded or run."""
    if isinstance(error, ModelError | Cancelled | KeyboardInterrupt | SystemExit):
        return error
    return ModelError(f"{what}: {reason(error, what)}")


def reason(error: BaseException, what: str) -> str:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    text = first_line(error)
    if "GatedRepoError" in kinds:
        return f"its licence is not accepted yet; visit {HUB}/{what}, then run `hf auth login`"
    if "RepositoryNotFoundError" in kinds:
        return "the hub knows no such model, or shows it only to whom `hf auth login` has let in"
    if "EntryNotFoundError" in kinds and "LocalEntryNotFoundError" not in kinds:
        return f"the hub's copy lacks a file: {text}"
    if "LocalEntryNotFoundError" in kinds or "OfflineModeIsEnabled" in kinds:
        return f"it is not on this machine, and {unreachable()}"
    if "HfHubHTTPError" in kinds:
        return f"the hub refused: {text}"
    if kinds & {"ConnectError", "ConnectTimeout", "ConnectionRefusedError"}:
        return f"it is not on this machine, and {unreachable()}"
    if kinds & {"ReadTimeout", "ConnectionError", "TransportError"}:
        return f"the connection to the hub was lost ({type(error).__name__}); run it again: whole files stay"
    if "SafetensorError" in kinds:
        return f"a weights file is damaged or cut short ({text}); delete it and download it again"
    if "meta tensor" in text:  # where weights should have come in
        return "some of its weights are missing"
    if "OutOfMemoryError" in kinds or isinstance(error, MemoryError):
        return "there was not enough memory; try a smaller size, --dtype bfloat16 or --offload"
    return text


def unreachable() -> str:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return "HF_HUB_OFFLINE forbids to download it"
    return "the hub cannot be reached"


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
