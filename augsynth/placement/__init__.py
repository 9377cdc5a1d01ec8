"""Where a new object belongs and how large it is there."""
