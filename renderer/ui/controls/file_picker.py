"""File dialogs for opening an image: the platform's dialog if there is one, else a thumbnail picker.

Neither can delete, rename or overwrite files. Folders are read and thumbnails decoded on threads.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
import threading
import zipfile
from collections import deque
from pathlib import Path

import pygame
from PIL import Image
from platformdirs import user_pictures_dir

from renderer.ui.style.icons import icon
from renderer.ui.style.theme import CARD, EDGE, FAINT, INK, RAISED, SOFT, WELL, Theme, rounded, text

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".gif", ".psd", ".ora",
)  # fmt: skip
WIDE, HIGH, TOP, FOOT, GAP = 660, 470, 48, 46, 12
CELL = (118, 116)
THUMBNAIL = (110, 78)
MOST_PIXELS = 64_000_000
TITLE = "Open an image as paper"


def pictures_folder() -> Path:
    pictures = Path(user_pictures_dir())
    return pictures if pictures.is_dir() else Path.home()


def entries_of(folder: Path) -> list[Path]:
    """Folders, then images, each sorted by name ignoring case, without hidden files. Raises OSError."""
    shown = [path for path in folder.iterdir() if not path.name.startswith(".")]
    folders = [path for path in shown if path.is_dir()]
    images = [path for path in shown if path.suffix.lower() in SUFFIXES and path.is_file()]
    return [
        *sorted(folders, key=lambda path: path.name.lower()),
        *sorted(images, key=lambda p: p.name.lower()),
    ]


def thumbnail(path: Path, size: tuple[int, int]) -> Image.Image | None:
    """RGB thumbnail of an image within this size; None if it cannot be read or is too large to decode."""
    try:
        if path.suffix.lower() == ".ora":
            with zipfile.ZipFile(path) as document:
                source = io.BytesIO(document.read("Thumbnails/thumbnail.png"))
        else:
            source = path
        with Image.open(source) as image:
            if image.width * image.height > MOST_PIXELS:
                return None
            image.draft("RGB", size)
            image.thumbnail(size)
            return image.convert("RGB")
    except Exception:  # Pillow's decoders raise many exception types; a missing thumbnail is no error
        return None


class FilePicker:
    """File picker over the middle of the window, open until a file is chosen or it is cancelled."""

    def __init__(self, theme: Theme, folder: Path):
        self.theme, self.folder = theme, folder
        self.entries: list[Path] = []
        self.problem = ""
        self.scroll = 0  # number of rows above the first visible one
        self._thumbnails: dict[Path, pygame.Surface] = {}
        self._made: deque[tuple[Path, Image.Image]] = deque()
        self._run = 0  # number of the current folder listing; threads of older ones end
        self.open(folder)

    def open(self, folder: Path) -> None:
        """Show another folder."""
        self.folder, self.entries, self.problem, self.scroll = folder, [], "", 0
        self._run += 1
        threading.Thread(target=self._read, args=(folder, self._run), name="pictures", daemon=True).start()

    def _read(self, folder: Path, run: int) -> None:
        try:
            found = entries_of(folder)
        except OSError as error:
            if run == self._run:
                self.problem = str(error.strerror or error)
            return
        if run == self._run:
            self.entries = found
        for path in found:
            if run != self._run:
                return
            if path.suffix.lower() in SUFFIXES and path not in self._thumbnails:
                made = thumbnail(path, (self.theme.px(THUMBNAIL[0]), self.theme.px(THUMBNAIL[1])))
                if made is not None:
                    self._made.append((path, made))

    def close(self) -> None:
        """End the threads."""
        self._run += 1

    def box(self, window: tuple[int, int]) -> pygame.Rect:
        px = self.theme.px
        box = pygame.Rect(0, 0, min(window[0], px(WIDE)), min(window[1], px(HIGH)))
        box.center = window[0] // 2, window[1] // 2
        return box

    def grid(self, box: pygame.Rect) -> list[tuple[Path, pygame.Rect]]:
        """The visible entries and their positions."""
        px = self.theme.px
        inner = pygame.Rect(
            box.x + px(GAP), box.y + px(TOP), box.width - px(2 * GAP), box.height - px(TOP + FOOT)
        )
        across, rows = max(1, inner.width // px(CELL[0])), max(1, inner.height // px(CELL[1]))
        self.scroll = max(0, min(self.scroll, -(-len(self.entries) // across) - rows))
        shown = self.entries[self.scroll * across :][: rows * across]
        return [
            (
                path,
                pygame.Rect(
                    inner.x + i % across * px(CELL[0]),
                    inner.y + i // across * px(CELL[1]),
                    px(CELL[0] - 6),
                    px(CELL[1] - 6),
                ),
            )
            for i, path in enumerate(shown)
        ]

    def buttons(self, box: pygame.Rect) -> dict[str, pygame.Rect]:
        px = self.theme.px
        return {
            "up": pygame.Rect(box.x + px(GAP), box.y + px(10), px(34), px(28)),
            "cancel": pygame.Rect(box.right - px(GAP + 90), box.bottom - px(38), px(90), px(28)),
        }

    def handle(self, event: pygame.event.Event, window: tuple[int, int]) -> Path | bool:
        """Handle an event. Returns the chosen file, otherwise whether the picker stays open."""
        box = self.box(window)
        if event.type == pygame.KEYDOWN:
            if event.key == pygame.K_BACKSPACE:
                self.open(self.folder.parent)
            return event.key != pygame.K_ESCAPE
        if event.type == pygame.MOUSEWHEEL:
            self.scroll -= event.y
        elif event.type == pygame.MOUSEBUTTONDOWN and event.button == 1:
            buttons = self.buttons(box)
            if buttons["up"].collidepoint(event.pos):
                self.open(self.folder.parent)
            elif buttons["cancel"].collidepoint(event.pos) or not box.collidepoint(event.pos):
                return False
            for path, place in self.grid(box):
                if place.collidepoint(event.pos):
                    if path.suffix.lower() in SUFFIXES and not path.is_dir():
                        return path
                    self.open(path)
                    break
        return True

    def draw(self, surface: pygame.Surface) -> None:
        while self._made:
            path, made = self._made.popleft()
            self._thumbnails[path] = pygame.image.frombuffer(made.tobytes(), made.size, "RGB")
        px, theme, box = self.theme.px, self.theme, self.box(surface.get_size())
        rounded(surface, CARD, box, px(10))
        rounded(surface, EDGE, box, px(10), 1)
        buttons = self.buttons(box)
        for place in buttons.values():
            rounded(surface, RAISED, place, px(6))
        up = icon("layer.up", px(16), INK)
        surface.blit(up, up.get_rect(center=buttons["up"].center), special_flags=pygame.BLEND_PREMULTIPLIED)
        label = text("Cancel", theme.body, INK)
        surface.blit(label, label.get_rect(center=buttons["cancel"].center))
        surface.set_clip(box.inflate(-px(2 * GAP), 0))
        place = text(str(self.folder), theme.body, SOFT)
        left = buttons["up"].right + px(GAP)
        surface.blit(place, (min(left, box.right - px(GAP) - place.get_width()), box.y + px(16)))
        surface.set_clip(None)
        words = self.problem or ("" if self.entries else "no images here")
        surface.blit(text(words, theme.body, FAINT), (box.x + px(GAP), box.bottom - px(32)))
        for path, cell in self.grid(box):
            self.draw_entry(surface, path, cell)

    def draw_entry(self, surface: pygame.Surface, path: Path, cell: pygame.Rect) -> None:
        px, theme = self.theme.px, self.theme
        rounded(surface, WELL, cell, px(6))
        middle = cell.centerx, cell.y + px(4 + THUMBNAIL[1] // 2)
        made = self._thumbnails.get(path)
        if made is not None:
            surface.blit(made, made.get_rect(center=middle))
        elif path.suffix.lower() not in SUFFIXES:
            folder = icon("open", px(36), SOFT)
            surface.blit(folder, folder.get_rect(center=middle), special_flags=pygame.BLEND_PREMULTIPLIED)
        surface.set_clip(cell.inflate(-px(6), 0))
        name = text(path.name, theme.small, SOFT)
        x = max(cell.x + px(4), cell.centerx - name.get_width() // 2)
        surface.blit(name, (x, cell.bottom - px(22)))
        surface.set_clip(None)


class PlatformDialog:
    """The platform's file dialog in a separate process; the loop polls `result` once a tick.

    Tested with stand-ins for the dialog programs; the macOS dialog has never been run.
    """

    def __init__(self, command: list[str]):
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def result(self) -> Path | bool:
        """The chosen file, otherwise whether the dialog is still open."""
        if self._process.poll() is None:
            return True
        written = (self._process.stdout.read() if self._process.stdout is not None else "").strip()
        return Path(written) if self._process.returncode == 0 and written else False

    def close(self) -> None:
        """Close the dialog. Idempotent."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)


def platform_command(folder: Path) -> list[str] | None:
    """Command line of the platform's file dialog; None if none is installed."""
    patterns = " ".join(f"*{suffix} *{suffix.upper()}" for suffix in SUFFIXES)
    if sys.platform == "darwin":
        script = f'POSIX path of (choose file with prompt "{TITLE}" of type {{"public.image"}})'
        return ["osascript", "-e", script]
    if sys.platform == "linux" and shutil.which("zenity"):
        kept = ["--file-filter", f"Images | {patterns}"]
        return ["zenity", "--file-selection", "--title", TITLE, "--filename", f"{folder}/", *kept]
    if sys.platform == "linux" and shutil.which("kdialog"):
        return ["kdialog", "--title", TITLE, "--getopenfilename", str(folder), f"Images ({patterns})"]
    return None
