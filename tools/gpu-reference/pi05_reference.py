"""Pi0.5 in PyTorch with random weights: what our kernels are measured against.

The same work in the same precision: bf16 products, packed q|k|v and gate|up, scaled dot-product attention, the adaptive
norms' constants made beforehand, one CUDA graph a stage, every layer through torch.compile. Usage:
python3 pi05_reference.py CAMERAS TOKENS HORIZON STEPS
"""
import sys
import time

import torch
import torch.nn.functional as F

CAMERAS, TOKENS, HORIZON, STEPS = (int(a) for a in sys.argv[1:5])
VISION = dict(width=1152, depth=27, mlp=4304, heads=16)
PREFIX = dict(width=2048, mlp=16384)
EXPERT = dict(width=1024, mlp=4096)
DEPTH, HEADS, HEAD = 18, 8, 256
torch.manual_seed(0)


def weight(*shape):
    return (torch.randn(*shape, device="cuda") / shape[-1] ** 0.5).bfloat16()


def ones(n):
    return torch.ones(n, device="cuda", dtype=torch.bfloat16)


def vision_layer(x, n1, qkv, qkv_b, o, o_b, n2, fc1, fc1_b, fc2, fc2_b):
    b, s, w = x.shape
    h = F.layer_norm(x, (w,), n1, n1, 1e-6)
    q, k, v = F.linear(h, qkv, qkv_b).view(b, s, 3, VISION["heads"], -1).permute(2, 0, 3, 1, 4)
    x = x + F.linear(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, s, w), o, o_b)
    h = F.layer_norm(x, (w,), n2, n2, 1e-6)
    return x + F.linear(F.gelu(F.linear(h, fc1, fc1_b), approximate="tanh"), fc2, fc2_b)


def rms(x, scale):
    f = x.float()
    return (f * torch.rsqrt(f.square().mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * scale


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def heads_of(h, qkv, cos, sin):
    b, s, _ = h.shape
    q, k, v = F.linear(h, qkv).split([HEADS * HEAD, HEAD, HEAD], -1)
    return rotate(q.view(b, s, HEADS, HEAD), cos, sin), rotate(k.view(b, s, 1, HEAD), cos, sin), v.view(b, s, 1, HEAD)


def gated(h, gate_up, down):
    g, u = F.linear(h, gate_up).chunk(2, -1)
    return F.linear(F.gelu(g, approximate="tanh") * u, down)


def prefix_layer(x, cos, sin, n1, qkv, o, n2, gate_up, down):
    b, s, _ = x.shape
    q, k, v = heads_of(rms(x, n1), qkv, cos, sin)
    shared = (b, HEADS, s, HEAD)
    a = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2).expand(shared), v.transpose(1, 2).expand(shared))
    x = x + F.linear(a.transpose(1, 2).reshape(b, s, -1), o)
    return x + gated(rms(x, n2), gate_up, down), k, v


def expert_layer(x, cos, sin, keys, values, constants, qkv, o, gate_up, down):
    b, s, _ = x.shape
    s1, b1, g1, s2, b2, g2 = constants.chunk(6, -1)
    q, k, v = heads_of(rms(x, 1 + s1) + b1, qkv, cos, sin)
    keys, values = torch.cat([keys, k], 1).transpose(1, 2), torch.cat([values, v], 1).transpose(1, 2)
    folded = q.transpose(1, 2).reshape(b, 1, HEADS * s, HEAD)
    a = F.scaled_dot_product_attention(folded, keys, values).view(b, HEADS, s, HEAD)
    x = x + g1 * F.linear(a.transpose(1, 2).reshape(b, s, -1), o)
    return x + g2 * gated(rms(x, 1 + s2) + b2, gate_up, down)


def gemma(width, mlp):
    return dict(qkv=weight((HEADS + 2) * HEAD, width), o=weight(width, HEADS * HEAD), gate_up=weight(2 * mlp, width), down=weight(width, mlp))


W, M = VISION["width"], VISION["mlp"]
vision = [(ones(W), weight(3 * W, W), ones(3 * W), weight(W, W), ones(W), ones(W), weight(M, W), ones(M), weight(W, M), ones(W)) for _ in range(VISION["depth"])]
prefix = [gemma(**PREFIX) for _ in range(DEPTH)]
expert = [gemma(**EXPERT) for _ in range(DEPTH)]
norm = ones(PREFIX["width"])
patch, positions, projector = weight(W, 588), weight(256, W), weight(PREFIX["width"], W)
enter, leave = weight(EXPERT["width"], 32), weight(32, EXPERT["width"])
constants = [[weight(1, 1, 6 * EXPERT["width"]) for _ in range(DEPTH)] for _ in range(STEPS)]
images = torch.rand(CAMERAS, 256, 588, device="cuda").bfloat16()
words = weight(1, TOKENS, PREFIX["width"])
noise = torch.randn(1, HORIZON, 32, device="cuda")
vision_layer, prefix_layer, expert_layer = (torch.compile(f, dynamic=False) for f in (vision_layer, prefix_layer, expert_layer))


def rope(first, count):
    frequency = 10000.0 ** (-torch.arange(0, HEAD, 2, device="cuda").float() / HEAD)
    angle = (first + torch.arange(count, device="cuda")).float()[:, None] * frequency
    return angle.cos().bfloat16()[None, :, None], angle.sin().bfloat16()[None, :, None]


LENGTH = CAMERAS * 256 + TOKENS
here, after = rope(0, LENGTH), rope(LENGTH, HORIZON)


def see():
    x = F.linear(images, patch) + positions
    for layer in vision:
        x = vision_layer(x, *layer)
    return F.linear(F.layer_norm(x, (W,)), projector).reshape(1, CAMERAS * 256, -1)


def read(embeddings):
    x, cache = torch.cat([embeddings, words], 1), []
    for p in prefix:
        x, k, v = prefix_layer(x, *here, norm, p["qkv"], p["o"], norm, p["gate_up"], p["down"])
        cache.append((k, v))
    return cache


def act(cache):
    x = noise
    for step in range(STEPS):
        h = F.linear(x.bfloat16(), enter)
        for e, kv, c in zip(expert, cache, constants[step]):
            h = expert_layer(h, *after, *kv, c, e["qkv"], e["o"], e["gate_up"], e["down"])
        x = x - F.linear(rms(h, 1), leave).float() / STEPS
    return x


def captured(run):
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = run()
    return graph, out


def milliseconds(graph, rounds=200):
    marks = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(rounds)]
    for start, end in marks:
        start.record()
        graph.replay()
        end.record()
    torch.cuda.synchronize()
    times = sorted(start.elapsed_time(end) for start, end in marks)
    return times[rounds // 2], times[int(rounds * 0.99)]


with torch.no_grad():
    began = time.time()
    seeing, embeddings = captured(see)
    reading, cache = captured(lambda: read(embeddings))
    acting, _ = captured(lambda: act(cache))
    whole, _ = captured(lambda: act(read(see())))
    parts = [milliseconds(graph)[0] for graph in (seeing, reading, acting)]
    median, p99 = milliseconds(whole)
    print(
        f"PyTorch {torch.__version__}, {torch.cuda.get_device_name()}: {CAMERAS} cameras, {TOKENS} tokens, horizon {HORIZON}, "
        f"{STEPS} steps: vision {parts[0]:.3f} prefix {parts[1]:.3f} denoise {parts[2]:.3f} | all median {median:.3f} "
        f"p99 {p99:.3f} (compiled in {time.time() - began:.0f} s)"
    )
