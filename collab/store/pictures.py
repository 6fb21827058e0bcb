"""Synthetic images as a picture: a column a class, a row for each further image of it.

Images in normalised space have no natural black and white: the half percent of the darkest and of the brightest
values of a picture is cut off, and what lies between is stretched over all shades.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

_WANTED_SIDE = 64  # pixels an image is enlarged to, if it is smaller
_MOST_PIXELS = 4096  # of a picture's longer side, unless it is longer without any enlargement


def picture_strip(
    images: NDArray[np.float32],
    labels: NDArray[Any],
    classes: int,
    *,
    enlarged: bool = False,
    white: bool = False,
    title: str = "",
) -> bytes:
    """Images float32 [n, channels, side, side] of 1 or 3 channels, labels [n], as a PNG.

    `enlarged` repeats pixels until an image is about 64 of them wide. What holds no image is transparent, or `white`.
    `title` says what the images were made of; it is kept in the file as its Title.
    """
    canvas = _canvas(images, labels, classes)
    low, high = np.nanpercentile(canvas, (0.5, 99.5)) if len(images) else (0.0, 1.0)
    shade = np.nan_to_num((canvas - low) / max(high - low, 1e-6), nan=1.0).clip(0, 1) * 255
    colours = np.repeat(shade, 3, axis=2) if canvas.shape[2] == 1 else shade
    if not white:
        colours = np.concatenate([colours, np.where(np.isnan(canvas[:, :, :1]), 0, 255)], axis=2)
    picture = Image.fromarray(colours.astype(np.uint8), "RGB" if white else "RGBA")
    if enlarged:
        factor = _enlargement(images.shape[-1], max(picture.size))
        picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    said, buffer = PngInfo(), io.BytesIO()
    if title:
        said.add_text("Title", title)
    is_small = not enlarged  # optimising a large picture takes longer than a small run
    picture.save(buffer, "PNG", pnginfo=said, optimize=is_small)
    return buffer.getvalue()


def _canvas(images: NDArray[np.float32], labels: NDArray[Any], classes: int) -> NDArray[np.float32]:
    """All images in their places, [height, width, channels]; not a number where there is none."""
    channels, side = images.shape[1], images.shape[2]
    rows = max(int(np.bincount(labels, minlength=classes).max()), 1)
    gap = max(1, side // 14)
    canvas = np.full((rows * (side + gap) - gap, classes * (side + gap) - gap, channels), np.nan, np.float32)
    for label in range(classes):
        for row, image in enumerate(images[labels == label]):
            top, left = row * (side + gap), label * (side + gap)
            canvas[top : top + side, left : left + side] = image.transpose(1, 2, 0)
    return canvas


def _enlargement(side: int, longest: int) -> int:
    return max(1, min(round(_WANTED_SIDE / side), _MOST_PIXELS // longest))
