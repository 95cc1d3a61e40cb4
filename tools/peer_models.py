"""What the comparisons with other frameworks share: pergrad's models written for PyTorch, per-example
gradients of their layers, the same as Opacus takes them, and the float64 loop that all sums are held against.

Packages are imported where they are used: shapes and counts need none. Layouts are PyTorch's: images
[N,K,C,H,W], convolutions [O,C,K,K], linear [L,C].
"""
import dataclasses
import json
import math
import subprocess
import sys

NORM_EPS = 1e-5  # inside the root of group norm
FLOOR = 1e-4     # of the sum of squares in weight standardization


# --- The models -----------------------------------------------------------------------------------

class Model:
    """What the models have in common. A model has the fields standardize, groups, side, channels, labels;
    convolutions(): name -> (kernel, inputs, outputs, stride), padding is kernel // 2; norms(): name ->
    channels; order: all layers in pergrad's order; classifier: the name of the last one; features: its
    inputs."""

    def parameter_shapes(self):
        """name -> shape, in pergrad's order."""
        shapes, convolutions, norms = {}, self.convolutions(), self.norms()
        for name in self.order():
            if name in convolutions:
                kernel, inputs, outputs, _ = convolutions[name]
                shapes[name + ".weight"] = (outputs, inputs, kernel, kernel)
                shapes[name + ".bias"] = (outputs,)
                if self.standardize:
                    shapes[name + ".gain"] = (outputs,)
            else:
                shapes[name + ".weight"] = shapes[name + ".bias"] = (norms[name],)
        shapes[self.classifier + ".weight"] = (self.labels, self.features)
        shapes[self.classifier + ".bias"] = (self.labels,)
        return shapes

    def parameter_count(self):
        return sum(math.prod(shape) for shape in self.parameter_shapes().values())

    def multiply_adds(self):
        """Of one view's forward pass, and those of them in the first convolution."""
        each = [self.output_side(name) ** 2 * kernel ** 2 * inputs * outputs
                for name, (kernel, inputs, outputs, _) in self.convolutions().items()]
        return sum(each) + self.features * self.labels, each[0]

    def step_flops(self):
        """Of one view: forward, input gradient (the images need none), weight gradient."""
        forward, first = self.multiply_adds()
        return 2 * (3 * forward - first)


