"""Two classifiers that try to tell synthetic from real, scored on objects of images they never saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from augsynth.core.scene import FloatArray, IntArray
from augsynth.core.seeding import derive_rng, derive_seed

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Labels = NDArray[np.bool_]
BATCH = 32
LEARNING_RATE = 6e-3


def splits(
    synthetic: Labels, groups: NDArray[np.str_], *, folds: int, seed: int
) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield (train, test) indices; no source image is on both sides, classes are spread evenly."""
    from sklearn.model_selection import StratifiedGroupKFold

    deal = StratifiedGroupKFold(folds, shuffle=True, random_state=derive_seed(seed, "folds") % 2**32)
    yield from deal.split(groups, synthetic, groups)


def balanced_weights(synthetic: Labels, category_ids: IntArray) -> FloatArray:
    """Return weights under which both classes weigh the same within every category.

    Otherwise the training folds' imbalance, which is the reverse of the test fold's, would press the
    held-out AUC of indistinguishable objects below one half.
    """
    weights = np.zeros(len(synthetic))
    for category in np.unique(category_ids):
        for side in (True, False):
            chosen = (category_ids == category) & (synthetic == side)
            other = (category_ids == category) & (synthetic != side)
            if chosen.any() and other.any():
                weights[chosen] = (chosen.sum() + other.sum()) / (2 * chosen.sum())
    return weights


def cnn_scores(
    pixels: NDArray[np.uint8],
    depths: FloatArray,
    synthetic: Labels,
    category_ids: IntArray,
    groups: NDArray[np.str_],
    *,
    folds: int,
    seeds: int,
    steps: int,
) -> FloatArray:
    """Return (N,) held-out logits of a small convolutional network, averaged over seeds.

    It sees colours, what a 3 × 3 mean leaves of them (grain, fine edges) and where the box is, all flipped
    and shifted at random while it learns. Told the box it needs far fewer objects to notice a faint border.

    Args:
        pixels: (N, S, S, 3) crops.
        depths: (N, S, S) in [-1, 1], how far a pixel lies inside the box.
    """
    inputs = _inputs(pixels, depths)
    total = np.zeros(len(synthetic))
    for seed in range(seeds):
        for fold, (train, test) in enumerate(splits(synthetic, groups, folds=folds, seed=seed)):
            weights = balanced_weights(synthetic[train], category_ids[train])
            total[test] += _fit_and_score(
                inputs,
                synthetic,
                train,
                test,
                weights=weights,
                steps=steps,
                seed=derive_seed(seed, "cnn", fold),
            )
    return total / seeds


def _inputs(pixels: NDArray[np.uint8], depths: FloatArray) -> Tensor:
    import torch
    from torch.nn import functional

    colours = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    detail = colours - functional.avg_pool2d(colours, 3, 1, 1, count_include_pad=False)
    seen = torch.cat([colours, detail], 1)
    seen = (seen - seen.mean((0, 2, 3), keepdim=True)) / (seen.std((0, 2, 3), keepdim=True) + 1e-3)
    inputs = torch.cat([seen, torch.from_numpy(depths).float()[:, None]], 1)
    return inputs.contiguous(memory_format=torch.channels_last)


