#!/usr/bin/env bash
# OpenCV 4.13.0 and 5.0.0 (PyPI), cv2.matchTemplate with TM_CCOEFF_NORMED, the usual way to find a part on a belt:
# - a template without contrast (a rectangle beside the part, a black one behind a lens cap) is found everywhere with the full score of 1;
# - with a mask, all of an even belt gets NaN, and minMaxLoc then answers nan at (-1, -1), though the part is there with a score of 1.
# Needs python3-venv. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
cat >look.py <<'PYTHON'
import cv2
import numpy

dice = numpy.random.default_rng(1)
belt = numpy.full((400, 600), 210, numpy.uint8)
part = dice.integers(0, 255, (40, 60), dtype=numpy.uint8)
belt[100:140, 200:260] = part


def best(template, **mask):
    scores = cv2.matchTemplate(belt, template, cv2.TM_CCOEFF_NORMED, **mask)
    least, largest, _, place = cv2.minMaxLoc(scores)
    return scores, least, largest, place


print(cv2.__version__)
_, _, score, place = best(part)
print(f"the part: {score:.6f} at {place}")
assert place == (200, 100) and score > 0.9999

_, least, largest, place = best(numpy.zeros_like(part))
print(f"a black template: from {least} to {largest}, best at {place}")
assert (least, largest, place) == (1, 1, (0, 0))

scores, _, largest, place = best(part, mask=numpy.full_like(part, 255))
numbers = numpy.isfinite(scores)
print(f"the part with a mask of all its pixels: {largest} at {place}; NaN {numpy.mean(~numbers):.0%}, at (200, 100) {scores[100, 200]:.6f}")
assert numpy.isnan(largest) and place == (-1, -1) and not numbers[200:].any() and scores[100, 200] > 0.9999
PYTHON
for version in 4.13.0.92 5.0.0.93; do
  python3 -m venv "$version"
  "$version/bin/pip" install --quiet --disable-pip-version-check opencv-python-headless==$version numpy==2.2.6
  "$version/bin/python" look.py
done
