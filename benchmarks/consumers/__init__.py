"""What other libraries make of the output: each reads it in its own environment; that is compared with the file."""
