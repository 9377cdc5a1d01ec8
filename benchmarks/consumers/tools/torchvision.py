"""torchvision: VOCDetection."""

from pathlib import Path

from torchvision.datasets import VOCDetection

from benchmarks.consumers.readers.shared import found_object


def read(folder, split, *, masks):
    """Read in the devkit's folder, which torchvision asks for; whole numbers count pixels from 1."""
    devkit = folder.parent / f"{folder.name}-devkit"
    place = devkit / "VOCdevkit" / "VOC2012"
    if not place.is_symlink():
        place.parent.mkdir(parents=True)
        place.symlink_to(folder)
    found = []
    for picture, target in VOCDetection(str(devkit), year="2012", image_set=split):
        said = target["annotation"]
        assert picture.size == (int(said["size"]["width"]), int(said["size"]["height"]))
        objects = []
        for each in said.get("object", []):
            x1, y1, x2, y2 = (int(each["bndbox"][key]) for key in ("xmin", "ymin", "xmax", "ymax"))
            polygons = each.get("polygon", [])
            polygons = [polygons] if isinstance(polygons, dict) else polygons
            outline = [[float(v) - 1 for v in polygon.values()] for polygon in polygons]
            crowd = each["difficult"] == "1"
            objects.append(
                found_object((x1 - 1, y1 - 1, x2, y2), each["name"], crowd=crowd, mask=outline or None)
            )
        found.append({"file_name": Path(said["filename"]).name, "objects": objects})
    return found
