#!/usr/bin/env bash
# IDS peak IPL 1.18.0 (PyPI ids-peak-ipl), the picture library of IDS's cameras, and files of 16 bits:
# - ImageReader takes every grey PNG of 16 bits for Mono12 that does not say otherwise in a chunk sBIT, also its own of a Mono16 frame:
#   numbers up to 65535 in a format whose white is 4095. Converted to Mono8 or Mono16 they are 16 times too large and wrap around.
# - A Mono12 frame is written into a PNG times 16 (sBIT 12), white 65535; into a TIFF as it is, white 4095 (MaxSampleValue):
#   to OpenCV 4.13.0 the one is 16 times as bright as the other. Its own TIFFs of 16 bits it does not read.
# Needs python3-venv, Python 3.11 or later. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check ids-peak-ipl==1.18.0 ids-peak-common==2.1.0 opencv-python-headless==4.13.0.92 numpy==2.4.6
cat >look.py <<'PYTHON'
from importlib.metadata import version

import cv2
import numpy
from ids_peak_ipl import ids_peak_ipl as ipl

print(f"ids-peak-ipl {version('ids-peak-ipl')}, OpenCV {cv2.__version__}")
MONO8, MONO12, MONO16 = ipl.PixelFormatName_Mono8, ipl.PixelFormatName_Mono12, ipl.PixelFormatName_Mono16


def frame(kind, numbers):
    """A frame of these numbers, which are its own: the buffer is not copied otherwise."""
    height, width = numbers.shape
    return ipl.Image.CreateFromSizeAndPythonBuffer(kind, numbers.view(numpy.uint8).ravel(), width, height).Clone()


def first(picture):
    """The first numbers of a frame or an array."""
    numbers = picture if isinstance(picture, numpy.ndarray) else picture.get_numpy()
    return ", ".join(str(number) for number in numbers.ravel()[:4])


def read(name):
    try:
        return ipl.ImageReader.Read(name)
    except ipl.IOException:
        return None


even = numpy.tile(numpy.array([4000, 8000, 32000, 65535], numpy.uint16), (8, 8))
cv2.imwrite("opencv.png", even)
ipl.ImageWriter.Write("mono16.png", frame(MONO16, even))
for name in ("opencv.png", "mono16.png"):
    found = read(name)
    print(f"{name}, {first(even)}: read as {found.PixelFormat().Name()}, {first(found)}")
    eight, sixteen = found.ConvertTo(MONO8), found.ConvertTo(MONO16)
    print(f"  as Mono8 {first(eight)}, as Mono16 {first(sixteen)}")

sensor = numpy.tile(numpy.array([250, 500, 2000, 4095], numpy.uint16), (8, 8))
for name in ("mono12.png", "mono12.tif"):
    ipl.ImageWriter.Write(name, frame(MONO12, sensor))
    found = read(name)
    back = f"{found.PixelFormat().Name()}, {first(found)}" if found else "not read"
    print(f"{name}, {first(sensor)}: OpenCV {first(cv2.imread(name, cv2.IMREAD_UNCHANGED))}; itself {back}")
PYTHON
python/bin/python look.py >seen
cat seen
diff seen - <<'EXPECTED' || { echo "what is seen has changed"; exit 1; }
ids-peak-ipl 1.18.0, OpenCV 4.13.0
opencv.png, 4000, 8000, 32000, 65535: read as Mono12, 4000, 8000, 32000, 65535
  as Mono8 250, 244, 208, 255, as Mono16 64000, 62464, 53248, 65520
mono16.png, 4000, 8000, 32000, 65535: read as Mono12, 4000, 8000, 32000, 65535
  as Mono8 250, 244, 208, 255, as Mono16 64000, 62464, 53248, 65520
mono12.png, 250, 500, 2000, 4095: OpenCV 4000, 8001, 32007, 65535; itself Mono12, 250, 500, 2000, 4095
mono12.tif, 250, 500, 2000, 4095: OpenCV 250, 500, 2000, 4095; itself not read
EXPECTED
echo "as described"
