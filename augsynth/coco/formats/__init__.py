"""Datasets of other formats, read as COCO documents and written from them."""
