"""A MobileNetV2 for MNIST that has not been trained: an architecture that no policy or setting was chosen on.

    python -m research.checks.mobilenet mobilenet.keras
    laq train --data mnist --model mobilenet.keras --recipe separable --keras 3 --out mobilenet_adv.keras
    python -m research.checks.plans --network mobilenet_adv.keras --data mnist

The training takes half an hour.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers


def mobilenet() -> Any:
    """Return the network of Keras at its smallest width, nested between zeros around the images and a dense layer."""
    keras.utils.set_random_seed(0)
    images = keras.Input((28, 28, 1), name="images")
    features = keras.applications.MobileNetV2(
        input_shape=(32, 32, 1), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    for layer in features.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.9  # Keras has 0.999, for trainings of many more steps.
    logits = layers.Dense(10)(features(layers.ZeroPadding2D(2)(images)))
    return keras.Model(images, logits)


def main(argv: Sequence[str] | None = None) -> int:
    """Save the network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="file to write, ending in .keras")
    mobilenet().save(parser.parse_args(argv).out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
