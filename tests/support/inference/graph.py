"""Runs an exported graph in ONNX Runtime: graph.py MODEL.onnx IMAGES.bin COUNT SIDE OUT.bin; maps, then scores, as float32."""

import sys

import numpy
import onnxruntime

model, images, count, side, out = sys.argv[1:]
count, side = int(count), int(side)
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
image = numpy.fromfile(images, dtype=numpy.uint8).reshape(count, side, side, 3)
maps, scores = session.run(["map", "score"], {"image": image})
assert maps.shape == (count, side, side) and scores.shape == (count, 1), (maps.shape, scores.shape)
numpy.concatenate([maps.ravel(), scores.ravel()]).astype("<f4").tofile(out)
