"""Draws the sample media, so that the site shows something without shipping a binary file."""

import math
import random
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.storage import storages
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

from .models import Document, Shared, Upload
from .webm import webm

Size = tuple[int, int]


class Scene(NamedTuple):
    sky: tuple[str, str, str]  # from the zenith to the horizon
    sun: str
    far: str
    near: str
    seed: int


DAWN = Scene(("#2b3a67", "#c9688a", "#ffd29d"), "#fff3d6", "#b8718f", "#2a1f3d", 4)
NOON = Scene(("#2f80c9", "#79bdea", "#eaf6fb"), "#fffef2", "#8fbfc4", "#1f5a4c", 9)
DUSK = Scene(("#1d2350", "#7a4a86", "#f2936b"), "#ffd9a0", "#6f5286", "#150f2b", 23)
MIST = Scene(("#9fb4bd", "#d3dcdc", "#f4f1ea"), "#ffffff", "#c3cfd0", "#4c666b", 31)
NIGHT = Scene(("#050a1f", "#13244f", "#3d5a8c"), "#f4f1e0", "#2f4674", "#060b1a", 14)


def sky(scene: Scene, size: Size) -> Image.Image:
    top, middle, horizon = scene.sky
    gradient = Image.linear_gradient("L").resize(size, Image.Resampling.BICUBIC)
    return ImageOps.colorize(gradient, top, horizon, mid=middle)


def sun(radius: int) -> Image.Image:
    """The mask of a disc with its glow."""
    side = 8 * radius
    disc = Image.new("L", (side, side))
    box = (3 * radius, 3 * radius, 5 * radius, 5 * radius)
    ImageDraw.Draw(disc).ellipse(box, fill=255)
    glow = disc.filter(ImageFilter.GaussianBlur(radius * 0.9)).point(lambda value: value * 0.6)
    glow.paste(255, mask=disc.filter(ImageFilter.GaussianBlur(radius / 20)))
    return glow


def hills(scene: Scene, size: Size) -> Image.Image:
    width, height = size[0] * 2, size[1] * 2
    layer = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(layer)
    rng = random.Random(scene.seed)
    far, near = Image.new("RGB", (1, 1), scene.far), Image.new("RGB", (1, 1), scene.near)
    ridges = 5
    for index in range(ridges):
        waves = [
            (rng.uniform(0.6, 1.4) * 2**octave, rng.uniform(0, math.tau), 0.06 / 1.9**octave)
            for octave in range(5)
        ]
        base = 0.56 + 0.1 * index
        crest = []
        for x in range(0, width + 4, 4):
            y = base + sum(a * math.sin(f * math.tau * x / width + p) for f, p, a in waves)
            crest.append((x, y * height))
        colour = Image.blend(far, near, index / (ridges - 1)).getpixel((0, 0))
        draw.polygon([(0, height), *crest, (width, height)], fill=colour)
    return layer.resize(size, Image.Resampling.LANCZOS)


