"""From a network to the page, the CSV file and the plots."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from research.cache import Cache
from research.layers.attacking import STAGES
from research.layers.plots import draw
from research.layers.predictors import PREDICTORS
from research.layers.ranking import Rank, ranks
from research.layers.settings import LayerSettings
from research.layers.studying import LayerStudy, Trial
from research.pages import Result, Section, markdown_table
from tf_laq import datasets

_HEADERS = (
    "network", "layer", "weight", "place", "weights", "fed_by_input", "quantizer", "bits", "count",
    *(f"lost_{stage}_percent" for stage in STAGES), "lower", "upper", "zero_gradients", *PREDICTORS, "seed",
)  # fmt: skip
_ABOUT = (
    "One kernel at a time is quantized, all others stay float32. A loss is the share of the images that the float "
    "network withstands and that are lost then. Spearman's rank correlation of each predictor with the loss over all "
    "settings, with 95 % bootstrap intervals over the settings and over whole layers. The settings of a layer are not "
    "independent, so the first interval is too sure; the second one needs many layers: of a few, each resample leaves "
    "some out, and differences between layers with them. *Within layers*: mean over layers of the correlation over a "
    "layer's settings; *across layers*: mean over quantizers and bits of the correlation over layers, what a policy "
    "needs to place its bits. E = W - W_q; norms of kernels as matrices."
)


def study(
    model: Any,
    dataset: str,
    *,
    name: str,
    out: str | os.PathLike[str],
    cache: str | os.PathLike[str],
    command: str = "",
    announce: Callable[[str], object] = print,
    progress: bool = True,
    **changes: Any,
) -> Path:
    """Find out what predicts the loss from quantizing a layer, and write it down.

    Args:
        model: A built Keras model with logits as outputs.
        dataset: Name of its data set.
        name: Name of the network.
        out: Folder of the page `<name>_sensitivity.md`, the CSV file and the plots; what someone wrote in its folder
            remarks, in a file of the page's name, is put into the page.
        cache: Folder of the losses.
        command: What made it, for the page.
        announce: Receives the tables.
        progress: Show a progress bar on a terminal.
        **changes: Fields of `LayerSettings`.

    Raises:
        InputError: An argument is wrong, or the network withstands no image.
    """
    settings = LayerSettings.of(dataset, **changes)
    found = LayerStudy(model, datasets.load(dataset), settings, cache=Cache(cache), progress=progress)
    result = result_of(found, found.trials(), name=name, command=command)
    announce("\n\n".join([result.title, *(section.body for section in result.sections)]))
    return result.write(Path(out))


def result_of(found: LayerStudy, trials: Sequence[Trial], *, name: str, command: str = "") -> Result:
    """Return the page, the CSV file and the plots of a study's trials."""
    settings, ranked = found.settings, ranks(trials, seed=found.settings.seed)
    images = f"N = {found.count}, {len(trials)} settings"
    return Result(
        name=f"{name}_sensitivity",
        title=f"What predicts the loss from quantizing one layer: {name}",
        sections=[
            Section("", f"{_ABOUT}\n\n{_rank_table(ranked)}", f"{name}_sensitivity"),
            Section("Images lost", _loss_table(trials), f"{name}_sensitivity_losses"),
        ],
        facts=_facts(found, trials, command),
        values=_values(ranked),
        headers=_HEADERS,
        rows=[_record(name, trial, settings.seed) for trial in trials],
        picture=draw(f"{name}, {found.data.name}: {images}", trials, ranked),
    )


def _rank_table(ranked: Sequence[Rank]) -> str:
    headers = ["predictor", "needs", "rank correlation [over settings]", "[over layers]", "within", "across layers"]
    rows = []
    for rank in ranked:
        about, needs_images = PREDICTORS[rank.predictor]
        ends = rank.clustered and f"[{rank.clustered.lower:.2f}, {rank.clustered.upper:.2f}]"
        means = (None if mean is None else f"{mean:.2f}" for mean in (rank.within, rank.across))
        rows.append([about, "images" if needs_images else "nothing", rank.overall, ends, *means])
    return markdown_table(headers, rows)


def _loss_table(trials: Sequence[Trial]) -> str:
    settings = list(dict.fromkeys(f"{trial.quantizer.name} {trial.quantizer.bits}" for trial in trials))
    rows: dict[int, list[object]] = {}
    for trial in trials:
        tensor = trial.tensor
        row = rows.setdefault(trial.place, [f"`{tensor.layer}.{tensor.weight}`", f"{tensor.values.size:,}"])
        row.append(f"{100 * trial.loss.lost().value:.1f}")
    return f"In %.\n\n{markdown_table(['kernel', 'weights', *settings], list(rows.values()))}"


def _facts(found: LayerStudy, trials: Sequence[Trial], command: str) -> list[str]:
    settings, data = found.settings, found.data
    images = data.test.sha256[:16]
    chance = found.chance().lost()
    return [
        f"N = {found.count}: the first test images of {data.name} that the float network withstands, {found.count} of "
        f"{found.looked_at}; SHA-256 of all test images and labels {images}.",
        f"{len({t.place for t in trials})} of {len(found.tensors)} kernels, {len(trials)} settings. SHA-256 of the "
        f"network's weights {found.sha256[:12]}.",
        f"Attacks within {settings.epsilon:.4g} in L-inf: Auto-PGD on the cross-entropy, {settings.steps} steps; where "
        "more than 1 % of the gradient's entries are zero a second one, from the float network's examples, along the "
        f"gradient completed there; Square with {settings.queries} queries on what is left. The float network was "
        "attacked in the same way without a start.",
        f"Mere chance: attacked again as if it were quantized, the float network loses {chance} %. Losses of that size "
        "mean nothing.",
        f"Predictors with data: {settings.calibration} training images, and adversarial ones made of them on the float "
        "network. Batch normalisation is not calibrated again.",
        f"Seed {settings.seed}. {found.seconds(list(trials)):.0f} s of processor time for the attacks."
        + (f" Made by `{command}`." if command else ""),
    ]


def _values(ranked: Sequence[Rank]) -> dict[str, str]:
    values = {}
    for rank in ranked:
        values[rank.predictor] = str(rank.overall)
        values[f"{rank.predictor}.layers"] = str(rank.clustered)
        for name in ("within", "across"):
            mean = getattr(rank, name)
            values[f"{rank.predictor}.{name}"] = "None" if mean is None else f"{mean:.2f}"
    return values


def _record(name: str, trial: Trial, seed: int) -> list[object]:
    tensor, lost = trial.tensor, trial.loss.lost()
    about = [name, tensor.layer, tensor.weight, trial.place, tensor.values.size, int(tensor.fed_by_input)]
    shares = [f"{100 * trial.loss.lost(stage).value:.2f}" for stage in STAGES]
    ends = [f"{100 * end:.2f}" for end in lost.interval]
    predicted = [f"{trial.predictors[predictor]:.6g}" for predictor in PREDICTORS]
    setting = [trial.quantizer.name, trial.quantizer.bits, lost.count]
    return [*about, *setting, *shares, *ends, f"{trial.loss.zeros:.4f}", *predicted, seed]
