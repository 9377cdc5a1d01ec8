"""What is wrong or suspicious in a dataset: found, shown and, where that is safe, mended in a copy."""