def landscape(scene: Scene, size: Size = (1600, 1000)) -> Image.Image:
    light = sun(size[1] // 16)
    return compose(scene, sky(scene, size), light, hills(scene, size), (0.62, 0.33))


def compose(
    scene: Scene,
    backdrop: Image.Image,
    light: Image.Image,
    land: Image.Image,
    at: tuple[float, float],
) -> Image.Image:
    """The sun behind the hills, its centre given in parts of the picture."""
    image = backdrop.copy()
    x, y = (round(part * whole) for part, whole in zip(at, image.size, strict=True))
    image.paste(scene.sun, (x - light.width // 2, y - light.height // 2), light)
    image.paste(land, mask=land)
    return image


def picture(scene: Scene) -> Callable[[Path], None]:
    return lambda path: landscape(scene).save(path, quality=90)


def make_pdf(path: Path) -> None:
    pages = []
    for title, scene in (("Dawn", DAWN), ("Noon", NOON), ("Night", NIGHT)):
        page = Image.new("RGB", (1754, 1240), "white")
        page.paste(landscape(scene, (1554, 930)), (100, 100))
        ImageDraw.Draw(page).text((100, 1070), title, "#222", ImageFont.load_default(64))
        pages.append(page)
    pages[0].save(path, save_all=True, append_images=pages[1:], resolution=150, title="Landscapes")


def make_text(path: Path) -> None:
    path.write_text("Grüße! Καλημέρα! Привет. こんにちは. مرحبا. 👋\n", encoding="utf-8")


def make_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("dawn.jpg", "mist.png", "noon.webp", "dusk.jpg", "night.png"):
            archive.write(path.parent / name, name)


def make_video(path: Path, seconds: int = 10, fps: int = 25, size: Size = (960, 540)) -> None:
    """The sun crosses the sky once, with the time on it."""
    backdrop, light, land = sky(DAWN, size), sun(size[1] // 14), hills(DAWN, size)
    font = ImageFont.load_default(64)

    def frames() -> Iterator[Image.Image]:
        for number in range(seconds * fps):
            done = number / (seconds * fps)
            at = done, 0.62 - 0.35 * math.sin(math.pi * done)
            image = compose(DAWN, backdrop, light, land, at)
            text = f"{number / fps:05.2f} s"
            ImageDraw.Draw(image).text((size[0] // 6, 30), text, "white", font)
            yield image

    path.write_bytes(webm(frames(), size, fps))


# What anybody might upload. Where its script runs, it says so.
TRICK = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>A page that somebody has uploaded</title>
<style>
  body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #201d26; background: #fff }
</style>
<p>This page was uploaded. Its script would read your cookies, and change this line:</p>
<p><strong id="told">No script has run here.</strong></p>
<script>
  told.textContent = `My script runs on ${origin}, with your cookies: ${document.cookie}`;
</script>
</html>
"""


def make_trick(path: Path) -> None:
    path.write_text(TRICK, encoding="utf-8")


def make_void(path: Path) -> None:
    """A gibibyte that takes no room on the disk."""
    with open(path, "wb") as file:
        file.truncate(1 << 30)


# In this order they are registered, so that the gallery, newest first, begins with the last.
SAMPLES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "night.png": ("Night", picture(NIGHT)),
    "dusk.jpg": ("Dusk", picture(DUSK)),
    "noon.webp": ("Noon", picture(NOON)),
    "mist.png": ("Mist", picture(MIST)),
    "dawn.jpg": ("Dawn", picture(DAWN)),
    "landscapes.zip": ("All five, zipped", make_archive),
    "Grüße aus Αθήνα.txt": ("A name beyond ASCII", make_text),
    "trick.html": ("A page whose script can’t run", make_trick),
    "landscapes.pdf": ("Three pages", make_pdf),
    "day.webm": ("A day in ten seconds", make_video),
}


# Not in the gallery: four clients ask for it, and read nothing.
VOID = "void.bin"

# Whose documents, and copies of what, they are.
DOCUMENTS = {
    "ann": {"Ann’s lease.pdf": "landscapes.pdf", "Ann at dawn.jpg": "dawn.jpg"},
    "ben": {"Bens Brief – für später.txt": "Grüße aus Αθήνα.txt", "Ben by night.png": "night.png"},
}
SHARED = {
    "press kit.zip": "landscapes.zip",
    "cover.webp": "noon.webp",
    "programme.pdf": "landscapes.pdf",
    "trailer.webm": "day.webm",
}


def make_samples(*, video: bool = True) -> None:
    """Makes and registers what isn't there yet."""
    folder = Path(settings.MEDIA_ROOT, "samples")
    folder.mkdir(parents=True, exist_ok=True)
    for name, (title, make) in SAMPLES.items():
        if make is make_video and not video:
            continue
        make_once(folder / name, make)
        Upload.objects.get_or_create(file=f"samples/{name}", defaults={"title": title})
    make_once(folder / VOID, make_void)
    for username, documents in DOCUMENTS.items():
        owner = User.objects.get(username=username)
        for name, original in documents.items():
            copy(folder / original, Path(storages["protected"].path(f"samples/{name}")))
            Document.objects.get_or_create(
                file=f"samples/{name}", defaults={"title": Path(name).stem, "owner": owner}
            )
    for name, original in SHARED.items():
        if (folder / original).exists():
            copy(folder / original, Path(storages["shared"].path(f"samples/{name}")))
            Shared.objects.get_or_create(
                file=f"samples/{name}", defaults={"title": Path(name).stem.capitalize()}
            )


def copy(original: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    make_once(path, lambda unfinished: shutil.copyfile(original, unfinished))


def make_once(path: Path, make: Callable[[Path], object]) -> None:
    """A start that is interrupted must not leave half a file for the next to take."""
    if not path.exists():
        unfinished = path.with_name(f".{path.name}")
        make(unfinished)
        unfinished.replace(path)
