"""A generation run: from a dataset to an augmented dataset."""
