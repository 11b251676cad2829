#!/usr/bin/env python3
"""The same computation in PyTorch, in the order of the released code: what our kernels and TensorRT are held against.

K and V of Post-VCP are formed for all tokens by matrix products (cuBLAS), attention of the towers is fused
(scaled_dot_product_attention), arithmetic is fp16. Weights are seeded random numbers; nothing is downloaded. Where the
released code leaves room, PyTorch gets the faster way: both states of the text tower in one batch, no smoothing (the
released code smooths on the CPU), and every figure also as a captured CUDA graph, without its launch overhead.

Usage: tests/gpu-baseline.py [--json FILE] [--rounds N] [--tiny] [--device cuda|cpu]
Exit code 3 when there is nothing to measure with: no PyTorch, or no card that it can use.
"""

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass

UNAVAILABLE = 3
# Bytes of all sets of inputs and weights together: several times the second-level cache of any card so far.
ROTATED = 256 << 20
SEED = 7


@dataclass(frozen=True)
class Sizes:
    """Sizes of the network; the default is ViT-L/14-336 at 518."""

    image: int = 518
    patch: int = 14
    vision_width: int = 1024
    vision_layers: int = 24
    text_width: int = 768
    text_layers: int = 12
    context: int = 77
    class_vectors: int = 2
    prompt_tokens: int = 1
    taps: tuple = (6, 12, 18, 24)
    post_heads: int = 8
    # Values in each path's image score.
    top_k: int = 2000
    # Where a token row has `<|class|>` and EOT before the class vectors are put in: "a photo of a good <|class|>".
    class_at: int = 6
    eot_at: int = 7

    @property
    def grid(self):
        return self.image // self.patch

    @property
    def patches(self):
        return self.grid**2


TINY = Sizes(image=28, patch=14, vision_width=128, vision_layers=4, text_width=64, text_layers=2, taps=(1, 2, 3, 4), top_k=50)


def frame_flop(sizes):
    """Floating-point operations that one frame must cost: the vision tower and the Pre-VCP projections.

    Two per multiply-add, matrix products only. The text tower (three positions per state), Post-VCP in its cheap form
    and the maps are below a hundredth of it.
    """
    width, tokens = sizes.vision_width, sizes.patches + 1
    block = 2 * tokens * 12 * width**2 + 4 * tokens**2 * width
    patches = 2 * sizes.patches * 3 * sizes.patch**2 * width
    raw = 2 * len(sizes.taps) * sizes.patches * width * sizes.text_width
    return sizes.vision_layers * block + patches + raw


