"""The drawings of the rendered sample."""
