"""Networks drawn from a seed, the same on every machine and device.

Published numbers, for images of 3x32x32 and ten classes (ConvNet at width 128, depth 3); checksums are the first 12
digits of the SHA-256 of the float32 weights drawn from seed 1, of the first tensor and of all of them:

| network  | parameters | embedding | operations an image | first tensor | all weights  |
|----------|-----------:|----------:|--------------------:|--------------|--------------|
| convnet  |    320,010 |     2,048 |               101 M | ffd49704ab57 | 4927180229bf |
| alexnet  |  1,872,202 |     3,072 |               490 M | b82902c3fa9b | d034e7e6f743 |
| vgg11    |  9,231,114 |       512 |               306 M | b082fc524ae2 | dfe5a59c139d |
| resnet18 | 11,173,962 |       512 |             1,111 M | b082fc524ae2 | e0d0ad97d427 |

(VGG11 and ResNet18 begin with a tensor of the same shape, and so with the same one.) `collab networks` prints the same
for other images.
"""

from __future__ import annotations

from collab.nets.chunks import chunk_size
from collab.nets.embedding import Embedder, Operations, embed_in_chunks, embedded_at_once, operations_per_image
from collab.nets.network import Network, draw_parameters, reseeded, seeded_network
from collab.nets.spec import ARCHITECTURES, ArchitectureName, NetworkSpec, Parameter, architecture_of, full_layout
from collab.nets.stack import Stack, cross_entropies

__all__ = [
    "ARCHITECTURES",
    "ArchitectureName",
    "Embedder",
    "Network",
    "NetworkSpec",
    "Operations",
    "Parameter",
    "Stack",
    "architecture_of",
    "chunk_size",
    "cross_entropies",
    "draw_parameters",
    "embed_in_chunks",
    "embedded_at_once",
    "full_layout",
    "operations_per_image",
    "reseeded",
    "seeded_network",
]