class Network:
    """VCP-CLIP with random weights."""

    def __init__(self, torch, sizes, device, dtype):
        self.torch, self.f, self.s = torch, torch.nn.functional, sizes
        self.device, self.dtype = device, dtype
        self.generator = torch.Generator().manual_seed(SEED)
        s, cv, ct = sizes, sizes.vision_width, sizes.text_width
        self.patch = self.random(cv, 3, s.patch, s.patch)
        self.class_token, self.vision_position = self.random(1, 1, cv), self.random(s.patches + 1, cv)
        self.ln_pre, self.ln_post = self.norm(cv), self.norm(cv)
        self.vision = [self.block(cv) for _ in range(s.vision_layers)]
        self.projection = self.random(cv, ct)
        self.query, self.conv = self.random(1, s.class_vectors, ct), self.random(s.class_vectors, 1, 3)
        self.words, self.text_position = self.random(2, s.context, ct), self.random(s.context, ct)
        self.prompts = self.random(s.text_layers, s.prompt_tokens, ct)
        self.prompt_proj = (self.random(ct, ct), self.random(ct))
        self.prompt_norm, self.ln_final = self.norm(ct), self.norm(ct)
        self.text = [self.block(ct) for _ in range(s.text_layers)]
        self.text_projection = self.random(ct, ct)
        self.linear = [(self.random(ct, cv), self.random(ct)) for _ in s.taps]
        self.post = self.post_weights()

    def random(self, *shape, scale=0.02):
        values = self.torch.randn(*shape, generator=self.generator) * scale
        return values.to(self.device, self.dtype)

    def norm(self, width):
        return self.random(width) + 1, self.random(width)

    def block(self, width):
        return {
            "ln1": self.norm(width),
            "qkv": (self.random(3 * width, width), self.random(3 * width)),
            "out": (self.random(width, width), self.random(width)),
            "ln2": self.norm(width),
            "up": (self.random(4 * width, width), self.random(4 * width)),
            "down": (self.random(width, 4 * width), self.random(width)),
        }

    def post_weights(self):
        """W_q, W_k, W_v, W_o of Post-VCP with their biases; one set for all layers."""
        cv, ct = self.s.vision_width, self.s.text_width
        return [(self.random(cv, columns), self.random(cv)) for columns in (ct, cv, cv, cv)]

    def layer_norm(self, x, norm, eps=1e-5):
        return self.f.layer_norm(x, (x.shape[-1],), norm[0], norm[1], eps)

    def run_block(self, x, block, causal):
        batch, tokens, width = x.shape
        heads = width // 64
        qkv = self.f.linear(self.layer_norm(x, block["ln1"]), *block["qkv"])
        q, k, v = qkv.view(batch, tokens, 3, heads, 64).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = self.f.scaled_dot_product_attention(q, k, v, is_causal=causal)
        x = x + self.f.linear(mixed.transpose(1, 2).reshape(batch, tokens, width), *block["out"])
        wide = self.f.gelu(self.f.linear(self.layer_norm(x, block["ln2"]), *block["up"]))
        return x + self.f.linear(wide, *block["down"])

    def encode_image(self, image):
        """Patch tokens of the tapped layers, B×N×Cv each, and the image embedding, B×Ct."""
        batch = image.shape[0]
        x = self.f.conv2d(image, self.patch, stride=self.s.patch).flatten(2).transpose(1, 2)
        x = self.torch.cat([self.class_token.expand(batch, 1, -1), x], dim=1) + self.vision_position
        x = self.layer_norm(x, self.ln_pre)
        tokens = []
        for number, block in enumerate(self.vision, 1):
            x = self.run_block(x, block, causal=False)
            if number in self.s.taps:
                tokens.append(x[:, 1:])
        return tokens, self.layer_norm(x[:, 0], self.ln_post) @ self.projection

    def encode_text(self, embedding):
        """Both states' text embeddings for each image, B×2×Ct, all positions of the context."""
        s, batch = self.s, embedding.shape[0]
        vectors = self.query + self.f.conv1d(embedding.unsqueeze(1), self.conv, padding=1)
        states = []
        for state in range(2):
            words = self.words[state].expand(batch, -1, -1)
            row = [words[:, : s.class_at], vectors, words[:, s.class_at + 1 : s.context - s.class_vectors + 1]]
            states.append(self.torch.cat(row, dim=1) + self.text_position)
        x = self.torch.cat(states)
        prompts = self.f.linear(self.prompts, *self.prompt_proj)
        n = s.prompt_tokens
        rest = x[:, 1 : s.context - n]
        for number, block in enumerate(self.text):
            prompt = prompts[number].expand(2 * batch, -1, -1)
            x = self.torch.cat([x[:, :1], prompt, rest], dim=1)
            x = self.run_block(x, block, causal=True)
            rest = x[:, 1 + n :]
        x = self.torch.cat([x[:, :1], rest], dim=1)
        x = self.layer_norm(self.layer_norm(x, self.prompt_norm, 1e-6), self.ln_final)
        x = self.f.normalize(x[:, s.eot_at + s.class_vectors - 1] @ self.text_projection, dim=-1)
        return x.view(2, batch, -1).transpose(0, 1)

    def post_vcp(self, tokens, text, weights):
        """Per layer the logits B×N×2, with K and V formed for every token."""
        query, key, value, out = weights
        batch, heads = text.shape[0], self.s.post_heads
        width = self.s.vision_width // heads

        def split(x):
            return x.reshape(batch, -1, heads, width).transpose(1, 2)

        q = split(self.f.linear(text, *query))
        logits = []
        for layer in tokens:
            unit = self.f.normalize(layer, dim=-1)
            k, v = split(self.f.linear(unit, *key)), split(self.f.linear(unit, *value))
            weight = self.f.softmax(q @ k.transpose(-2, -1), dim=-1)
            context = (weight @ v).transpose(1, 2).reshape(batch, 2, -1)
            adjusted = self.f.normalize(self.f.linear(context, *out), dim=-1)
            logits.append(14.0 * (unit @ adjusted.transpose(-2, -1)))
        return logits

    def mean_map(self, logits):
        """Abnormal plane of the upsampled layers' softmax, averaged: B×S×S."""
        s, maps = self.s, []
        for layer in logits:
            planes = layer.float().transpose(1, 2).reshape(-1, 2, s.grid, s.grid)
            planes = self.f.interpolate(planes, size=(s.image, s.image), mode="bilinear", align_corners=True)
            maps.append(self.f.softmax(planes, dim=1)[:, 1])
        return sum(maps) / len(maps)

    def frame(self, image):
        """Blended map B×S×S and image score B, from the normalised image B×3×S×S."""
        tokens, embedding = self.encode_image(image)
        text = self.encode_text(embedding)
        raw = []
        for layer, linear in zip(tokens, self.linear):
            raw.append(14.0 * (self.f.normalize(self.f.linear(layer, *linear), dim=-1) @ text.transpose(-2, -1)))
        raw, new = self.mean_map(raw), self.mean_map(self.post_vcp(tokens, text, self.post))
        score = sum(path.flatten(1).topk(self.s.top_k, dim=1, sorted=False).values.mean(1) for path in (raw, new))
        return 0.2 * raw + 0.8 * new, score