@dataclasses.dataclass(frozen=True)
class WideResNet(Model):
    """layers/wide_resnet.h: blocks of ReLU, group norm, standardized convolution; padding 1 at stride 2."""
    depth: int = 16
    width: int = 4
    standardize: bool = True
    groups: int = 16
    side: int = 32
    channels: int = 3
    labels: int = 10
    classifier = "classifier"

    @property
    def features(self):
        return 64 * self.width

    def blocks(self):
        """(name, inputs, outputs, stride, has a shortcut) of each block, in order."""
        inputs = 16
        for stage in range(3):
            outputs = (16 << stage) * self.width
            for block in range((self.depth - 4) // 6):
                first = block == 0
                stride = 2 if stage and first else 1
                yield f"stage{stage + 1}.block{block + 1}", inputs, outputs, stride, first
                inputs = outputs

    def convolutions(self):
        layers = {"stem": (3, self.channels, 16, 1)}
        for name, inputs, outputs, stride, shortcut in self.blocks():
            layers[name + ".conv1"] = (3, inputs, outputs, stride)
            layers[name + ".conv2"] = (3, outputs, outputs, 1)
            if shortcut:
                layers[name + ".shortcut_conv"] = (1, inputs, outputs, stride)
        return layers

    def norms(self):
        layers = {"norm": self.features}
        for name, inputs, outputs, _, shortcut in self.blocks():
            layers[name + ".norm1"], layers[name + ".norm2"] = inputs, outputs
            if shortcut:
                layers[name + ".shortcut_norm"] = inputs
        return layers

    def order(self):
        units = [["stem"]]
        for name, _, _, _, shortcut in self.blocks():
            units += [[f"{name}.norm{i}", f"{name}.conv{i}"] for i in (1, 2)]
            units += [[name + ".shortcut_norm", name + ".shortcut_conv"]] * shortcut
        return sum(units, []) + ["norm"]

    def output_side(self, name):
        return self.side // {"m": 1, "1": 1, "2": 2, "3": 4}[name.split(".")[0][-1]]  # stem, stage1, ...

    def pool(self, x):
        return x.mean((2, 3))

    def forward(self, layer, x):
        """`layer` has relu(x), norm(name, x), conv(name, x) and head(x): pool, linear."""
        def unit(norm, conv, x):
            return layer.conv(conv, layer.norm(norm, layer.relu(x)))

        x = layer.conv("stem", x)
        for name, _, _, _, shortcut in self.blocks():
            y = unit(name + ".norm2", name + ".conv2", unit(name + ".norm1", name + ".conv1", x))
            x = y + (unit(name + ".shortcut_norm", name + ".shortcut_conv", x) if shortcut else x)
        return layer.head(layer.norm("norm", layer.relu(x)))


@dataclasses.dataclass(frozen=True)
class SmallCnn(Model):
    """small_cnn_layers of layers/sequential_net.h: convolution, group norm, ReLU, twice, and a classifier."""
    standardize: bool = True
    groups: int = 4
    side: int = 28
    channels: int = 1
    labels: int = 10
    classifier = "layers.6.classifier"

    @property
    def features(self):
        return 32 * self.output_side("layers.3.conv") ** 2

    def convolutions(self):
        return {"layers.0.conv": (5, self.channels, 16, 2), "layers.3.conv": (3, 16, 32, 2)}

    def norms(self):
        return {"layers.1.group_norm": 16, "layers.4.group_norm": 32}

    def order(self):
        return ["layers.0.conv", "layers.1.group_norm", "layers.3.conv", "layers.4.group_norm"]

    def output_side(self, name):
        return -(-self.side // (2 if name == "layers.0.conv" else 4))

    def pool(self, x):
        return x.permute(0, 2, 3, 1).flatten(1)  # pergrad's order: (H, W, C)

    def forward(self, layer, x):
        x = layer.relu(layer.norm("layers.1.group_norm", layer.conv("layers.0.conv", x)))
        return layer.head(layer.relu(layer.norm("layers.4.group_norm", layer.conv("layers.3.conv", x))))


# --- PyTorch --------------------------------------------------------------------------------------

def standardized(weight, gain):
    """w' = gain * (w - mean) / sqrt(max(sum of squares, FLOOR)), per output channel."""
    import torch
    centred = weight - weight.mean((1, 2, 3), keepdim=True)
    squares = centred.square().sum((1, 2, 3), keepdim=True)
    return centred * torch.clamp(squares, min=FLOOR).rsqrt() * gain.view(-1, 1, 1, 1)


def standardize_pullback(weight, gain, gradients):
    """Per-example gradients [N,O,C,K,K] of the standardized weight -> those of weight and gain."""
    import torch
    centred = weight - weight.mean((1, 2, 3), keepdim=True)
    squares = centred.square().sum((1, 2, 3), keepdim=True)
    scale = torch.clamp(squares, min=FLOOR).rsqrt()
    unit = centred * scale
    along = (gradients * unit).sum((2, 3, 4), keepdim=True)
    inside = gradients - gradients.mean((2, 3, 4), keepdim=True) - unit * (along * (squares > FLOOR))
    return scale * gain.view(-1, 1, 1, 1) * inside, along.flatten(1)


def conv_weight_gradients(x, dy, examples, kernel, stride, how):
    """Per-example gradients [N,O,C,K,K] of a convolution's weight, summed over views: by unfolding and
    batched matrix products, or by one grouped convolution with the examples as groups."""
    import torch
    import torch.nn.functional as F
    inputs, outputs, views, pad = x.shape[1], dy.shape[1], x.shape[0] // examples, kernel // 2
    if how == "grouped":
        def examples_as_channels(t):
            t = t.reshape(examples, views, *t.shape[1:]).transpose(0, 1)
            return t.reshape(views, examples * t.shape[2], *t.shape[3:])
        shape_only = x.new_zeros(1).expand(examples * outputs, inputs, kernel, kernel)
        gradient = torch.ops.aten.convolution_backward(
            examples_as_channels(dy), examples_as_channels(x), shape_only, None, [stride] * 2, [pad] * 2,
            [1, 1], False, [0, 0], examples, [False, True, False])[1]
    else:
        columns = (F.unfold(x, kernel, padding=pad, stride=stride) if kernel > 1
                   else x[:, :, ::stride, ::stride].flatten(2))

        def positions_inside(t):  # [N*V, rows, L] -> [N, rows, V*L]
            t = t.reshape(examples, views, *t.shape[1:]).transpose(1, 2)
            return t.reshape(examples, t.shape[1], -1)
        gradient = torch.bmm(positions_inside(dy.flatten(2)), positions_inside(columns).transpose(1, 2))
    return gradient.float().reshape(examples, outputs, inputs, kernel, kernel)


def add_clipped(sums, gradients, clip_norm):
    """sums += sum over examples of min(1, clip_norm / norm) * gradient."""
    import torch
    squares = sum(g.flatten(1).float().square().sum(1) for g in gradients.values())
    factor = (clip_norm / squares.sqrt()).clamp(max=1.0)
    for name, g in gradients.items():
        sums[name] += torch.tensordot(factor, g.float(), 1)


class TorchLayers:
    """The model's layers by plain calls: autograd and torch.func see through them."""

    def __init__(self, model, parameters, dtype):
        import torch.nn.functional as F
        self.F, self.model, self.p, self.dtype = F, model, parameters, dtype
        self.relu, self.layers = F.relu, model.convolutions()

    def weight(self, name):
        w = self.p[name + ".weight"]
        return (standardized(w, self.p[name + ".gain"]) if self.model.standardize else w).to(self.dtype)

    def conv(self, name, x):
        kernel, _, _, stride = self.layers[name]
        return self.F.conv2d(x, self.weight(name), self.p[name + ".bias"].to(self.dtype), stride, kernel // 2)

    def norm(self, name, x):
        wide = x.float() if x.dtype.itemsize < 4 else x
        return self.F.group_norm(wide, self.model.groups, self.p[name + ".weight"], self.p[name + ".bias"],
                                 NORM_EPS).to(x.dtype)

    def head(self, x):
        wide, name = x.float() if x.dtype.itemsize < 4 else x, self.model.classifier
        return self.F.linear(self.model.pool(wide), self.p[name + ".weight"], self.p[name + ".bias"])


def reference_sums(model, values, rows, counts, clip_norm, kink=0.0):
    """The clipped sum and the plain one by a loop over examples, float64, on the CPU: name -> array each.
    `values`: name -> array; rows: images [N,K,C,H,W] and labels [N]; counts [N]: how often each row counts;
    kink: where the ReLU begins to pass what it is given."""
    import torch
    import torch.nn.functional as F
    x, y = torch.tensor(rows[0], dtype=torch.float64), torch.tensor(rows[1])
    p = {name: torch.tensor(value, dtype=torch.float64, requires_grad=True) for name, value in values.items()}
    clipped, plain = ({name: torch.zeros_like(value) for name, value in p.items()} for _ in range(2))
    for image, label, count in zip(x, y, counts):
        layers = TorchLayers(model, p, torch.float64)
        layers.relu = lambda t: torch.where(t > kink, t, 0.0)
        loss = F.cross_entropy(model.forward(layers, image), label.expand(len(image)))
        gradient = dict(zip(p, torch.autograd.grad(loss, list(p.values()))))
        norm = torch.sqrt(sum(g.square().sum() for g in gradient.values()))
        for name, g in gradient.items():
            plain[name] += int(count) * g
            clipped[name] += int(count) * min(1.0, clip_norm / float(norm)) * g
    return tuple({name: value.detach().numpy() for name, value in total.items()}
                 for total in (clipped, plain))


def normalized_error(got, wanted):
    """||got - wanted|| / ||wanted|| over all parameters: name -> array each."""
    import numpy as np
    difference = sum(np.square(got[name] - wanted[name]).sum() for name in wanted)
    return float(np.sqrt(difference / sum(np.square(value).sum() for value in wanted.values())))


# --- Opacus ---------------------------------------------------------------------------------------

class OpacusNet:
    """The model with Opacus' hooks. Fields: module (call it), own (our name -> parameter).

    views_inside: samplers that sum over an example's K views, as published code for self-augmentation has
    them; set `examples` to N before each call. Otherwise Opacus' own samplers: N*K rows of one view each. It
    has none for weight standardization: ours takes the gradient of the standardized weight through it.
    ghost: Opacus' ghost clipping, which knows neither views nor standardized weights.   mixed: bf16 inside.
    """

    def __init__(self, model, values, device="cpu", views_inside=True, ghost=False, mixed=False,
                 clip_norm=1.0):
        import opacus.grad_sample as grad_sample
        import torch
        from torch import nn
        from opacus.grad_sample.conv import compute_conv_grad_sample

        class StandardizedConv(nn.Conv2d):
            def __init__(self, *shape, **options):
                super().__init__(*shape, **options)
                self.gain = nn.Parameter(torch.ones(self.out_channels))
                # Not a module of this one: what Opacus' own sampler asks for shapes.
                self.plain = [nn.Conv2d(*shape, **options, device="meta")]

            def forward(self, x):
                return self._conv_forward(x, standardized(self.weight, self.gain).to(x.dtype),
                                          self.bias.to(x.dtype))

        class MixedConv(nn.Conv2d):
            def forward(self, x):
                return self._conv_forward(x, self.weight.to(x.dtype), self.bias.to(x.dtype))

        class MixedNorm(nn.GroupNorm):
            def forward(self, x):
                return super().forward(x.float()).to(x.dtype)

        conv_type = StandardizedConv if model.standardize else MixedConv if mixed else nn.Conv2d
        norm_type = MixedNorm if mixed else nn.GroupNorm

        class Net(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = nn.ModuleDict()
                for name, (kernel, inputs, outputs, stride) in model.convolutions().items():
                    self.layers[name.replace(".", "_")] = conv_type(inputs, outputs, kernel, stride=stride,
                                                                    padding=kernel // 2)
                for name, channels in model.norms().items():
                    self.layers[name.replace(".", "_")] = norm_type(model.groups, channels, eps=NORM_EPS)
                self.layers[model.classifier.replace(".", "_")] = nn.Linear(model.features, model.labels)

            relu = staticmethod(nn.functional.relu)

            def conv(self, name, x):
                return self.layers[name.replace(".", "_")](x)

            norm = conv

            def head(self, x):
                return self.conv(model.classifier, model.pool(x.float()))

            def forward(self, x):
                return model.forward(self, x)

        net = Net().to(device)
        own = dict(net.named_parameters())

        def module_name(name):  # stage1.block1.conv1.weight -> layers.stage1_block1_conv1.weight
            layer, part = name.rsplit(".", 1)
            return f"layers.{layer.replace('.', '_')}.{part}"

        with torch.no_grad():
            for name, value in values.items():
                own[module_name(name)].copy_(torch.as_tensor(value))

        def per_example(t):
            return t.reshape(self.examples, -1, *t.shape[1:]).sum(1)

        def rows(layer):  # makes Opacus store N rows, not N*K
            layer.max_batch_len = self.examples

        def through_standardization(layer, dw):
            weight, gain = standardize_pullback(layer.weight, layer.gain, dw)
            return {layer.weight: weight, layer.gain: gain}

        def sample_standardized_row(layer, activations, dy):
            plain = layer.plain[0]
            # Contiguous: Opacus 1.6 unfolds by strides of NCHW, whatever the memory format is.
            gradients = compute_conv_grad_sample(plain, [activations[0].contiguous()], dy)
            return {layer.bias: gradients[plain.bias],
                    **through_standardization(layer, gradients[plain.weight])}

        def sample_conv(layer, activations, dy):
            rows(layer)
            dw = conv_weight_gradients(activations[0], dy, self.examples, layer.kernel_size[0],
                                       layer.stride[0], "unfold")
            return {layer.bias: per_example(dy.float().sum((2, 3))),
                    **(through_standardization(layer, dw) if model.standardize else {layer.weight: dw})}

        def sample_norm(layer, activations, dy):
            rows(layer)
            unit = nn.functional.group_norm(activations[0].float(), layer.num_groups, eps=layer.eps)
            return {layer.weight: per_example((unit * dy.float()).sum((2, 3))),
                    layer.bias: per_example(dy.float().sum((2, 3)))}

        def sample_linear(layer, activations, dy):
            rows(layer)
            split = [t.reshape(self.examples, -1, t.shape[-1]) for t in (dy, activations[0])]
            return {layer.weight: torch.bmm(split[0].transpose(1, 2), split[1]), layer.bias: split[0].sum(1)}

        self.examples = None
        if ghost:
            self.module = grad_sample.GradSampleModuleFastGradientClipping(net, loss_reduction="sum",
                                                                           max_grad_norm=clip_norm)
        else:
            self.module = grad_sample.GradSampleModule(net, loss_reduction="sum", strict=False)
            samplers = {conv_type: sample_conv, norm_type: sample_norm, nn.Linear: sample_linear}
            if not views_inside:
                samplers = {StandardizedConv: sample_standardized_row}
            self.module.GRAD_SAMPLERS = {**self.module.GRAD_SAMPLERS, **samplers}
        own = {name.removeprefix("_module."): p for name, p in self.module.named_parameters()}
        self.own = {name: own[module_name(name)] for name in values}

    def take_gradients(self):
        """name -> per-example gradients of the last backward pass, which are gone afterwards."""
        gradients = {name: p.grad_sample for name, p in self.own.items()}
        for p in self.own.values():
            p.grad = p.grad_sample = None
        return gradients


# --- pergrad --------------------------------------------------------------------------------------

def bench_step(program, *arguments, **settings):
    """`PROGRAM bench step ARGUMENTS --set section.key=value --json`, where section__key=value is given."""
    command = [program, "bench", "step", *map(str, arguments), "--json"]
    for key, value in settings.items():
        command += ["--set", f"{key.replace('__', '.')}={str(value).lower()}"]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"{program}: {error.strerror}")
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)
