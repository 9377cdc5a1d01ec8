"""Which painted objects are kept."""
