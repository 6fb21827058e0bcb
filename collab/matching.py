"""Distribution matching: embedding means, the matching loss, and optimising a synthetic set by it.

The loss for one network psi is the sum over classes y of

    || mean over real x of psi(A_y(x))  -  mean over synthetic s of psi(A_y(E(s))) ||^2

summed over coordinates (equation 3 of the CollabDM paper, arXiv:2408.02266; Zhao and Bilen, WACV 2023). A_y is
the siamese augmentation of the class, E the expansion of partition-and-expand. One step of SGD with momentum
follows the gradient of the sum over classes, as in Algorithm 1; the published code steps class by class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from collab.augment import Augmentation
from collab.compute import count
from collab.nets import Network, embed_in_chunks, operations_per_image


@dataclass
class SyntheticSet:
    """Synthetic images, float32 [n, channels, side, side] in normalised space, sorted by label int64 [n].

    With partition-and-expand each image is a mosaic of `expand` x `expand` small ones; 1 means plain images.
    """

    images: Tensor
    labels: Tensor
    expand: int = 1

    def classes(self) -> list[int]:
        """The classes that have images, ascending."""
        return [int(label) for label in torch.unique(self.labels)]

    def of_class(self, label: int) -> Tensor:
        """The unexpanded images of one class."""
        return self.images[self.labels == label]

    def expanded(self) -> SyntheticSet:
        """What a network trains on: every mosaic cut and enlarged."""
        if self.expand == 1:
            return self
        return SyntheticSet(expand(self.images, self.expand), self.labels.repeat(self.expand**2), 1)


def cut(images: Tensor, factor: int) -> Tensor:
    """Tiles of images, `factor` x `factor` of each: n images give factor^2 * n tiles.

    All first tiles, then all second ones, in reading order (for 2: top left, top right, bottom left, bottom right). The
    side must be divisible by `factor`.
    """
    tile = images.shape[-1] // factor
    starts = range(0, factor * tile, tile)
    return torch.cat([images[:, :, row : row + tile, column : column + tile] for row in starts for column in starts])


def assemble(tiles: Tensor, factor: int) -> Tensor:
    """Images of `factor` x `factor` tiles each: undoes `cut`."""
    blocks = tiles.chunk(factor**2)
    rows = [torch.cat(blocks[row * factor : (row + 1) * factor], dim=3) for row in range(factor)]
    return torch.cat(rows, dim=2)


def expand(images: Tensor, factor: int) -> Tensor:
    """Cut images into tiles and enlarge each to full size, bilinear, corners not aligned (section 4.3 of the paper)."""
    if factor == 1:
        return images
    side = images.shape[-1]
    return functional.interpolate(cut(images, factor), size=(side, side), mode="bilinear", align_corners=False)


def mosaic(images: Tensor, factor: int) -> Tensor:
    """factor^2 * n images, shrunk by averaging and set as tiles into n: what expanding begins with."""
    return images if factor == 1 else assemble(functional.avg_pool2d(images, factor), factor)


@dataclass(frozen=True)
class Moments:
    """Means of the embeddings of each class, [C, D], and standard deviations where they are matched, too."""

    classes: Sequence[int]
    means: Tensor
    deviations: Tensor | None = None


def class_moments(
    network: Network,
    images_of: Sequence[Tensor],
    classes: Sequence[int],
    augmentations: Sequence[Augmentation],
    *,
    deviations: bool = False,
) -> Moments:
    """Moments of real images, class by class; all classes go through the network together.

    Args:
        network: psi.
        images_of: for each class its images, normalised [n_y, channels, side, side], n_y >= 1.
        classes: the label of each.
        augmentations: A_y of each.
        deviations: also the standard deviation per coordinate (unbiased; 0 for a single image).
    """
    augmented = [augment(images) for augment, images in zip(augmentations, images_of, strict=True)]
    embeddings = torch.split(embed_in_chunks(network, torch.cat(augmented)), [len(images) for images in augmented])
    means = torch.stack([rows.mean(dim=0) for rows in embeddings])
    spreads = torch.stack([_deviation(rows) for rows in embeddings]) if deviations else None
    return Moments(classes, means, spreads)


def matching_loss(
    network: Network, synthetic: SyntheticSet, target: Moments, augmentations: Sequence[Augmentation]
) -> Tensor:
    """The matching loss of a synthetic set against `target`, a scalar; classes without target do not count.

    Counts the operations of the way back to the images, too: the loss is there to be followed downhill.
    """
    augmented = [
        augment(expand(synthetic.of_class(label), synthetic.expand))
        for label, augment in zip(target.classes, augmentations, strict=True)
    ]
    sizes = [len(images) for images in augmented]
    cost = operations_per_image(network.spec)
    count(sum(sizes) * (cost.forward + cost.backward_to_image))
    embeddings = torch.split(network.embed(torch.cat(augmented)), sizes)
    means = torch.stack([rows.mean(dim=0) for rows in embeddings])
    loss = (means - target.means).square().sum()
    if target.deviations is not None:
        spreads = torch.stack([_deviation(rows) for rows in embeddings])
        loss = loss + (spreads - target.deviations).square().sum()
    return loss


def _deviation(rows: Tensor) -> Tensor:
    # The unbiased deviation of a single row is not a number.
    return rows.std(dim=0) if len(rows) > 1 else torch.zeros_like(rows[0])


class Descent:
    """SGD with momentum on the images of a synthetic set (as torch.optim.SGD: v <- m v + g; x <- x - lr v).

    Written out because importing torch's optimisers takes longer than a small run.
    """

    def __init__(self, synthetic: SyntheticSet, learning_rate: float, momentum: float) -> None:
        self.synthetic = synthetic
        self._learning_rate = learning_rate
        self._momentum = momentum
        self._velocity = torch.zeros_like(synthetic.images)

    def copy(self) -> Descent:
        """A descent that goes on from here and leaves this one, and its images, as they are."""
        synthetic = SyntheticSet(self.synthetic.images, self.synthetic.labels, self.synthetic.expand)
        other = Descent(synthetic, self._learning_rate, self._momentum)
        other._velocity = self._velocity.clone()
        return other

    def step(self, loss_of: Callable[[SyntheticSet], Tensor]) -> float:
        """Move the images along the gradient of `loss_of`; returns the loss before the step."""
        synthetic = self.synthetic
        images = synthetic.images.detach().requires_grad_()
        loss = loss_of(SyntheticSet(images, synthetic.labels, synthetic.expand))
        (gradient,) = torch.autograd.grad(loss, images)
        self.move(gradient)
        return float(loss.detach())

    def move(self, gradient: Tensor) -> None:
        """Move the images along `gradient`, of their shape."""
        self._velocity.mul_(self._momentum).add_(gradient)
        self.synthetic.images = self.synthetic.images.detach().sub(self._velocity, alpha=self._learning_rate)


def initial_set(
    draw: Callable[[int, int], Tensor], classes: Sequence[int], images_per_class: int, factor: int
) -> SyntheticSet:
    """A synthetic set that starts from real images: `draw(label, n)` gives n of them, normalised.

    With a factor above 1 each image is a mosaic of factor^2 shrunken real ones, drawn independently for each tile.
    """
    images = [mosaic(torch.cat([draw(label, images_per_class) for _ in range(factor**2)]), factor) for label in classes]
    labels = np.repeat(np.asarray(classes, dtype=np.int64), images_per_class)
    return SyntheticSet(torch.cat(images), torch.from_numpy(labels), factor)


def draw_with_spares(held: int, size: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """`size` of `held` indices, without replacement as far as they go round."""
    rounds = [generator.permutation(held) for _ in range(-(-size // held))]
    return np.concatenate(rounds)[:size]
