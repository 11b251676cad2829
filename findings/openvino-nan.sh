#!/usr/bin/env bash
# OpenVINO 2026.4.1 (PyPI), CPU (x86-64): Relu and Clip make 0 of what is no number; ONNX Runtime 1.32.0 hands NaN on, as ONNX's reference does.
# A map of distances that ends so, as those of 0 to 1 do, has its best value where the network could not answer: here the cosine
# distance to good parts, 0/0 where a piece of the picture has no features at all (lamp off, lens cap). Nothing at the output tells.
# Through 8 bits NaN is lost in both: QuantizeLinear makes the lowest number of it.
# Needs python3-venv, Python 3.11 or later. Fails when what is seen has changed.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv python
python/bin/pip install --quiet --disable-pip-version-check openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cat >look.py <<'PYTHON'
import numpy
import onnxruntime
import openvino
from onnx import TensorProto, helper

FLOAT, CHANNELS, SIDE = TensorProto.FLOAT, 16, 8
number = numpy.random.default_rng(0)
good = number.random(CHANNELS, dtype=numpy.float32)
good /= numpy.linalg.norm(good)
features = number.random((1, CHANNELS, SIDE, SIDE), dtype=numpy.float32)
features[:, :, 2:5, 2:5] = 0

constants = [
    helper.make_tensor("good", FLOAT, (1, CHANNELS, 1, 1), good),
    helper.make_tensor("channels", TensorProto.INT64, (1,), [1]),
    helper.make_tensor("zero", FLOAT, (), [0.0]),
    helper.make_tensor("one", FLOAT, (), [1.0]),
    helper.make_tensor("step", FLOAT, (), [1 / 127]),
    helper.make_tensor("offset", TensorProto.INT8, (), [0]),
]
distance = [
    helper.make_node("ReduceL2", ["x"], ["length"], axes=[1]),
    helper.make_node("Div", ["x", "length"], ["direction"]),
    helper.make_node("Mul", ["direction", "good"], ["products"]),
    helper.make_node("ReduceSum", ["products", "channels"], ["cosine"]),
    helper.make_node("Sub", ["one", "cosine"], ["distance"]),
]
ends = {
    "as it is": [helper.make_node("Identity", ["distance"], ["y"])],
    "Relu": [helper.make_node("Relu", ["distance"], ["y"])],
    "Clip 0 to 1": [helper.make_node("Clip", ["distance", "zero", "one"], ["y"])],
    "8 bits": [
        helper.make_node("QuantizeLinear", ["distance", "step", "offset"], ["quantized"]),
        helper.make_node("DequantizeLinear", ["quantized", "step", "offset"], ["y"]),
    ],
}
core = openvino.Core()
onnxruntime.set_default_logger_severity(3)  # Without its warnings of constants that an end does not use.
print(f"ONNX Runtime {onnxruntime.__version__}, OpenVINO {openvino.__version__.split('-')[0]}")
for name, end in ends.items():
    x = helper.make_tensor_value_info("x", FLOAT, features.shape)
    y = helper.make_tensor_value_info("y", FLOAT, [1, 1, SIDE, SIDE])
    graph = helper.make_graph(distance + end, "distance", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    runtime = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": features})[0][0, 0]
    vino = core.compile_model(core.read_model(model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(features)[0][0, 0]
    seen = numpy.ones((SIDE, SIDE), bool)
    seen[2:5, 2:5] = False
    assert numpy.allclose(runtime[seen], vino[seen], atol=0.01)
    blind = [", ".join(sorted({f"{value:.2f}" for value in found[~seen]})) for found in (runtime, vino)]
    print(f"{name}: no features: ONNX Runtime {blind[0]}, OpenVINO {blind[1]}; smallest elsewhere {vino[seen].min():.2f}")
PYTHON
python/bin/python look.py >seen
cat seen
diff seen - <<'EXPECTED' || { echo "what is seen has changed"; exit 1; }
ONNX Runtime 1.32.0, OpenVINO 2026.4.1
as it is: no features: ONNX Runtime nan, OpenVINO nan; smallest elsewhere 0.11
Relu: no features: ONNX Runtime nan, OpenVINO 0.00; smallest elsewhere 0.11
Clip 0 to 1: no features: ONNX Runtime nan, OpenVINO 0.00; smallest elsewhere 0.11
8 bits: no features: ONNX Runtime -1.01, OpenVINO -1.01; smallest elsewhere 0.11
EXPECTED
echo "as described"
