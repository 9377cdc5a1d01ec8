"""Values that travel between the steps, and the ground they stand on: boxes, masks, images, seeds."""
