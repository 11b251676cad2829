"""Reads a model repository as Triton documents it: config.py FOLDER NAME; the configuration by the published schema, held
against the graph and against the model repositories of OpenVINO Model Server."""

import pathlib
import sys

import onnxruntime
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

folder, name = pathlib.Path(sys.argv[1]), sys.argv[2]
text = (folder / "config.pbtxt").read_text()
config = text_format.Parse(text, ModelConfig())
for wrong in [text + "longest_batch: 8\n", text.replace("TYPE_FP32", "TYPE_FLOAT"), text.replace("[ 1 ] }", "[ 1.5 ] }")]:
    try:
        text_format.Parse(wrong, ModelConfig())
    except text_format.ParseError:
        continue
    raise AssertionError("the schema takes anything")

# The folder has the model's name; each version is a folder whose name is a positive number, with the graph in it.
assert config.name == folder.name == name, config.name
assert config.backend == "onnxruntime" and config.max_batch_size > 1
versions = [int(path.name) for path in folder.iterdir() if path.is_dir()]
assert versions == [1] == list(config.version_policy.specific.versions), versions
graphs = [path.name for path in (folder / "1").glob("*.onnx")]
assert graphs == [config.default_model_filename or "model.onnx"], graphs

kinds = {"tensor(uint8)": "TYPE_UINT8", "tensor(float)": "TYPE_FP32"}
graph = onnxruntime.InferenceSession(str(folder / "1" / graphs[0]), providers=["CPUExecutionProvider"])
for declared, found in [(config.input, graph.get_inputs()), (config.output, graph.get_outputs())]:
    assert sorted(tensor.name for tensor in declared) == sorted(tensor.name for tensor in found)
    for tensor in declared:
        [node] = [node for node in found if node.name == tensor.name]
        batch, *dims = node.shape
        # With max_batch_size the first dimension is not written, and must be free.
        assert not isinstance(batch, int), node.shape
        assert list(tensor.dims) == dims, (tensor.name, list(tensor.dims), dims)
        assert DataType.Name(tensor.data_type) == kinds[node.type], (tensor.name, node.type)

policy = config.dynamic_batching.default_queue_policy
assert policy.allow_timeout_override and policy.max_queue_size > 0 and policy.default_timeout_microseconds > 0
assert list(config.dynamic_batching.preferred_batch_size) == []
print("fits")
