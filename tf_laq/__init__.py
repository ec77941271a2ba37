"""tf_laq: layer-wise adversarial-aware quantization for Keras models.

    import tf_laq as laq
    plan = laq.search(model)
    quantized = laq.apply(model, plan)
    report = laq.evaluate({"quantized": quantized}, images, labels, battery=battery)
    laq.export_tflite(quantized, "model.tflite")

Every name is imported when it is first used: TensorFlow, CleverHans and the rest take seconds.
"""

from __future__ import annotations

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
