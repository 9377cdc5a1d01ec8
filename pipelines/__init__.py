"""Transforms for MMDetection; configs import the leaf modules."""
