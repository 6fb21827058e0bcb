"""Distribution matching: embedding means, the matching loss, and optimising a synthetic set by it.

The loss for one network psi is the sum over classes y of

    || mean over real x of psi(A_y(x))  -  mean over synthetic s of psi(A_y(E(s))) ||^2

summed over coordinates (equation 3 of the CollabDM paper, arXiv:2408.02266; Zhao and Bilen, WACV 2023). A_y is
the siamese augmentation of the class, E the expansion of partition-and-expand. One step of SGD with momentum
follows the gradient of the sum over classes, as in Algorithm 1; the published code steps class by class.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from collab.augment import Augmentation
from collab.compute import count, halved
from collab.nets import Embedder, Network, embedded_at_once, operations_per_image

_CHUNKS_TOGETHER = 4  # chunks of synthetic images whose feature maps are kept for the way back
_PORTION = 512  # real images that are augmented and put together before they are embedded


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

    def of(self, numbers: Sequence[int]) -> Moments:
        """Those of some of the classes, by their place in `classes`."""
        chosen = list(numbers)
        deviations = None if self.deviations is None else self.deviations[chosen]
        return Moments([self.classes[number] for number in chosen], self.means[chosen], deviations)


def class_moments(
    network: Network,
    images_of: Sequence[Iterable[Tensor]],
    classes: Sequence[int],
    augmentations: Sequence[Augmentation],
    *,
    deviations: bool = False,
) -> Moments:
    """Moments of real images; all classes go through the network in one pass, in pieces that stay in the cache.

    Sums are kept in float64; neither the images nor their embeddings are in memory all at once.

    Args:
        network: psi.
        images_of: for each class its images, normalised, in portions [n, channels, side, side]; at least one image.
        classes: the label of each.
        augmentations: A_y of each.
        deviations: also the standard deviation per coordinate (unbiased; 0 for a single image).
    """
    device = network.device.torch
    shape = (len(classes), network.spec.embedding_size)
    sums = torch.zeros(shape, dtype=torch.float64, device=device)
    squares = torch.zeros_like(sums) if deviations else None
    counts = torch.zeros(len(classes), 1, dtype=torch.float64)
    for number, rows in _embeddings(network, images_of, augmentations):
        counts[number] += len(rows)
        sums[number] += rows.sum(dim=0)
        if squares is not None:
            squares[number] += rows.square_().sum(dim=0)
    counts = counts.to(device)
    means = sums / counts
    if squares is None:
        return Moments(classes, means.float())
    variances = (squares - counts * means.square()).clamp_min(0) / (counts - 1).clamp_min(1)
    return Moments(classes, means.float(), variances.sqrt().float())


def clipped_sums(
    network: Network,
    images_of: Sequence[Iterable[Tensor]],
    augmentations: Sequence[Augmentation],
    clip_norm: float,
) -> Tensor:
    """Sums, float64 [C, D], of the embeddings of real images, each shortened to `clip_norm` if it is longer.

    So one image more or less changes one row, by no more than `clip_norm`: a sum has to be hidden by noise of that
    size. Images and augmentations as for `class_moments`; a class may have no image.
    """
    shape = (len(images_of), network.spec.embedding_size)
    sums = torch.zeros(shape, dtype=torch.float64, device=network.device.torch)
    for number, rows in _embeddings(network, images_of, augmentations):
        lengths = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        sums[number] += (rows * (clip_norm / lengths.clamp_min(clip_norm))).sum(dim=0)
    return sums


def _embeddings(
    network: Network, images_of: Sequence[Iterable[Tensor]], augmentations: Sequence[Augmentation]
) -> Iterator[tuple[int, Tensor]]:
    """Numbers of classes, ascending, with embeddings of some of their images, float64 [n, D]."""
    embedder = Embedder(network)
    with torch.no_grad():
        for images, runs in _portions(images_of, augmentations):
            for number, rows in _by_run(embedder.pieces(images), runs):
                yield number, rows.double()


def _portions(
    images_of: Sequence[Iterable[Tensor]], augmentations: Sequence[Augmentation]
) -> Iterator[tuple[Tensor, list[tuple[int, int]]]]:
    """Augmented images of one class after the other, put together to portions; and runs (number of the class, length)
    of which each portion is made.
    """
    waiting: list[Tensor] = []
    runs: list[tuple[int, int]] = []
    for number, (portions, augment) in enumerate(zip(images_of, augmentations, strict=True)):
        for images in portions:
            waiting.append(augment(images))
            runs.append((number, len(images)))
            if sum(length for _, length in runs) >= _PORTION:
                yield torch.cat(waiting), runs
                waiting, runs = [], []
    if runs:
        yield torch.cat(waiting), runs


def _by_run(pieces: Iterator[Tensor], runs: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Tensor]]:
    """Cut pieces of rows where a run of one class ends."""
    piece = torch.empty(0)
    for number, length in runs:
        missing = length
        while missing:
            if len(piece) == 0:
                piece = next(pieces)
            yield number, piece[:missing]
            taken = min(missing, len(piece))
            piece, missing = piece[taken:], missing - taken


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
    embeddings = torch.split(Embedder(network).differentiable(torch.cat(augmented)), sizes)
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

    def step_toward(
        self,
        network: Network,
        target: Moments,
        augmentations: Sequence[Augmentation],
        share_of_rate: float = 1.0,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Move the images along the gradient of the matching loss; returns the loss before the step, a scalar.

        The loss is a sum over classes, and so is its gradient: on a CPU it is taken for a few classes at a time, whose
        feature maps are then still close to the processor; on a GPU for all, or for half of them if memory is short.
        `share_of_rate` is what a schedule leaves of the learning rate at this step. Of the images only those at `rows`,
        int64, ascending, are matched; the others move by their momentum alone.
        """
        whole = self.synthetic
        synthetic = whole if rows is None else SyntheticSet(whole.images[rows], whole.labels[rows], whole.expand)
        gradient = torch.zeros_like(synthetic.images)
        loss = torch.zeros((), device=gradient.device)
        waiting = _groups(synthetic, target, network)
        while waiting:
            numbers = waiting.pop(0)
            part = target.of(numbers)
            chosen = torch.cat([torch.nonzero(synthetic.labels == label)[:, 0] for label in part.classes])
            images = synthetic.images[chosen].detach().requires_grad_()
            current = SyntheticSet(images, synthetic.labels[chosen], synthetic.expand)
            try:
                found = matching_loss(network, current, part, [augmentations[number] for number in numbers])
                (gradient[chosen],) = torch.autograd.grad(found, images)
            except torch.OutOfMemoryError:
                half = halved(len(numbers), "classes of synthetic images at a time")
                waiting = [numbers[:half], numbers[half:], *waiting]
                continue
            loss += found.detach()
        if rows is not None:
            matched, gradient = gradient, torch.zeros_like(whole.images)
            gradient[rows] = matched
        self.move(gradient, share_of_rate)
        return loss

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

    def move(self, gradient: Tensor, share_of_rate: float = 1.0) -> None:
        """Move the images along `gradient`, of their shape."""
        self._velocity.mul_(self._momentum).add_(gradient)
        self.synthetic.images = self.synthetic.images.detach().sub(
            self._velocity, alpha=self._learning_rate * share_of_rate
        )


