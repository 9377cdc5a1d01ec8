"""From a dataset to what a LoRA is trained and checked on: images held out, windows, texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from augsynth.core.errors import DatasetError
from augsynth.core.scene import Category, Dataset, Image, IntArray, Scene
from augsynth.core.seeding import derive_rng, derive_seed
from augsynth.inpainting.aligned import AlignedInpainter
from augsynth.inpainting.prompts.book import BACKGROUND_PROMPT, PromptBook, PromptRules
from augsynth.inpainting.schedulers import build_scheduler
from augsynth.training.loop import Progress
from augsynth.training.lora.latents import Latents, cache_latents, encode_texts
from augsynth.training.lora.objective import Objective, Pools
from augsynth.training.lora.options import LoraTraining, chosen_categories
from augsynth.training.windows import WindowRules, Windows, cut_windows

BACKGROUND_SHARE = 0.12
HELD_OUT_WINDOWS = 48
VIEW_WINDOWS = 64  # of which those to look at are taken


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What a LoRA learns from.

    Attributes:
        objective, pools: The loss, and which windows are learnt.
        check: The same of held-out images; None where none are held out.
        view: Windows to paint and look at.
        prompts: Text of each label of `view`.
    """

    objective: Objective
    pools: Pools
    check: tuple[Objective, Pools] | None
    view: Windows
    prompts: tuple[str, ...]


def open_book(training: LoraTraining, categories: Sequence[Category]) -> PromptBook:
    """Return the prompts of a training: what `generate` says with the same template and file of prompts.

    Raises:
        ConfigError: A category is unknown, the file is wrong, or no prompt could tell two chosen categories apart.
    """
    chosen = chosen_categories(categories, training.categories)
    rules = PromptRules(template=training.template, prompts=training.prompts)
    return PromptBook.open(rules, categories, wanted=[category.name for category in chosen])


def open_study(
    dataset: Dataset,
    read_image: Callable[[Scene], Image],
    painter: AlignedInpainter,
    *,
    training: LoraTraining,
    book: PromptBook,
    folder: Path,
    key: str,
    progress: Progress,
) -> Study:
    """Cut, encode and sort the windows, those of held-out images apart; what the folder holds with this key is taken.

    Raises:
        DatasetError: Nothing to learn from.
    """
    chosen = chosen_categories(dataset.categories, training.categories)
    labels = np.array([i + 1 for i, c in enumerate(dataset.categories) if c in chosen], np.int64)
    kept, held = hold_out(dataset, chosen, share=training.held_out_share, seed=training.seed)
    rules = WindowRules(
        size=painter.size,
        cell=painter.cell,
        num_windows=training.num_windows,
        background_share=BACKGROUND_SHARE if training.prior_share else 0.0,
        symmetry=training.symmetry,
        balance=training.balance,
        favoured_ids=tuple(category.id for category in chosen) if training.categories else (),
    )

    def lesson(name: str, part: Dataset, count: int) -> tuple[Objective, Pools]:
        seed = derive_seed(training.seed, name)
        chosen_rules = replace(rules, num_windows=count)
        latents = cache_latents(
            part,
            read_image,
            painter,
            rules=chosen_rules,
            seed=seed,
            folder=folder / name,
            key=key,
            progress=progress,
        )
        others = [i for i in range(1, len(part.categories) + 1) if i not in labels]
        objective = _objective(
            latents, painter, training=training, book=book, dataset=part, others=others, seed=seed
        )
        return objective, Pools.of(latents, objective.texts, labels)

    objective, pools = lesson("windows", kept, training.num_windows)
    if not len(pools.own):
        raise DatasetError(
            f"{dataset.source}: no object of {', '.join(c.name for c in chosen)} fits a training window; annotate "
            "more of them, or cut more windows with --num-windows"
        )
    check = None if held is None else lesson("held-out", held, min(HELD_OUT_WINDOWS, training.num_windows))
    view = cut_windows(kept, read_image, rules=replace(rules, num_windows=VIEW_WINDOWS), seed=training.seed)
    return Study(
        objective,
        pools,
        check if check is not None and len(check[1].own) else None,
        _first(view, labels, training.samples),
        tuple(_text(book, dataset.categories, i, training.seed) for i in range(len(dataset.categories) + 1)),
    )


def _objective(
    latents: Latents,
    painter: AlignedInpainter,
    *,
    training: LoraTraining,
    book: PromptBook,
    dataset: Dataset,
    others: Sequence[int],
    seed: int,
) -> Objective:
    """Return the loss on some windows, each with a prompt drawn for it; labels of `others` have one even unseen."""

    def say(label: int, number: int) -> str:
        return _text(book, dataset.categories, label, derive_seed(seed, number))

    said = [say(int(label), i) for i, label in enumerate(latents.labels)]
    return Objective(
        painter.unet,
        build_scheduler(painter.scheduler, sampler="ddim", steps=1),
        latents,
        encode_texts(painter, said, further=[say(label, -label) for label in others]),
        plain=painter.plain,
        snr_gamma=training.snr_gamma,
        device=training.device,
    )


def hold_out(
    dataset: Dataset, chosen: Sequence[Category], *, share: float, seed: int
) -> tuple[Dataset, Dataset | None]:
    """Return the dataset without some images with chosen objects, and one of those alone; None for too few.

    Of every chosen category at least two images stay in training, where it has as many.
    """
    ids = {category.id for category in chosen}
    present = [ids & set(s.category_ids[~s.is_crowd].tolist()) for s in dataset.scenes]
    able = [i for i, found in enumerate(present) if found]
    left = Counter(c for found in present for c in found)
    held: set[int] = set()
    for k in derive_rng(seed, "hold out").permutation(len(able)):
        i = able[k]
        if len(held) < int(share * len(able)) and all(left[c] > 2 for c in present[i]):
            held.add(i)
            left.subtract(present[i])
    if not held:
        return dataset, None
    parts = (
        tuple(s for i, s in enumerate(dataset.scenes) if (i in held) == apart) for apart in (False, True)
    )
    kept, away = (replace(dataset, scenes=scenes) for scenes in parts)
    return kept, away


def _text(book: PromptBook, categories: Sequence[Category], label: int, seed: int) -> str:
    return BACKGROUND_PROMPT if label == 0 else book.prompt(categories[label - 1].id, seed=seed)


def _first(windows: Windows, labels: IntArray, count: int) -> Windows:
    picks = np.flatnonzero(np.isin(windows.labels, labels))[:count]
    return Windows(windows.images[picks], windows.cells[picks], windows.labels[picks])
