"""No attack: the clean column of a table."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from tf_laq.attacks.base import Attack, Images, Indices, Labels, Logits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clean(Attack):
    """Leave the images as they are.

    Example:
        >>> Clean().to_dict()
        {'name': 'clean'}
    """

    name: ClassVar[str] = "clean"

    def _perturb(self, logits: Logits, images: Images, labels: Labels, seed: int, indices: Indices) -> Images:
        return images
