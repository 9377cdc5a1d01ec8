"""Object detectors behind one port."""
