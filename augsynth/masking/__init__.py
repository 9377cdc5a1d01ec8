"""The outline of a painted object."""