def _groups(synthetic: SyntheticSet, target: Moments, network: Network) -> list[list[int]]:
    """Numbers of the target's classes, those together that are to go through the network together."""
    if network.device.torch.type != "cpu":
        return [list(range(len(target.classes)))]
    limit = _CHUNKS_TOGETHER * embedded_at_once(network.spec, network.device)
    groups: list[list[int]] = []
    room = 0
    for number, label in enumerate(target.classes):
        size = int((synthetic.labels == label).sum()) * synthetic.expand**2
        if room < size:
            groups.append([])
            room = max(limit, size)
        groups[-1].append(number)
        room -= size
    return groups


def follow(
    descent: Descent,
    network: Network,
    target: Moments,
    augmentations: Sequence[Augmentation],
    step: Literal["joint", "per-class"],
    share_of_rate: float = 1.0,
    rows: Tensor | None = None,
) -> Tensor:
    """One step toward `target` under one network: jointly, or class by class, where the momentum moves all classes.

    Returns the loss before it, a scalar.
    """
    classes = range(len(target.classes))
    losses = []
    for numbers in [list(classes)] if step == "joint" else [[number] for number in classes]:
        chosen = [augmentations[number] for number in numbers]
        losses.append(descent.step_toward(network, target.of(numbers), chosen, share_of_rate, rows))
    return torch.stack(losses).sum()


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