def median(values):
    ordered = sorted(values)
    return ordered[len(ordered) // 2]


class Clock:
    """Milliseconds of one run of some work that is repeated `runs` times in a call."""

    def __init__(self, torch, device, rounds):
        self.torch, self.cuda, self.rounds = torch, device == "cuda", rounds

    def eager(self, work, runs=1):
        for _ in range(3):
            work()
        if not self.cuda:
            times = []
            for _ in range(self.rounds):
                start = time.perf_counter()
                work()
                times.append((time.perf_counter() - start) * 1e3 / runs)
            return median(times)
        pairs = []
        for _ in range(self.rounds):
            begun, done = (self.torch.cuda.Event(enable_timing=True) for _ in range(2))
            begun.record()
            work()
            done.record()
            pairs.append((begun, done))
        self.torch.cuda.synchronize()
        return median([begun.elapsed_time(done) / runs for begun, done in pairs])

    def captured(self, work, runs=1):
        """The same as a CUDA graph; None where there are none."""
        if not self.cuda:
            return None
        side = self.torch.cuda.Stream()
        side.wait_stream(self.torch.cuda.current_stream())
        with self.torch.cuda.stream(side):
            for _ in range(3):
                work()
        self.torch.cuda.current_stream().wait_stream(side)
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            work()
        milliseconds = self.eager(graph.replay, runs)
        del graph
        return milliseconds

    def both(self, work, runs=1):
        figures = {"eager_ms": self.eager(work, runs)}
        # A graph that cannot be captured is no reason to lose the other figures.
        try:
            figures["graph_ms"] = self.captured(work, runs)
        except RuntimeError as error:
            figures["graph_ms"], figures["graph_error"] = None, str(error).splitlines()[0]
        figures["best_ms"] = min(ms for ms in (figures["eager_ms"], figures["graph_ms"]) if ms is not None)
        return figures


def measure_post_vcp(torch, network, clock, batch):
    """Sets of tokens and weights in turn, so that nothing of a set is in the cache when its turn comes."""
    s = network.s
    size = torch.finfo(network.dtype).bits // 8
    tokens = len(s.taps) * batch * s.patches * s.vision_width
    weights = s.vision_width * (s.text_width + 3 * s.vision_width)
    count = max(2, -(-ROTATED // (size * (tokens + weights)))) if clock.cuda else 2
    text = network.random(batch, 2, s.text_width, scale=0.04)
    first, post = [network.random(batch, s.patches, s.vision_width, scale=1.0) for _ in s.taps], network.post_weights()
    sets = [
        ([layer.clone() for layer in first], [(matrix.clone(), bias.clone()) for matrix, bias in post])
        for _ in range(count)
    ]

    def work():
        for layers, matrices in sets:
            network.post_vcp(layers, text, matrices)

    return clock.both(work, count)


# Pictures whose tokens a memory holds.
REMEMBERED = 4


def measure_memory(torch, network, clock):
    """Cosine distance of one picture's tokens to the nearest of a memory: a product, of which the largest are kept.

    Only the look-up: the joining of both maps is left out, in PyTorch's favour. Sets in turn, as for Post-VCP.
    """
    s = network.s
    shape = (len(s.taps), REMEMBERED * s.patches, s.vision_width)
    size = torch.finfo(network.dtype).bits // 8
    count = max(2, -(-ROTATED // (size * shape[0] * (shape[1] + s.patches) * shape[2]))) if clock.cuda else 2
    unit = torch.nn.functional.normalize
    first, rows = network.random(shape[0], s.patches, s.vision_width, scale=1.0), unit(network.random(*shape), dim=-1)
    sets = [(first.clone(), rows.clone()) for _ in range(count)]

    def work():
        for tokens, memory in sets:
            1 - (unit(tokens, dim=-1) @ memory.transpose(-2, -1)).amax(-1)

    return clock.both(work, count)


def measure_matrix(torch, network, clock, side):
    a, b = network.random(side, side, scale=1.0), network.random(side, side, scale=1.0)
    # TFLOP/s: operations per millisecond, over 10⁹.
    return 2 * side**3 / clock.eager(lambda: a @ b) / 1e9


def measure_copy(torch, network, clock, count):
    a, b = network.random(count), network.random(count)
    moved = 2 * a.numel() * a.element_size()
    # GB/s: bytes per millisecond, over 10⁶; read and written both counted.
    return moved / clock.eager(lambda: b.copy_(a)) / 1e6


def measure(torch, sizes, device, rounds):
    dtype = torch.float16 if device == "cuda" else torch.float32
    network, clock = Network(torch, sizes, device, dtype), Clock(torch, device, rounds)
    cuda = device == "cuda"
    report = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "card": torch.cuda.get_device_name(0) if cuda else "CPU",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "dtype": str(dtype),
        "sizes": asdict(sizes),
        "rounds": rounds,
        "frame_gflop": frame_flop(sizes) / 1e9,
        "matrix_tflop_per_s": measure_matrix(torch, network, clock, 8192 if cuda else 64),
        "copy_gb_per_s": measure_copy(torch, network, clock, (128 << 20) if cuda else 1024),
        "post_vcp": {},
        "frame": {},
        "memory": {"1": measure_memory(torch, network, clock)},
    }
    for batch in (1, 8):
        report["post_vcp"][str(batch)] = measure_post_vcp(torch, network, clock, batch)
        image = network.random(batch, 3, sizes.image, sizes.image, scale=1.0)
        found, score = network.frame(image)
        if not (torch.isfinite(found).all() and torch.isfinite(score).all()):
            raise SystemExit("gpu-baseline: the network's answer is not finite; its figures would mean nothing")
        report["frame"][str(batch)] = clock.both(lambda: network.frame(image))
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="also write the figures there")
    parser.add_argument("--rounds", type=int, default=50, help="medians are over so many [50]")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the script")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    arguments = parser.parse_args()
    try:
        import torch
    except ImportError as error:
        print(f"gpu-baseline: no PyTorch ({error}): install torch to compare with it", file=sys.stderr)
        return UNAVAILABLE
    if arguments.device == "cuda" and not torch.cuda.is_available():
        print("gpu-baseline: PyTorch finds no NVIDIA GPU that it can use", file=sys.stderr)
        return UNAVAILABLE
    sizes = TINY if arguments.tiny else Sizes()
    with torch.inference_mode():
        report = measure(torch, sizes, arguments.device, max(1, arguments.rounds))
    text = json.dumps(report, indent=2) + "\n"
    if arguments.json:
        with open(arguments.json, "w", encoding="utf-8") as file:
            file.write(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
