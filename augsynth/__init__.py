"""augsynth: enrich a COCO detection dataset with labelled objects painted where they belong.

The names below are the Python interface; each loads its module when it is first used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from augsynth.checking.check import Check, check
    from augsynth.coco.reader import read_dataset
    from augsynth.core.errors import AugsynthError
    from augsynth.detectors.loading import load_detector
    from augsynth.filtering.judge_pictures import judge_pictures
    from augsynth.generation.interface import Run, finalize, generate, open_run
    from augsynth.inpainting.loading import load_inpainter
    from augsynth.pasting.affinity_paste import AffinityPaste
    from augsynth.placement.scene_model import SceneModel, fit_affinity, load_affinity, propose_places
    from augsynth.training.detector.prediction import Predictions, predict
else:
    _MODULES = {
        "AffinityPaste": "pasting.affinity_paste",
        "AugsynthError": "core.errors",
        "Check": "checking.check",
        "Predictions": "training.detector.prediction",
        "Run": "generation.interface",
        "SceneModel": "placement.scene_model",
        "check": "checking.check",
        "finalize": "generation.interface",
        "fit_affinity": "placement.scene_model",
        "generate": "generation.interface",
        "judge_pictures": "filtering.judge_pictures",
        "load_affinity": "placement.scene_model",
        "load_detector": "detectors.loading",
        "load_inpainter": "inpainting.loading",
        "open_run": "generation.interface",
        "predict": "training.detector.prediction",
        "propose_places": "placement.scene_model",
        "read_dataset": "coco.reader",
    }

    def __getattr__(name):
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        globals()[name] = value
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


__version__ = "0.1.0"

__all__ = [
    "AffinityPaste",
    "AugsynthError",
    "Check",
    "Predictions",
    "Run",
    "SceneModel",
    "__version__",
    "check",
    "finalize",
    "fit_affinity",
    "generate",
    "judge_pictures",
    "load_affinity",
    "load_detector",
    "load_inpainter",
    "open_run",
    "predict",
    "propose_places",
    "read_dataset",
]
