"""Train a detector for the filter."""
