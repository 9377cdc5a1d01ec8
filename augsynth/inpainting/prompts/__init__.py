"""What a model is told of each category."""
