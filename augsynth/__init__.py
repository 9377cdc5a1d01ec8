"""augsynth: enrich a COCO detection dataset with labelled objects painted where they belong."""

__version__ = "0.1.0"