def _fit_and_score(
    inputs: Tensor,
    synthetic: Labels,
    train: IntArray,
    test: IntArray,
    *,
    weights: FloatArray,
    steps: int,
    seed: int,
) -> FloatArray:
    import torch
    from torch.nn import functional

    labels, importance = torch.from_numpy(synthetic).float(), torch.from_numpy(weights).float()
    torch.manual_seed(seed)
    network = _network(inputs.shape[1]).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    rng = derive_rng(seed, "batches")
    order = np.concatenate([rng.permutation(len(train)) for _ in range(-(-steps * BATCH // len(train)))])
    for step in range(steps):
        part = order[step * BATCH : (step + 1) * BATCH]
        logits = network(_augmented(inputs[train[part]], rng))
        losses = functional.binary_cross_entropy_with_logits(logits, labels[train[part]], reduction="none")
        optimiser.zero_grad()
        (losses * importance[part]).mean().backward()
        optimiser.step()
        schedule.step()
    network.eval()
    with torch.no_grad():
        both = network(inputs[test]) + network(inputs[test].flip(3))
    return np.asarray(both.numpy() / 2, np.float64)


def _network(channels: int) -> Module:
    from torch import nn

    def block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    return nn.Sequential(
        *block(channels, 16, 2), *block(16, 24, 2), *block(24, 32, 1), *block(32, 48, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(48, 1), nn.Flatten(0),
    )  # fmt: skip


def _augmented(images: Tensor, rng: np.random.Generator) -> Tensor:
    import torch

    flip = torch.from_numpy(rng.random(len(images)) < 0.5)
    images = torch.where(flip[:, None, None, None], images.flip(3), images)
    dy, dx = (int(v) for v in rng.integers(-2, 3, 2))
    size = images.shape[-1]
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")
    return padded[..., 2 + dy : 2 + dy + size, 2 + dx : 2 + dx + size]


def feature_scores(
    features: FloatArray,
    synthetic: Labels,
    category_ids: IntArray,
    groups: NDArray[np.str_],
    *,
    folds: int,
    seeds: int,
) -> list[FloatArray]:
    """Return (N,) held-out scores of a logistic regression and of a random forest, averaged over seeds.

    Features are centred by category first, on the training part alone.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    totals = [np.zeros(len(synthetic)), np.zeros(len(synthetic))]
    for seed in range(seeds):
        for train, test in splits(synthetic, groups, folds=folds, seed=seed):
            weights = balanced_weights(synthetic[train], category_ids[train])
            used = train[weights > 0]
            centred = _centred(features, category_ids, used)
            centred = (centred - centred[used].mean(0)) / (centred[used].std(0) + 1e-9)
            centred = np.clip(centred, -5, 5)
            models = (
                LogisticRegression(C=0.3, max_iter=500),
                RandomForestClassifier(100, min_samples_leaf=3, random_state=seed),
            )
            for total, model in zip(totals, models, strict=True):
                model.fit(centred[used], synthetic[used], sample_weight=weights[weights > 0])
                chances = np.clip(model.predict_proba(centred[test])[:, 1], 1e-3, 1 - 1e-3)
                total[test] += np.log(chances / (1 - chances))
    return [total / seeds for total in totals]


def _centred(features: FloatArray, category_ids: IntArray, train: IntArray) -> FloatArray:
    centred = features.copy()
    for category in np.unique(category_ids):
        known = train[category_ids[train] == category]
        reference = features[known] if len(known) >= 4 else features[train]
        centred[category_ids == category] -= reference.mean(0)
    return centred


def auc(scores: FloatArray, synthetic: Labels) -> float:
    """Return the chance that a synthetic object scores above a real one, ties half."""
    wins = _wins(scores, synthetic)
    return float(wins.mean()) if wins.size else float("nan")


def _wins(scores: FloatArray, synthetic: Labels) -> FloatArray:
    difference = scores[synthetic][:, None] - scores[~synthetic][None]
    return (difference > 0) + 0.5 * (difference == 0)


def auc_interval(
    scores: FloatArray, synthetic: Labels, groups: NDArray[np.str_], *, draws: int = 2000, seed: int = 42
) -> tuple[float, float]:
    """Return the 95 % interval of the AUC by a bootstrap over source images."""
    wins = _wins(scores, synthetic)
    if not wins.size:
        return float("nan"), float("nan")
    _, number = np.unique(groups, return_inverse=True)
    rng = derive_rng(seed, "bootstrap")
    num_groups = int(number.max()) + 1
    times = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=draws).astype(np.float64)
    positive, negative = times[:, number[synthetic]], times[:, number[~synthetic]]
    weight = positive.sum(1) * negative.sum(1)
    values = ((positive @ wins) * negative).sum(1)[weight > 0] / weight[weight > 0]
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)
