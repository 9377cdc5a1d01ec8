"""Diffusion models that paint a new object into a window of an image."""
