"""Does it help? Detectors trained with and without each step, on little data and on all of it."""
