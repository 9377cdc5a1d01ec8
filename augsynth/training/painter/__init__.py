"""Train a small inpainting model from scratch."""
