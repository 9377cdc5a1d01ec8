"""Transforms and hooks for MMDetection, by their names in a checkout; an installed package has them in augsynth."""
