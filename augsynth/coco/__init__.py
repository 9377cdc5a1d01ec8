"""COCO files: read, checked, repaired, split and written."""
