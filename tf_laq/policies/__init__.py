"""Policies: from the measurements of the weight tensors to a quantizer and a bit width for each; one a module.

| policy | by name | chooses | needs |
| --- | --- | --- | --- |
| `Guarded` | "guarded" | the fewest bits within relative limits; the default | nothing |
| `Algorithm1` | "paper" | as the paper does | nothing |
| `Budget` | "budget" | the least predicted loss within a size | a limit |
| `RandomBits` | "random" | at random within a size | a limit |
| `Uniform` | | the same for every tensor | a setting |
| `Calibrated` | | as `Budget`, the loss measured as the change of the predictions | a limit, images |
| `Hawq` | | as `Budget`, the loss predicted from the error and the curvature of the loss | a limit, a batch |
| `NoiseSensitivity` | | bits by the sensitivity of a layer's output to adversarial noise | a batch, an attack |
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
