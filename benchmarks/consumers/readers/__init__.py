"""One module for each library: how a user of it loads a COCO file, and what it then holds."""
