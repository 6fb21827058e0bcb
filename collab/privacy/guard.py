"""The guard at a site's door: no body leaves that contains a copy of a private sample.

Every tensor of an outgoing body, whatever it is called, is cut into rows as long as an image and compared with
all private images by correlation, which sees through scaling and shifting of pixel values (uint8, [0, 1],
normalised, inverted all look alike).

Not seen: shrunken, cropped, permuted or noisy copies, such as the mosaics that partition-and-expand starts
from, and anything encoded on purpose. Against those there is differential privacy, not inspection.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from collab import wire
from collab.data import SiteData
from collab.errors import PrivateDataError

COPY_CORRELATION = 0.995
"""Above this a row counts as a copy.

Different MNIST digits of one class reach 0.98 (5,000 samples), images distilled for 20 steps 0.985.
"""

MAX_CONTROL_BYTES = 1024
_ROWS_AT_A_TIME = 256


class RawDataGuard:
    """Knows the private samples of one site. Holds them once more, normalised, in float32."""

    def __init__(self, data: SiteData) -> None:
        self._pixels = data.spec.pixels
        self._private = _unit_rows(data.images.reshape(len(data), self._pixels))

    def check(self, content: wire.Content) -> None:
        """Raise `PrivateDataError` if `content` holds a copy of a private sample, or could hide one among its
        fields.
        """
        size = len(wire.pack(wire.Content(content.fields)))
        if size > MAX_CONTROL_BYTES:
            raise PrivateDataError(
                f"the fields of the message take {size} bytes; a site may send {MAX_CONTROL_BYTES}, "
                "so that no samples hide among them"
            )
        for kind, section in content.sections.items():
            for name, tensor in section.items():
                self._check_tensor(f"{kind}.{name}", tensor.values())

    def _check_tensor(self, name: str, values: NDArray[np.generic]) -> None:
        rows = values.size // self._pixels
        if rows == 0 or len(self._private) == 0:
            return
        candidates = values.reshape(-1)[: rows * self._pixels].reshape(rows, self._pixels)
        for start in range(0, rows, _ROWS_AT_A_TIME):
            unit = _unit_rows(candidates[start : start + _ROWS_AT_A_TIME])
            correlation = np.abs(unit @ self._private.T).max(axis=1)
            worst = int(correlation.argmax())
            if correlation[worst] > COPY_CORRELATION:
                raise PrivateDataError(
                    f"{name} contains a copy of a private sample (row {start + worst}, correlation "
                    f"{correlation[worst]:.4f}); raw data stays home. If these are synthetic images, "
                    "they have not moved from the real ones they started from: raise method.local_steps "
                    "(of central: method.steps or learning_rate; of fedd3: method.least_steps)"
                )


def _unit_rows(rows: NDArray[np.generic]) -> NDArray[np.float32]:
    """Rows without their mean, at length 1; a constant row becomes 0 and is like nothing."""
    values = rows.astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):  # a row that is not finite is refused elsewhere
        values -= values.mean(axis=1, keepdims=True)
        length = np.linalg.norm(values, axis=1, keepdims=True)
        unit: NDArray[np.float32] = np.divide(values, length, out=np.zeros_like(values), where=length > 1e-6)
    return unit
