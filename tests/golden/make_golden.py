"""Writes wide_resnet.txt: logits, losses and per-example gradients of small wide ResNets, made with PyTorch in
float64; and wide_resnet.safetensors: the first one's weights as PyTorch saves them, in float32.

Made with Python 3.11.7, torch 2.15.0 (on the CPU), numpy 2.4.6, safetensors 0.8.0:
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy safetensors
    /tmp/venv/bin/python tests/golden/make_golden.py > tests/golden/wide_resnet.txt

All numbers come from wave(i, k) = sin((i^2 + 7 i + 31 k) mod 1009): parameter number k has entries base +
amplitude * wave(i, k), i counting in our layout (convolution [K,K,C,O], linear [C,L]).
tests/reference/golden_test.cpp makes the same numbers and compares; tests/apps/torch_weights_test.cpp reads
the file of weights.
"""
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
from peer_models import WideResNet as PeerShapes  # noqa: E402
from wide_resnet_torch import WideResNet  # noqa: E402

torch.set_default_dtype(torch.float64)


def wave(count, k):
    i = np.arange(count, dtype=np.int64)
    return np.sin(((i * i + 7 * i + 31 * k) % 1009).astype(np.float64))


def to_torch(values):
    """From our layout to PyTorch's: [K,K,C,O] -> [O,C,K,K], [C,L] -> [L,C]."""
    return values.permute(3, 2, 0, 1) if values.ndim == 4 else values.T if values.ndim == 2 else values


def to_ours(values):
    return values.permute(2, 3, 1, 0) if values.ndim == 4 else values.T if values.ndim == 2 else values


def with_waves(net):
    """The module with waves for weights; numbered in the order in which both declare them."""
    with torch.no_grad():
        for k, (name, p) in enumerate(net.named_parameters()):
            around_one = name.endswith(".gain") or (name.endswith(".weight") and p.ndim == 1)
            amplitude = 0.3 if p.ndim > 1 else 0.2 if around_one else 0.1
            values = around_one + amplitude * wave(p.numel(), k)
            p.copy_(to_torch(torch.tensor(values.reshape(to_ours(p).shape))))
    return net


def write_model(depth, width, groups, side, channels, labels, examples, views):
    print("model", depth, width, groups, side, side, channels, labels, examples, views)
    net = with_waves(WideResNet(depth, width, groups, channels, labels))
    shape = (examples, views, side, side, channels)
    images = torch.tensor(wave(int(np.prod(shape)), 1000).reshape(shape))
    for n in range(examples):
        targets = torch.zeros(views, labels)
        for v in range(views):
            targets[v, (n + v) % labels] += 0.75
            targets[v, (2 * n + v + 1) % labels] += 0.25
        weights = torch.tensor([(1 + (n + v) % 2) / sum(1 + (n + u) % 2 for u in range(views))
                                for v in range(views)])
        logits = net(images[n].permute(0, 3, 1, 2))
        loss = (weights * -(targets * F.log_softmax(logits, dim=1)).sum(dim=1)).sum()
        gradients = torch.autograd.grad(loss, list(net.parameters()))
        print("example", n)
        print("loss", repr(loss.item()))
        print("logits", *(repr(z) for z in logits.flatten().tolist()))
        for (name, _), g in zip(net.named_parameters(), gradients):
            g = to_ours(g).flatten()
            at = sorted({0, g.numel() // 3, g.numel() - 1})
            entries = " ".join(f"{i} {g[i].item():.12g}" for i in at)
            along = (g * torch.tensor(wave(g.numel(), 500))).sum()
            print("gradient", name, g.numel(),
                  *(f"{z.item():.14g}" for z in (g.sum(), (g * g).sum(), along)), entries)


if __name__ == "__main__":
    print(f"# tests/golden/make_golden.py, torch {torch.__version__}, numpy {np.__version__},",
          f"Python {sys.version.split()[0]}")
    print("# gradient NAME SIZE SUM SUM_OF_SQUARES SUM_TIMES_WAVE then pairs INDEX VALUE")
    write_model(10, 1, 4, 12, 3, 5, 3, 2)
    shapes = PeerShapes(depth=10, width=1, groups=4, labels=5).parameter_shapes()
    weights = with_waves(WideResNet(10, 1, 4, 3, 5)).float().state_dict()
    assert [(k, tuple(v.shape)) for k, v in weights.items()] == list(shapes.items())
    save_file(weights, Path(__file__).with_name("wide_resnet.safetensors"))
    write_model(16, 1, 16, 10, 1, 4, 2, 3)
