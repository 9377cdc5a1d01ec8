"""A judge for each step of the method."""
