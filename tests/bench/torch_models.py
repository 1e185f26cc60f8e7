"""The networks of the benchmark's jobs in PyTorch: the same layers, loss and optimizer as the job files.

Labels are class numbers, for which PyTorch's cross-entropy is cheapest. A parameter count that differs from
dltrain's ends the comparison (bench.py)."""
import torch
from torch import nn


def mlp():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(inplace=True), nn.Linear(512, 10))


def convnet():
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(576, 64), nn.ReLU(inplace=True), nn.Linear(64, 10))


def cifar():
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(32, 32, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.25),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(64, 64, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(2304, 512), nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Linear(512, 10))


def vgg16():
    layers, channels = [], 3
    for filters, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(times):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU(inplace=True)]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    layers += [nn.Flatten(), nn.Linear(25088, 4096), nn.ReLU(inplace=True),
               nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Linear(4096, 1000)]
    return nn.Sequential(*layers)


class Bottleneck(nn.Module):
    """Keras's block (biases; the stride in the first convolution), or v1.5 (neither)."""

    def __init__(self, channels, filters, stride, v15):
        super().__init__()
        wide = 4 * filters

        def conv(i, o, kernel, s):
            return nn.Sequential(nn.Conv2d(i, o, kernel, s, padding=kernel // 2, bias=not v15),
                                 nn.BatchNorm2d(o, eps=1e-5 if v15 else 1.001e-5, momentum=0.1 if v15 else 0.01))
        self.one = conv(channels, filters, 1, 1 if v15 else stride)
        self.two = conv(filters, filters, 3, stride if v15 else 1)
        self.three = conv(filters, wide, 1, 1)
        self.shortcut = conv(channels, wide, 1, stride) if stride > 1 or channels != wide else None
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.three(self.relu(self.two(self.relu(self.one(x)))))
        y += x if self.shortcut is None else self.shortcut(x)
        return self.relu(y)


def resnet50(v15=False):
    layers = [nn.Conv2d(3, 64, 7, 2, padding=3, bias=not v15), nn.BatchNorm2d(64, eps=1.001e-5),
              nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, padding=1)]
    channels = 64
    for stage, (filters, times) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3))):
        for i in range(times):
            layers.append(Bottleneck(channels, filters, 2 if stage and i == 0 else 1, v15))
            channels = 4 * filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


class Loss(nn.Module):
    """A network and its loss: what torch.compile sees whole. Samples that are bytes are scaled here, as dltrain's
    program does it; scale: [mean, std] of each channel."""

    def __init__(self, model, smoothing, scale=None, half=None):
        super().__init__()
        self.model, self.smoothing = model, smoothing
        if scale:
            mean, std = (torch.tensor(each, dtype=half or torch.float32).view(-1, 1, 1) for each in scale)
            self.register_buffer("mean", mean)
            self.register_buffer("std", std)

    def forward(self, x, y):
        if x.dtype == torch.uint8:
            x = (x.to(self.mean.dtype) - self.mean) / self.std
        return nn.functional.cross_entropy(self.model(x), y, label_smoothing=self.smoothing)


MODELS = {"mlp": mlp, "convnet": convnet, "cifar": cifar, "vgg16": vgg16, "resnet50": resnet50,
          "resnet50v1.5": lambda: resnet50(True)}
# Of one sample, channels first, and the number of classes.
SHAPES = {"mlp": ((784,), 10), "convnet": ((1, 28, 28), 10), "cifar": ((3, 32, 32), 10)}
IMAGENET = ((3, 224, 224), 1000)


def count(model):
    """Weights and moving statistics, as Keras counts them."""
    return (sum(p.numel() for p in model.parameters()) +
            sum(b.numel() for b in model.buffers() if b.is_floating_point()))


def optimizer(spec, parameters, way):
    """spec: {"name": ..., arguments of PyTorch}; way: "foreach", "fused" or "each"."""
    arguments = {k: v for k, v in spec.items() if k != "name"}
    kind = {"rmsprop": torch.optim.RMSprop, "sgd": torch.optim.SGD, "adam": torch.optim.Adam}[spec["name"]]
    ways = {"foreach": {"foreach": True}, "fused": {"fused": True}, "each": {"foreach": False}}
    groups = list(parameters)
    decay = arguments.pop("weight_decay", 0)
    if decay:  # not of biases, nor of what scales a normalisation
        groups = [{"params": [p for p in groups if p.dim() > 1], "weight_decay": decay},
                  {"params": [p for p in groups if p.dim() <= 1], "weight_decay": 0}]
    return kind(groups, **arguments, **ways[way])
