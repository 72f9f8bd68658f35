#!/usr/bin/env python3
"""PyTorch as a contestant of compare.py: one network in one mode, in slices of time; or that network as an ONNX file.

By hand, for three seconds: echo 3 | pytorch_worker.py --model cnn --precision bf16 --channels-last
"""

import torch
from torch import nn
from torch.nn import functional

import timing


def cnn(size_px):
    """The reference network: convolutions in pairs, each pair halved by pooling, dropout after the last two pairs."""
    layers, c_in = [], 3
    for c_out, dropout in ((32, 0.0), (64, 0.1), (128, 0.2)):
        for _ in range(2):
            layers += [nn.Conv2d(c_in, c_out, kernel_size=3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()]
            c_in = c_out
        layers.append(nn.MaxPool2d(2))
        if dropout > 0.0:
            layers.append(nn.Dropout(dropout))
    hidden = nn.Linear(128 * (size_px // 8) ** 2, 128)
    return nn.Sequential(*layers, nn.Flatten(), hidden, nn.ReLU(), nn.Linear(128, timing.N_CLASSES))


def speedrun(_size_px):
    """The shape of the 94 % CIFAR-10 speed run (arXiv 2404.00498): 2x2 whitening, three groups of two convolutions."""
    layers, c_in = [nn.Conv2d(3, 24, kernel_size=2), nn.GELU()], 24
    for c_out in (64, 256, 256):
        layers += [nn.Conv2d(c_in, c_out, kernel_size=3, padding=1, bias=False), nn.MaxPool2d(2)]
        layers += [nn.BatchNorm2d(c_out), nn.GELU()]
        layers += [nn.Conv2d(c_out, c_out, kernel_size=3, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(c_out), nn.GELU()]
        c_in = c_out
    return nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten(), nn.Linear(256, timing.N_CLASSES, bias=False))


def resnet50(_size_px):
    import torchvision  # only this network needs it

    return torchvision.models.resnet50(num_classes=timing.N_CLASSES)


NETWORKS = {"cnn": cnn, "speedrun": speedrun, "resnet50": resnet50}


def main():
    parser = timing.arguments(__doc__)
    parser.add_argument("--channels-last", action="store_true", help="keep maps in (N, H, W, C) order")
    parser.add_argument("--export", metavar="FILE", help="write the network for onnx_worker.py, and measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    network = NETWORKS[options.model](options.size).to(memory_format=layout)
    shape = (options.batch_size, 3, options.size, options.size)
    images = torch.randn(shape).to(memory_format=layout)
    if options.export:
        torch.onnx.export(network.eval(), (images,), options.export, dynamo=True, verbose=False)
        return
    targets = torch.randint(0, timing.N_CLASSES, (options.batch_size,))
    optimizer = torch.optim.SGD(network.parameters(), lr=timing.LR, momentum=0.9, nesterov=True)
    in_precision = torch.autocast("cpu", torch.bfloat16, enabled=options.precision == "bf16")

    def train():
        with in_precision:
            loss = functional.cross_entropy(network(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def infer():
        with torch.inference_mode(), in_precision:
            network(images)

    network.train(options.mode == "train")
    version = ".".join(torch.__version__.split(".")[:2])
    how = f"{options.precision} {'channels_last' if options.channels_last else 'NCHW'}"
    step = train if options.mode == "train" else infer
    timing.serve(step, options.batch_size, f"PyTorch {version}", how)


if __name__ == "__main__":
    main()
