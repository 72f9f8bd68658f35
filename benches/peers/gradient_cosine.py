"""How far bf16 turns the gradient of the reference network: PyTorch's autocast and ours, on the same weights and batch.

Usage: cargo run --release -p tallow-models --example gradient_cosine -- FILE [data_batch_1.bin ...]
       python gradient_cosine.py FILE

FILE has the weights at the start and after an epoch, some batches of 128 images and our gradients on them. Printed for
each is the cosine of the bf16 and the f32 gradient, all parameters in one vector; the worst of a single parameter; and,
as a check of the comparison itself, of our f32 gradient and PyTorch's. Biases of convolutions are left out of the
worst: batch norm takes the mean away again, so that their gradient is 0 but for rounding.

At the end: means over the batches, and of the difference between ours and PyTorch's with its standard error.
"""

import statistics
import sys

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

WIDTHS = (32, 32, 64, 64, 128, 128)
FORMATS = {"PyTorch contiguous": torch.contiguous_format, "PyTorch channels_last": torch.channels_last}
LABEL_SMOOTHING = 0.1  # as in assets/recipes/cnn.toml


def network():
    """Without dropout; the numbers of the layers are those of the network with it."""
    layers, c_in = [], 3
    for i, c_out in enumerate(WIDTHS):
        layers += [nn.Conv2d(c_in, c_out, 3, padding=1), nn.BatchNorm2d(c_out), nn.ReLU()]
        if i % 2:
            layers += [nn.MaxPool2d(2), nn.Identity()]
        c_in = c_out
    dense = nn.Sequential(nn.Linear(128 * 4 * 4, 128), nn.ReLU(), nn.Linear(128, 10))
    return nn.ModuleDict({"features": nn.Sequential(*layers), "classifier": dense})


def gradient(weights, images, targets, bf16, memory_format):
    net = network()
    net.load_state_dict(weights, strict=False)  # num_batches_tracked is not in the file
    net = net.to(memory_format=memory_format).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        maps = net["features"](images.to(memory_format=memory_format))
        loss = F.cross_entropy(net["classifier"](maps.flatten(1)), targets, label_smoothing=LABEL_SMOOTHING)
    loss.backward()
    return {name: parameter.grad.double() for name, parameter in net.named_parameters()}


def cosine(a, b):
    return (a @ b / (a.norm() * b.norm())).item()


def whole(a, b):
    """All parameters in one vector."""
    return cosine(*(torch.cat([g[name].reshape(-1) for name in sorted(a)]) for g in (a, b)))


def worst(a, b):
    names = [name for name in a if not (name.startswith("features") and is_conv_bias(name, a))]
    return min((cosine(a[name].reshape(-1), b[name].reshape(-1)), name) for name in names)


def is_conv_bias(name, grads):
    layer, kind = name.rsplit(".", 1)
    return kind == "bias" and grads[f"{layer}.weight"].dim() == 4


def compare(file, state, batch):
    """The whole gradient's cosine, ours and in each of PyTorch's memory formats."""
    images, targets = file[f"images/{batch}"].permute(0, 3, 1, 2).contiguous(), file[f"targets/{batch}"].long()
    weights = below(file, f"{state}/weights/")
    ours = [below(file, f"{state}/{batch}/{kind}/") for kind in ("bf16", "f32")]
    ours = [{name: grad.double() for name, grad in grads.items()} for grads in ours]
    pairs = {"ours": ours}
    for name, memory_format in FORMATS.items():
        pairs[name] = [gradient(weights, images, targets, bf16, memory_format) for bf16 in (True, False)]
    for name, (bf16, f32) in pairs.items():
        least, parameter = worst(bf16, f32)
        print(f"{state} batch {batch:2} {name:21} {whole(bf16, f32):.6f}  worst {least:.6f} {parameter:19} "
              f"f32 against ours {whole(f32, ours[1]):.8f}")
    return {name: whole(*pair) for name, pair in pairs.items()}


def below(tensors, prefix):
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def main(path):
    file = load_file(path)
    n_batches = sum(name.startswith("targets/") for name in file)
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
    for state in ("start", "epoch"):
        rows = [compare(file, state, batch) for batch in range(n_batches)]
        print(f"{state} mean     ours                  {statistics.mean(row['ours'] for row in rows):.6f}")
        for name in FORMATS:
            differences = [row["ours"] - row[name] for row in rows]
            error = statistics.stdev(differences) / n_batches**0.5
            print(f"{state} mean     {name:21} {statistics.mean(row[name] for row in rows):.6f}  "
                  f"ours - PyTorch's {statistics.mean(differences):+.6f} +- {error:.6f}")


main(sys.argv[1])
