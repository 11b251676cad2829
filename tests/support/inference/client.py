"""A standard client asks a server: client.py HOST:PORT MODEL IMAGES.bin COUNT SIDE OUT.bin; maps, then scores, as float32."""

import sys

import numpy
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

address, model, images, count, side, out = sys.argv[1:]
count, side = int(count), int(side)
client = triton.InferenceServerClient(address)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(model)
about = client.get_server_metadata(as_json=True)
assert about["name"] == "vcp-line", about
metadata = client.get_model_metadata(model, as_json=True)
assert metadata["name"] == model and metadata["inputs"][0]["shape"] == ["-1", str(side), str(side), "3"], metadata


def asked(pixels, name=model, **more):
    tensor = triton.InferInput("image", list(pixels.shape), "UINT8")
    tensor.set_data_from_numpy(pixels)
    return client.infer(name, [tensor], **more)


pixels = numpy.fromfile(images, dtype=numpy.uint8).reshape(count, side, side, 3)
outputs = [triton.InferRequestedOutput(name) for name in ("map", "score", "map_u16")]
answer = asked(pixels, outputs=outputs, request_id="seven", client_timeout=30)
assert answer.get_response().id == "seven"
maps, scores = answer.as_numpy("map"), answer.as_numpy("score")
assert maps.shape == (count, side, side) and scores.shape == (count, 1)
whole = answer.as_numpy("map_u16").astype(numpy.float32) / 65535
assert abs(whole - maps).max() <= 1 / 131070 + 1e-6
plain = asked(pixels[:1])
assert abs(plain.as_numpy("map")[0] - maps[0]).max() <= 1e-6

for what, call, status in [
    ("another model", lambda: asked(pixels, name="another"), "NOT_FOUND"),
    ("another version", lambda: asked(pixels, model_version="7"), "NOT_FOUND"),
    ("another size", lambda: asked(pixels[:, 1:]), "INVALID_ARGUMENT"),
    ("too many pictures", lambda: asked(numpy.repeat(pixels[:1], 9, axis=0)), "INVALID_ARGUMENT"),
    ("another output", lambda: asked(pixels, outputs=[triton.InferRequestedOutput("mask")]), "INVALID_ARGUMENT"),
    ("no time", lambda: asked(pixels, timeout=1), "DEADLINE_EXCEEDED"),
]:
    try:
        call()
    except InferenceServerException as error:
        assert status in str(error.status()), (what, error.status(), error.message())
    else:
        raise AssertionError(what)
# Large enough to be cut off by its length alone.
try:
    asked(numpy.zeros((64, side * 4, side * 4, 3), dtype=numpy.uint8))
except InferenceServerException as error:
    assert "OUT_OF_RANGE" in str(error.status()) or "RESOURCE_EXHAUSTED" in str(error.status()), error
else:
    raise AssertionError("a message of any size")
assert client.is_server_ready()
numpy.concatenate([maps.ravel(), scores.ravel()]).astype("<f4").tofile(out)
