"""Training of painting models, LoRAs and detectors."""
