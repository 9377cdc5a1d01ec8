"""Whole roads: photographs, the paper, a novel category."""
