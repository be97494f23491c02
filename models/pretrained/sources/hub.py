"""Download models from the Hugging Face hub and check the local copies. The only network access."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from pathlib import Path

from models.api import ModelError, ProgressCallback, no_progress
from models.pretrained.sources import error_messages
from models.pretrained.sources.folder import HALF, INDEX, read_folder, read_header, read_index

TEXT = (".json", ".txt", ".model", ".jinja")


def wanted_files(names: list[str], components: Collection[str] = ()) -> list[str]:
    """Select the files of a repository that are loaded: text files, and one set of safetensors per component.

    Half-precision weights are preferred where a folder has both. Raises ModelError where there are no
    safetensors.
    """
    kept = [n for n in names if n == INDEX]
    folders: dict[str, list[str]] = {}
    for name in names:
        parts = name.split("/")
        if len(parts) == 2 and parts[0] in components:
            folders.setdefault(parts[0], []).append(name)
        elif len(parts) == 1 and INDEX not in names and HALF not in name:
            # a single component, such as a tiny autoencoder, or a LoRA
            kept += [name] if name.endswith((".json", ".safetensors")) else []
    for inside in folders.values() if INDEX in names else ():
        weights = [n for n in inside if n.endswith(".safetensors") and "non_ema" not in n]
        weights = [n for n in weights if "openvino" not in n and "flax" not in n]
        half = [n for n in weights if HALF in n]
        kept += half or weights
        kept += [n for n in inside if n.endswith(TEXT) and not (half and ".index" in n and HALF not in n)]
    if not any(n.endswith(".safetensors") for n in kept):
        raise ModelError("the hub has no safetensors of it, and nothing else is loaded")
    return kept


def fetch(repo: str, *, progress: ProgressCallback = no_progress) -> Path:
    """Return the local folder of a hub model, after downloading it where needed.

    After an interrupted download complete files are kept, and damaged ones are downloaded again. Raises
    ModelError, one line with what to do. HF_HUB_OFFLINE is honoured.
    """
    with error_messages.explained(repo):
        return _fetch(repo, progress)


def _fetch(repo: str, progress: ProgressCallback) -> Path:
    from huggingface_hub import HfApi, constants, snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled
    from huggingface_hub.utils import logging

    found = cached(repo)
    if found is not None and complete(found):
        return found
    if constants.is_offline_mode():
        if found is not None:
            raise ModelError(f"{repo}: {fault(found)}; {error_messages.unreachable()}")
        raise OfflineModeIsEnabled(repo)
    logging.set_verbosity_error()  # it logs every attempt
    info = HfApi().model_info(repo, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    components: dict[str, str] = {}
    if INDEX in sizes:
        index = snapshot_download(repo, allow_patterns=[INDEX], tqdm_class=bars_of(lambda some: None))
        components = read_index(Path(index)).components
    chosen = wanted_files(list(sizes), components)
    total = sum(sizes[name] for name in chosen)
    there = {name: found / name for name in chosen if found is not None and (found / name).exists()}
    damaged = [name for name, path in there.items() if not whole(path, sizes[name])]
    have = sum(sizes[name] for name in there if name not in damaged)
    line = f"downloading {repo}, {total / 1e6:.0f} MB"
    bars = bars_of(lambda some: progress(line, min(1.0, (have + some) / max(1, total))))
    if damaged:
        snapshot_download(repo, allow_patterns=damaged, force_download=True, tqdm_class=bars)
    path = Path(snapshot_download(repo, allow_patterns=chosen, max_workers=4, tqdm_class=bars))
    progress(line, 1.0)
    return path


def bars_of(told: Callable[[int], None]) -> type:
    """Return a progress-bar class for `huggingface_hub` that draws nothing and reports the bytes received.

    Two bars count the same bytes in threads of their own: one as they are downloaded, one as they are
    written. The larger count is reported, so that the number never falls.
    """
    from huggingface_hub.utils import tqdm

    lock, most = threading.Lock(), 0

    class Bar(tqdm):
        def __init__(self, *args, **options):
            self.counts = options.get("unit") == "B"
            self.bytes = int(options.get("initial") or 0)
            super().__init__(*args, **(options | {"disable": True}))

        def update(self, n: float | None = 1) -> None:
            nonlocal most
            self.bytes += int(n or 0)
            with lock:
                if self.counts and self.bytes > most:
                    most = self.bytes
                    told(most)

    return Bar


def cached(repo: str) -> Path | None:
    """Newest snapshot of a hub model in the local cache, complete or not; None where there is none."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    place = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo, repo_type="model")
    try:
        path = place / "snapshots" / (place / "refs" / "main").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return path if path.is_dir() else None


def here(repo: str) -> bool:
    """Whether all files of a hub model that are loaded are on this machine."""
    path = cached(repo)
    return path is not None and complete(path)


def complete(path: Path) -> bool:
    """Whether a snapshot has all files that are loaded from it."""
    return not fault(path)


def fault(path: Path) -> str:
    """Return the fault of a snapshot; empty where there is none."""
    try:
        if (path / INDEX).exists():
            read_folder(path)
            return ""
        headers = [read_header(file) for file in path.glob("*.safetensors")]
    except ModelError as error:
        return str(error)
    return "" if headers else f"{path} has no weights"


def whole(file: Path, size: int) -> bool:
    """Whether a downloaded file has the length stated by the hub, and a weights file that of its header."""
    if file.suffix == ".safetensors":
        try:
            read_header(file)
        except ModelError:
            return False
    return file.stat().st_size == size
