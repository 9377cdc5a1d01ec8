"""Train a LoRA of a Stable Diffusion checkpoint."""
