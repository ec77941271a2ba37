"""Networks in PyTorch's layout, and the page that puts AutoAttack's figures beside the worst cases; without PyTorch."""

import csv
import shutil

import numpy as np
import pytest

import tf_laq as laq
from research.checks import autoattack
from research.checks.torch_networks import FORWARD, torch_weights
from research.pages import RESULTS
from tf_laq import models
from tf_laq.evaluation import Share, wilson_interval


class Functional:
    """The functions of `torch.nn.functional` that the networks call, as PyTorch documents them, in NumPy."""

    @staticmethod
    def relu(x):
        return np.maximum(x, 0)

    @staticmethod
    def pad(x, sides):
        pairs = [tuple(sides[place : place + 2]) for place in range(0, len(sides), 2)]
        return np.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1])

    @staticmethod
    def conv2d(x, kernel, bias, stride):
        windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
        found = np.einsum("nchwij,ocij->nohw", windows, kernel, optimize=True)
        return found if bias is None else found + bias[:, None, None]

    @staticmethod
    def avg_pool2d(x, size):
        return np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))[:, :, ::size, ::size].mean((4, 5))

    @staticmethod
    def batch_norm(x, mean, variance, gamma, beta, training, momentum, epsilon):
        assert not training
        mean, variance, gamma, beta = (each[:, None, None] for each in (mean, variance, gamma, beta))
        return (x - mean) / np.sqrt(variance + epsilon) * gamma + beta

    @staticmethod
    def linear(x, kernel, bias):
        return x @ kernel.T + bias


@pytest.mark.parametrize("keras", [2, 3])
@pytest.mark.parametrize(("name", "options"), [("mnist_cnn", {}), ("wide_resnet", {"width": 1})])
def test_a_network_in_the_layout_of_torch_computes_what_keras_computes(name, options, keras):
    model = models.build(name, keras=keras, seed=0, **options)
    random = np.random.default_rng(0)
    # New networks have biases of zero and normalisation that does nothing, which would hide what is in the wrong place.
    model.set_weights([values + 0.1 * random.random(values.shape) for values in model.get_weights()])
    images = random.random((3, *models.input_shape(name))).astype(np.float32)
    found = FORWARD[name](images.transpose(0, 3, 1, 2), torch_weights(model), Functional)
    expected = np.asarray(model(images))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_quantized_values_stay_what_they_are():
    model = models.build("mnist_cnn", seed=0)
    quantized = laq.bake(model, laq.uniform(model, "log", 4, progress=False))
    kernels = torch_weights(quantized)
    for layer in ("conv1", "dense1", "logits"):
        expected = np.unique(quantized.get_layer(layer).get_weights()[0])
        np.testing.assert_array_equal(np.unique(kernels[f"{layer}/kernel"]), expected)


@pytest.fixture
def results(tmp_path):
    """Return a folder with the published figures and the selection tables."""
    (tmp_path / "paper").mkdir()
    shutil.copy(RESULTS / "autoattack.csv", tmp_path)
    for dataset in autoattack.EPSILONS:
        shutil.copy(RESULTS / "paper" / f"{dataset}_selection.csv", tmp_path / "paper")
    return tmp_path


def test_the_published_page_is_made_from_its_figures_and_those_of_the_selection_tables(results, capsys):
    assert autoattack.main(["--results", str(results)]) == 0
    for name in ("autoattack.md", "autoattack.csv"):
        assert (results / name).read_text() == (RESULTS / name).read_text()


def test_the_intervals_and_differences_are_those_of_the_figures(results):
    with (RESULTS / "autoattack.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    ours = autoattack.worst_cases(results)
    for row in rows:
        count, percent = int(row["count"]), float(row["autoattack_percent"])
        lower, upper = wilson_interval(round(percent * count / 100), count)
        assert (float(row["lower"]), float(row["upper"])) == pytest.approx((100 * lower, 100 * upper), abs=0.006)
        worst = 100 * ours[row["dataset"], row["network"]].value
        assert float(row["points"]) == pytest.approx(worst - percent, abs=1e-6)
    assert [(row["dataset"], row["network"]) for row in rows] == [(n.dataset, n.name) for n in autoattack.NETWORKS]


def test_a_page_of_one_network_says_so(results):
    found = {("mnist", "adv"): autoattack.Found(Share(8, 10), "a device")}
    page = autoattack.page(found, {("mnist", "adv"): Share(7, 10)})
    assert page.rows == [["mnist", "adv", 10, "80.00", "49.02", "94.33", "70.00", "-10.0", "a device"]]


def test_what_is_not_installed_is_named_with_what_to_do(tmp_path):
    with pytest.raises(
        SystemExit, match=r"autoattack_of_nobody cannot be imported in .*pip install torch.*auto-attack"
    ):
        autoattack.imported("autoattack_of_nobody", tmp_path)
