#!/usr/bin/env bash
# Label Studio's converter (PyPI label-studio-sdk 2.1.2) writes brushed defects into COCO by their outline through pixel centres:
# - A straight scratch one pixel wide is left out without a word, and with it its picture, where it has no other defect.
# - `area` is what the outline encloses: 159 of the 320 pixels of a scratch two pixels wide, 1 of 4, and 0 of a slanted one.
# - Holes are filled: a ring has the area of its disc.
# The masks of BRUSH_TO_PNG, out of the same file, hold every pixel.
# Needs python3-venv, Python 3.11 or later. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check label-studio-sdk==2.1.2 opencv-python-headless==4.12.0.88 numpy==2.2.6 pillow==13.0.0
cat >look.py <<'PYTHON'
import glob
import json
import os
from importlib.metadata import version

import numpy
from label_studio_sdk.converter import Converter
from label_studio_sdk.converter.brush import mask2rle
from PIL import Image

WIDTH, HEIGHT = 200, 100
LABELS = '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image"><Label value="defect"/></BrushLabels></View>'


def drawn(*strokes):
    """A mask of these (value, rows, columns)."""
    mask = numpy.zeros((HEIGHT, WIDTH), numpy.uint8)
    for value, rows, columns in strokes:
        mask[rows, columns] = value
    return mask


down = numpy.arange(60)
defects = {
    "scratch, 1 wide": drawn((255, 40, slice(20, 180))),
    "scratch, 2 wide": drawn((255, slice(40, 42), slice(20, 180))),
    "slanted scratch": drawn((255, 20 + down, 20 + 2 * down), (255, 20 + down, 21 + 2 * down)),
    "pinhole, 2 x 2": drawn((255, slice(40, 42), slice(60, 62))),
    "ring": drawn((255, slice(20, 80), slice(50, 150)), (0, slice(30, 70), slice(60, 140))),
}
tasks = []
for number, mask in enumerate(defects.values()):
    value = {"format": "rle", "rle": mask2rle(mask), "brushlabels": ["defect"]}
    result = {"id": str(number), "type": "brushlabels", "from_name": "brush", "to_name": "image", "value": value}
    result.update(original_width=WIDTH, original_height=HEIGHT, image_rotation=0)
    annotation = {"id": number, "completed_by": {"email": "somebody"}, "result": [result]}
    tasks.append({"id": number, "data": {"image": f"{number}.png"}, "annotations": [annotation]})
with open("tasks.json", "w") as file:
    json.dump(tasks, file)

converter = Converter(LABELS, ".", download_resources=False)
os.mkdir("masks")
converter.convert("tasks.json", "coco", "BRUSH_TO_COCO", is_dir=False)
converter.convert("tasks.json", "masks", "BRUSH_TO_PNG", is_dir=False)
with open("coco/result_coco.json") as file:
    coco = json.load(file)

print(f"label-studio-sdk {version('label-studio-sdk')}")
for number, (name, mask) in enumerate(defects.items()):
    image = [image["id"] for image in coco["images"] if image["file_name"] == f"{number}.png"]
    areas = [str(found["area"]) for found in coco["annotations"] if found["image_id"] in image]
    [file] = glob.glob(f"masks/task-{number}-*.png")
    pixels = numpy.count_nonzero(Image.open(file))
    print(f"{name}: {numpy.count_nonzero(mask)} pixels; COCO area {', '.join(areas) or 'none'}, pictures {len(image)}; PNG {pixels} pixels")
PYTHON
python/bin/python look.py >seen
cat seen
diff seen - <<'EXPECTED' || { echo "what is seen has changed"; exit 1; }
label-studio-sdk 2.1.2
scratch, 1 wide: 160 pixels; COCO area none, pictures 0; PNG 160 pixels
scratch, 2 wide: 320 pixels; COCO area 159, pictures 1; PNG 320 pixels
slanted scratch: 120 pixels; COCO area 0, pictures 1; PNG 120 pixels
pinhole, 2 x 2: 4 pixels; COCO area 1, pictures 1; PNG 4 pixels
ring: 2800 pixels; COCO area 5841, pictures 1; PNG 2800 pixels
EXPECTED
echo "as described"
