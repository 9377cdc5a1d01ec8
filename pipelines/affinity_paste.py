"""`AffinityPaste`, whose code is in `augsynth.pasting.transform`."""

from augsynth.pasting.transform import AffinityPaste

__all__ = ["AffinityPaste"]
