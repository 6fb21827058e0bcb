"""How private the release of each site was, in words (`privacy` of a method's row in a summary)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def privacy_in_words(privacy: Mapping[str, Any]) -> str:
    """What was promised of the samples of each site, and by how much noise; nothing if nothing was."""
    if not privacy:
        return ""
    return (
        f"differentially private at each site: epsilon {privacy['epsilon']:g}, delta {privacy['delta']:g}, for "
        f"{privacy['hides']}; noise multiplier {privacy['noise_multiplier']:.4g}, embeddings of "
        f"{privacy['networks']:,} networks clipped to {privacy['clip_norm']:g}"
    )
