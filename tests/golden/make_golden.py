"""Writes wide_resnet.txt: logits, losses and per-example gradients of small wide ResNets, made with PyTorch.

Made with Python 3.11.7, torch 2.15.0+cu132 (run on the CPU, in float64), numpy 2.4.6:
    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install torch numpy
    /tmp/venv/bin/python tests/golden/make_golden.py > tests/golden/wide_resnet.txt

Everything comes from wave(i, k) = sin((i^2 + 7 i + 31 k) mod 1009), so that no weights are stored: parameter
number k has entries base + amplitude * wave(i, k), i counting in our layout (convolution [K,K,C,O], linear
[C,L]). tests/reference/golden_test.cpp makes the same numbers and compares.
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)


def wave(count, k):
    i = np.arange(count, dtype=np.int64)
    return np.sin(((i * i + 7 * i + 31 * k) % 1009).astype(np.float64))


class Parameters:
    """Leaves in our layout, numbered in the order in which the model first declares them."""

    def __init__(self):
        self.leaves = {}

    def add(self, name, shape, base, amplitude):
        values = base + amplitude * wave(int(np.prod(shape)), len(self.leaves))
        self.leaves[name] = torch.tensor(values.reshape(shape), requires_grad=True)

    def conv(self, name, kernel, inputs, outputs):
        self.add(name + ".weight", (kernel, kernel, inputs, outputs), 0, 0.3)
        self.add(name + ".bias", (outputs,), 0, 0.1)
        self.add(name + ".gain", (outputs,), 1, 0.2)

    def norm(self, name, channels):
        self.add(name + ".weight", (channels,), 1, 0.2)
        self.add(name + ".bias", (channels,), 0, 0.1)


class WideResNet:
    """ReLU -> GroupNorm -> weight-standardized conv; symmetric padding; as layers/wide_resnet.h says."""

    def __init__(self, depth, width, groups, channels, labels):
        self.blocks, self.groups, self.p = (depth - 4) // 6, groups, Parameters()
        self.plan = []
        p, inputs = self.p, 16
        p.conv("stem", 3, channels, 16)
        for stage in range(3):
            outputs = (16 << stage) * width
            for block in range(self.blocks):
                name = f"stage{stage + 1}.block{block + 1}"
                p.norm(name + ".norm1", inputs)
                p.conv(name + ".conv1", 3, inputs, outputs)
                p.norm(name + ".norm2", outputs)
                p.conv(name + ".conv2", 3, outputs, outputs)
                if block == 0:
                    p.norm(name + ".shortcut_norm", inputs)
                    p.conv(name + ".shortcut_conv", 1, inputs, outputs)
                self.plan.append((name, 2 if stage > 0 and block == 0 else 1, block == 0))
                inputs = outputs
        p.norm("norm", inputs)
        p.add("classifier.weight", (inputs, labels), 0, 0.3)
        p.add("classifier.bias", (labels,), 0, 0.1)

    def conv(self, name, x, stride, pad):
        w, gain, bias = (self.p.leaves[f"{name}.{part}"] for part in ("weight", "gain", "bias"))
        w = w.permute(3, 2, 0, 1)  # [K,K,C,O] -> PyTorch's [O,C,K,K]
        variance, mean = torch.var_mean(w, dim=(1, 2, 3), keepdim=True, correction=0)
        fan_in = w[0].numel()
        scale = torch.rsqrt(torch.clamp(variance * fan_in, min=1e-4)) * gain.view(-1, 1, 1, 1)
        return F.conv2d(x, (w - mean) * scale, bias, stride=stride, padding=pad)

    def norm(self, name, x):
        return F.group_norm(F.relu(x), self.groups, self.p.leaves[name + ".weight"],
                            self.p.leaves[name + ".bias"], eps=1e-5)

    def __call__(self, x):
        x = self.conv("stem", x, 1, 1)
        for name, stride, shortcut in self.plan:
            y = self.conv(name + ".conv1", self.norm(name + ".norm1", x), stride, 1)
            y = self.conv(name + ".conv2", self.norm(name + ".norm2", y), 1, 1)
            if shortcut:
                x = self.conv(name + ".shortcut_conv", self.norm(name + ".shortcut_norm", x), stride, 0)
            x = x + y
        x = self.norm("norm", x).mean(dim=(2, 3))
        return x @ self.p.leaves["classifier.weight"] + self.p.leaves["classifier.bias"]


def write_model(depth, width, groups, side, channels, labels, examples, views):
    print("model", depth, width, groups, side, side, channels, labels, examples, views)
    net = WideResNet(depth, width, groups, channels, labels)
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
        gradients = torch.autograd.grad(loss, list(net.p.leaves.values()))
        print("example", n)
        print("loss", repr(loss.item()))
        print("logits", *(repr(z) for z in logits.flatten().tolist()))
        for name, g in zip(net.p.leaves, gradients):
            g = g.flatten()
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
    write_model(16, 1, 16, 10, 1, 4, 2, 3)
