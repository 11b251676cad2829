#!/usr/bin/env bash
# OpenCV 4.13.0 and 5.0.0: phaseCorrelate is half a pixel off along every side of odd length that needs no padding for the
# Fourier transform (3, 5, 9, 15, 25, 27, 45, 75, 81, 125, 135, 225, 375, …): a picture compared with itself has moved by
# (0.5, 0.5). With 120 or 128 pixels, or 127, which are padded to 128, it has not.
# Who finds where parts lie with it takes regions of even width and height.
# Needs python3-venv, Python 3.11 or later. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >look.py <<'PYTHON'
import cv2
import numpy

print(f"OpenCV {cv2.__version__}")
texture = cv2.GaussianBlur(numpy.random.default_rng(0).random((400, 400), dtype=numpy.float32), (0, 0), 2)
for width, height in [(128, 128), (120, 120), (127, 127), (125, 125), (120, 125), (135, 75), (375, 225)]:
    window = cv2.createHanningWindow((width, height), cv2.CV_32F)
    first = texture[10 : 10 + height, 10 : 10 + width].copy()
    still, _ = cv2.phaseCorrelate(first, first, window)
    # What was at (x, y) is at (x + 4, y + 3) now.
    moved, _ = cv2.phaseCorrelate(first, texture[7 : 7 + height, 6 : 6 + width].copy(), window)
    # To the nearest half, without the sign of zero.
    numbers = [", ".join(str(round(2 * value) / 2) for value in shift) for shift in (still, moved)]
    print(f"{width} x {height}: the same picture ({numbers[0]}), moved by (4, 3): ({numbers[1]})")
PYTHON
cat >expected <<'EXPECTED'
128 x 128: the same picture (0.0, 0.0), moved by (4, 3): (4.0, 3.0)
120 x 120: the same picture (0.0, 0.0), moved by (4, 3): (4.0, 3.0)
127 x 127: the same picture (0.0, 0.0), moved by (4, 3): (4.0, 3.0)
125 x 125: the same picture (0.5, 0.5), moved by (4, 3): (4.5, 3.5)
120 x 125: the same picture (0.0, 0.5), moved by (4, 3): (4.0, 3.5)
135 x 75: the same picture (0.5, 0.5), moved by (4, 3): (4.5, 3.5)
375 x 225: the same picture (0.5, 0.5), moved by (4, 3): (4.5, 3.5)
EXPECTED
for version in 4.13.0.92 5.0.0.93; do
  python3 -m venv "$version"
  "$version/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==$version numpy==2.4.6
  "$version/bin/python" look.py | tee seen
  diff <(tail -n +2 seen) expected || { echo "what is seen has changed"; exit 1; }
done
echo "as described"
