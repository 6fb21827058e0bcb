"""Image files to pixels, by Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

_LARGEST_PIXELS = 64_000_000  # of an image file, before it is scaled: what a large camera makes


class ImageError(ValueError):
    """An image cannot be read, or is not as it should be."""


def read_pixels(content: bytes | Path, channels: int, side: int, *, scale: bool) -> NDArray[np.uint8]:
    """An image file as uint8 [channels, side, side].

    With `scale`, the middle square of the image is scaled to the size, bilinearly and without aliasing; otherwise
    it must have that size. Colours become grey by the weights of ITU-R 601 for one channel; transparency is ignored.
    Raises `ImageError` if it cannot be read, has another size, or has pixels of more than 8 bits.
    """
    from PIL import Image, ImageOps  # here: no command but those that read image files needs it

    try:
        with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as image:
            if image.width * image.height > _LARGEST_PIXELS:
                raise ImageError(f"has {image.width}x{image.height} pixels, which is too large")
            if image.mode[0] in "IF":
                raise ImageError(f"has pixels of more than 8 bits ({image.mode}); convert it to 8 bits first")
            if not scale and image.size != (side, side):
                raise ImageError(f"has {image.width}x{image.height} pixels, expected {side}x{side}")
            upright = ImageOps.exif_transpose(image) if scale else image
            mode = "RGB" if channels == 3 else "L"
            values = np.asarray(_sized(upright if upright.mode == mode else upright.convert(mode), side))
    except ImageError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = f"cannot be read as an image: {error}" if isinstance(content, Path) else "cannot be read as an image"
        raise ImageError(text) from error
    return values.transpose(2, 0, 1) if channels == 3 else values[None]


def _sized(image: PillowImage, side: int) -> PillowImage:
    from PIL import ImageOps
    from PIL.Image import Resampling

    return image if image.size == (side, side) else ImageOps.fit(image, (side, side), Resampling.BILINEAR)
