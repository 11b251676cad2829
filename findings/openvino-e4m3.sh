#!/usr/bin/env bash
# OpenVINO 2026.4.1 (PyPI), CPU: QuantizeLinear to FLOAT8E4M3FN does not take the nearest float. Numbers are rounded to float16 first
# and from there to E4M3, halves to even, so that one in three hundred goes to the other neighbour: 68.0097 becomes 64, 72 is nearer.
# Needs python3-venv. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/python"
"$work/python/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1 onnx==1.23.2 ml_dtypes==0.6.0
cd "$work"
"$work/python/bin/python" - <<'PYTHON'
import ml_dtypes
import numpy
import openvino
from onnx import TensorProto, helper

COUNT = 1 << 16
step = helper.make_tensor("step", TensorProto.FLOAT, (), [1.0])
zero = helper.make_tensor("zero", TensorProto.FLOAT8E4M3FN, (), b"\0", raw=True)
nodes = [
    helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["rounded"]),
    helper.make_node("DequantizeLinear", ["rounded", "step", "zero"], ["y"]),
]
ends = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, [COUNT])] for name in "xy"]
graph = helper.make_graph(nodes, "e4m3", *ends, [step, zero])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
with open("e4m3.onnx", "wb") as file:
    file.write(model.SerializeToString())
core = openvino.Core()
compiled = core.compile_model(core.read_model("e4m3.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
x = numpy.random.default_rng(0).uniform(-400, 400, COUNT).astype(numpy.float32)
x[0] = 68.0097
found = compiled(x)[0]
nearest, by_halves = (x.astype(t).astype(ml_dtypes.float8_e4m3fn).astype(numpy.float32) for t in (numpy.float32, numpy.float16))
print(f"68.0097 → {found[0]}, nearest {nearest[0]}; others than the nearest: {numpy.mean(found != nearest):.2%}")
print(f"others than by way of float16: {numpy.mean(found != by_halves):.2%}")
assert found[0] == 64 and nearest[0] == 72 and (found == by_halves).all() and (found != nearest).any()
PYTHON
