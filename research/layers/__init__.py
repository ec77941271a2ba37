"""What predicts the loss of robustness from quantizing a layer: every layer by itself, under attack, beside predictors.

    from research.layers.results import study
    study(model, "mnist", name="mnist_adv", out="docs/results", cache="runs")

One kernel at a time is quantized, all others stay float32, and the images that the float network withstands are
attacked again. The losses are then ranked against what policies go by: norms of the error, noise sensitivity,
gradients, curvature, and the change of the outputs on a few images.
"""
