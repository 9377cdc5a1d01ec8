"""Which category belongs with which, from co-occurrence or from category names."""
