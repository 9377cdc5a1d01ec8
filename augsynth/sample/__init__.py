"""The rendered sample: scenes drawn by our own renderer, with a world that is written down."""

from __future__ import annotations

from augsynth.sample.dataset import write_sample
from augsynth.sample.render import RenderedScene, render_scene
from augsynth.sample.world import CATEGORIES, ground_truth

__all__ = ["CATEGORIES", "RenderedScene", "ground_truth", "render_scene", "write_sample"]
