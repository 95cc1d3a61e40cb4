"""The wide ResNets of layers/wide_resnet.h as a PyTorch module whose state has the same names and layouts.

    from safetensors.torch import load_file, save_file
    net = WideResNet(depth=16, width=4)
    net.load_state_dict({k: v for k, v in load_file("RUN/checkpoint.safetensors").items()
                         if not k.startswith(("ema.", "optimizer."))})           # ours, in PyTorch
    save_file(net.state_dict(), "from_pytorch.safetensors")                       # PyTorch's, for `evaluate`

Order in a block: ReLU, group norm, weight-standardized convolution (De et al. 2022, appendix C). Group norm
divides by sqrt(variance + 1e-5); standardization by sqrt(max(variance * fan-in, 1e-4)), biased variance.
Images [N, C, H, W], normalised as the config's data.mean and data.std say; logits [N, L].
"""
import torch
import torch.nn.functional as F
from torch import nn


class StandardizedConv(nn.Conv2d):
    def __init__(self, inputs, outputs, kernel, stride=1):
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2)
        self.gain = nn.Parameter(torch.ones(outputs))

    def forward(self, x):
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        scale = torch.rsqrt(torch.clamp(variance * self.weight[0].numel(), min=1e-4)) * self.gain.view(-1, 1, 1, 1)
        return self._conv_forward(x, (self.weight - mean) * scale, self.bias)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride, groups, shortcut):
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs)
        self.conv1 = StandardizedConv(inputs, outputs, 3, stride)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.conv2 = StandardizedConv(outputs, outputs, 3)
        if shortcut:
            self.shortcut_norm = nn.GroupNorm(groups, inputs)
            self.shortcut_conv = StandardizedConv(inputs, outputs, 1, stride)
        self.shortcut = shortcut

    def forward(self, x):
        y = self.conv1(self.norm1(F.relu(x)))
        y = self.conv2(self.norm2(F.relu(y)))
        return y + (self.shortcut_conv(self.shortcut_norm(F.relu(x))) if self.shortcut else x)


class WideResNet(nn.Module):
    def __init__(self, depth=16, width=4, groups=16, channels=3, labels=10):
        super().__init__()
        self.stem = StandardizedConv(channels, 16, 3)
        inputs = 16
        for stage in range(3):
            outputs = (16 << stage) * width
            blocks = nn.Module()
            for block in range((depth - 4) // 6):
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.add_module(f"block{block + 1}", Block(inputs, outputs, stride, groups, block == 0))
                inputs = outputs
            self.add_module(f"stage{stage + 1}", blocks)
        self.norm = nn.GroupNorm(groups, inputs)
        self.classifier = nn.Linear(inputs, labels)

    def forward(self, x):
        x = self.stem(x)
        for stage in (self.stage1, self.stage2, self.stage3):
            for block in stage.children():
                x = block(x)
        return self.classifier(self.norm(F.relu(x)).mean((2, 3)))
