#!/usr/bin/env bash
# Grey TIFFs of 10, 12 and 14 bits a sample, as sensors have them, in three libraries (PyPI):
# - OpenCV 4.13.0 and 5.0.0, imread with IMREAD_UNCHANGED: every number times 64, 16 or 4, so that white comes to 65535;
# - Pillow 13.0.0: 12 bits as they are, 10 and 14 refused; tifffile 2026.3.3: all as they are.
# So a limit found with one of them is 4 to 64 times off with another.
# - tifffile 2026.3.3 with imagecodecs 2026.3.6, imwrite with bitspersample=12 and byteorder=">": the bytes of each number are swapped
#   before it is cut to 12 bits, and nobody reads it back; byteorder="<" is right.
# Needs python3-venv, Python 3.11 or later. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >look.py <<'PYTHON'
import cv2
import numpy
import PIL
import tifffile
from PIL import Image

print(f"OpenCV {cv2.__version__}, Pillow {PIL.__version__}, tifffile {tifffile.__version__}")
for bits in (10, 12, 14):
    sensor = (numpy.arange(4096, dtype=numpy.uint16) * 61 % (1 << bits)).reshape(64, 64)
    tifffile.imwrite("frame.tif", sensor, byteorder="<", bitspersample=bits, photometric="minisblack", metadata=None)
    assert (tifffile.imread("frame.tif") == sensor).all()
    found = cv2.imread("frame.tif", cv2.IMREAD_UNCHANGED)
    assert found.dtype == numpy.uint16 and (found == sensor << (16 - bits)).all()
    try:
        pillow = numpy.asarray(Image.open("frame.tif"))
        assert bits == 12 and (pillow == sensor).all()
        pillow = pillow[0, 1]
    except PIL.UnidentifiedImageError:
        assert bits != 12
        pillow = "refused"
    print(f"{bits} bits, the number {sensor[0, 1]}: OpenCV {found[0, 1]}, Pillow {pillow}, tifffile {sensor[0, 1]}")

sensor = (numpy.arange(4096, dtype=numpy.uint16) * 61 % 4096).reshape(64, 64)
tifffile.imwrite("big.tif", sensor, byteorder=">", bitspersample=12, photometric="minisblack", metadata=None)
back = tifffile.imread("big.tif")
print(f'tifffile byteorder=">", 12 bits: {sensor[0, 1:4]} come back as {back[0, 1:4]}, {numpy.mean(back == sensor):.1%} right')
assert (back == sensor.byteswap() % 4096).all() and (back != sensor).any()
PYTHON
for version in 4.13.0.92 5.0.0.93; do
  python3 -m venv "$version"
  "$version/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==$version numpy==2.4.6 pillow==13.0.0 tifffile==2026.3.3 \
    imagecodecs==2026.3.6
  "$version/bin/python" look.py
done
