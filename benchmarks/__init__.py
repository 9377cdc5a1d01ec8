"""Figures: what each step is worth, measured on real data."""
