"""COCO files: read, checked, repaired, split and written; and datasets of other formats."""
