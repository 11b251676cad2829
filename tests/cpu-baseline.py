#!/usr/bin/env python3
"""Whole frames of ours against the vision tower alone in PyTorch on the processor, in turns.

The tower is that of tests/gpu-baseline.py (ViT-L/14-336 at 518, seeded weights) under autocast to bfloat16, with fused attention;
text tower, Post-VCP, maps and pre-processing are left out, in PyTorch's favour.

Usage: tests/cpu-baseline.py BUNDLE [--vcp-line FILE] [--precision P,…] [--frames N] [--turns N]
Exit code 3 without PyTorch.
"""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import time

UNAVAILABLE = 3


def baseline():
    """The module beside this one; its name is none that can be imported."""
    path = pathlib.Path(__file__).with_name("gpu-baseline.py")
    spec = importlib.util.spec_from_file_location("gpu_baseline", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["gpu_baseline"] = module
    spec.loader.exec_module(module)
    return module


def ours(arguments, precision):
    """Median milliseconds of a whole frame."""
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [arguments.vcp_line, "bench", "engine", "--model", arguments.bundle, "--engine", "openvino"]
        command += ["--precision", precision, "--frames", str(arguments.frames), "--json", file.name]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.load(open(file.name, encoding="utf-8"))["median_ms"]["batch"]


def theirs(torch, tower, image, frames):
    """Median milliseconds of the tower; the first two frames are not counted."""
    times = []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(frames + 2):
            start = time.perf_counter()
            tower.encode_image(image)
            times.append((time.perf_counter() - start) * 1e3)
    return sorted(times[2:])[frames // 2]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--vcp-line", default="target/release/vcp-line")
    parser.add_argument("--precision", default="bf16,int8")
    parser.add_argument("--frames", type=int, default=6)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError:
        print("PyTorch is not here: pip install torch", file=sys.stderr)
        return UNAVAILABLE
    module = baseline()
    sizes = module.Sizes()
    tower = module.Network(torch, sizes, "cpu", torch.float32)
    image = torch.rand(1, 3, sizes.image, sizes.image)
    precisions = arguments.precision.split(",")
    names = ["PyTorch", *precisions]
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads; medians of {arguments.frames} frames, ms")
    print("\t".join(names))
    turns = []
    for _ in range(arguments.turns):
        turn = [theirs(torch, tower, image, arguments.frames), *(ours(arguments, p) for p in precisions)]
        turns.append(turn)
        print("\t".join(f"{ms:.0f}" for ms in turn), flush=True)
    medians = [module.median(column) for column in zip(*turns)]
    for name, ms in zip(names[1:], medians[1:]):
        print(f"{name}: {medians[0] / ms:.2f} x PyTorch, {medians[1] / ms:.2f} x {names[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
