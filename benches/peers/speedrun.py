#!/usr/bin/env python3
"""The CIFAR-10 speed run to 94 % in PyTorch, on the processor, everything counted: what the recipe `speedrun` is measured against.

    speedrun.py data/cifar-10-batches-bin                  # 8 epochs, some 20 minutes on two cores
    speedrun.py cifar-10-binary.tar.gz --epochs 1 --train-subset 4000 --test-subset 1000

Written from the description of the method (Keller Jordan 2024, https://arxiv.org/abs/2404.00498) and of the record
airbench94_muon (https://github.com/KellerJordan/cifar10-airbench, MIT), whose hyper-parameters these are; there in half
precision on a GPU, here in bf16 autocast with weights in f32. PyTorch's allocator counts: run it with tcmalloc in
LD_PRELOAD too, and quote the better run.

Seconds count from the start of the script, imports and raw files included. `secs_without_looks` leaves out only the looks
at the test images after the epochs before the last.
"""

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402  importing PyTorch takes seconds, which count
import json  # noqa: E402
import tarfile  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

BATCH_SIZE, EPOCHS = 2000, 8
WIDTHS = (64, 256, 256)
LABEL_SMOOTHING = 0.2
MAX_SHIFT_PX = 2
# of filters, by Muon
MUON_LR, MUON_MOMENTUM, NEWTON_SCHULZ_STEPS = 0.24, 0.6, 3
# of everything else, by SGD with Nesterov's momentum; decay such that rate x decay is the same for all
BIAS_LR, HEAD_LR, SGD_MOMENTUM = 0.053, 0.67, 0.85
RATE_TIMES_DECAY = 2e-6 * BATCH_SIZE
WHITENING_IMAGES, WHITENING_EPS, WHITENING_BIAS_EPOCHS = 5000, 5e-4, 3
NORM_EPS, NORM_MOMENTUM = 1e-12, 0.4  # the share of the new batch, as PyTorch has it

SIZE_PX, N_CLASSES = 32, 10
MEAN = torch.tensor((0.4914, 0.4822, 0.4465)).view(3, 1, 1)
STD = torch.tensor((0.2470, 0.2435, 0.2616)).view(3, 1, 1)


# --- data ---


def read(path, names):
    """Images as bytes (N, H, W, C), and their classes, of the binary version's files in a folder or an archive."""
    if path.is_dir():
        raw = [(path / name).read_bytes() for name in names]
    else:
        with tarfile.open(path) as archive:
            members = {Path(member.name).name: member for member in archive.getmembers()}
            raw = [archive.extractfile(members[name]).read() for name in names]
    records = np.frombuffer(b"".join(raw), dtype=np.uint8).reshape(-1, 1 + 3 * SIZE_PX * SIZE_PX)
    images = records[:, 1:].reshape(-1, 3, SIZE_PX, SIZE_PX).transpose(0, 2, 3, 1)
    return torch.from_numpy(np.ascontiguousarray(images)), torch.from_numpy(records[:, 0].astype(np.int64))


def normalized(images):
    """Bytes (N, H, W, C) as numbers (N, C, H, W), which stay channels_last in memory."""
    return (images.permute(0, 3, 1, 2).float() / 255 - MEAN) / STD


def augmented(images, picked, mirrored):
    """The picked images, shifted by up to 2 pixels either way with their borders reflected, mirrored where asked."""
    n, to = len(picked), torch.arange(SIZE_PX)
    rows, cols = (reflected(to + torch.randint(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1, (n, 1))) for _ in range(2))
    cols = torch.where(mirrored[:, None], cols.flip(1), cols)
    return normalized(images[picked[:, None, None], rows[:, :, None], cols[:, None, :]])


def reflected(positions):
    """Where a position beyond a border is mirrored to; the border itself is not doubled."""
    positions = positions.abs()
    return torch.where(positions >= SIZE_PX, 2 * (SIZE_PX - 1) - positions, positions)


def batches(images, targets, mirrored_at_first, epoch, batch_size):
    """An epoch in random order, without what is left over. Each image is mirrored in every second epoch."""
    order = torch.randperm(len(images))
    for picked in order[: len(order) // batch_size * batch_size].split(batch_size):
        yield augmented(images, picked, mirrored_at_first[picked] ^ (epoch % 2 == 1)), targets[picked]


# --- the network ---


def filters(c_in, c_out):
    """A 3x3 convolution whose first filters pass their channels on as they are."""
    conv = nn.Conv2d(c_in, c_out, kernel_size=3, padding=1, bias=False)
    nn.init.dirac_(conv.weight.data[:c_in])
    return conv


def norm(channels):
    layer = nn.BatchNorm2d(channels, eps=NORM_EPS, momentum=NORM_MOMENTUM)
    layer.weight.requires_grad = False  # the scale stays 1
    return layer


class SpeedRun(nn.Module):
    def __init__(self):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, kernel_size=2)
        self.whiten.weight.requires_grad = False
        layers, c_in = [nn.GELU()], self.whiten.out_channels
        for c_out in WIDTHS:
            layers += [filters(c_in, c_out), nn.MaxPool2d(2), norm(c_out), nn.GELU()]
            layers += [filters(c_out, c_out), norm(c_out), nn.GELU()]
            c_in = c_out
        self.features = nn.Sequential(*layers, nn.MaxPool2d(3), nn.Flatten())
        self.head = nn.Linear(c_in, N_CLASSES, bias=False)
        self.head.weight.data /= self.head.weight.data.std()

    def forward(self, x, learn_whitening_bias=False):
        bias = self.whiten.bias if learn_whitening_bias else self.whiten.bias.detach()
        x = functional.conv2d(x, self.whiten.weight, bias)
        return self.head(self.features(x)).float() / self.head.in_features

    def init_whitening(self, images):
        """Each principal direction of the images' 2x2 patches, scaled to variance 1; and its opposite."""
        patches = functional.unfold(images, kernel_size=2).transpose(1, 2).reshape(-1, 12)
        variances, directions = torch.linalg.eigh(patches.T @ patches / len(patches))
        scaled = (directions / (variances + WHITENING_EPS).sqrt()).T.reshape(12, 3, 2, 2)
        self.whiten.weight.data.copy_(torch.cat((scaled, -scaled)))


# --- the optimisers ---


def orthogonalized(matrix, dtype):
    """Singular values near 1, by Newton-Schulz steps of the fifth degree. The coefficients are steep at 0, and end
    between about 0.5 and 1.5 (https://kellerjordan.github.io/posts/muon/)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.to(dtype) / (matrix.norm() + 1e-7)
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x


class Muon:
    """Momentum whose step is orthogonalised; before it, filters are rescaled to the norm sqrt(c_out)."""

    def __init__(self, params, dtype):
        self.params, self.dtype = params, dtype
        self.momenta = [torch.zeros_like(p) for p in params]

    @torch.no_grad()
    def step(self, lr):
        for p, momentum in zip(self.params, self.momenta):
            momentum.mul_(MUON_MOMENTUM).add_(p.grad)
            ahead = p.grad + MUON_MOMENTUM * momentum
            p *= len(p) ** 0.5 / p.norm()
            p -= lr * orthogonalized(ahead.reshape(len(p), -1), self.dtype).view_as(p)


def others(network):
    """SGD of the biases, the whitening's first, and of the head."""
    norm_biases = [m.bias for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    parts = [([network.whiten.bias], BIAS_LR), (norm_biases, BIAS_LR), ([network.head.weight], HEAD_LR)]
    groups = [
        {"params": params, "lr": lr, "at_first": lr, "weight_decay": RATE_TIMES_DECAY / lr} for params, lr in parts
    ]
    return torch.optim.SGD(groups, momentum=SGD_MOMENTUM, nesterov=True)


# --- the run ---


@torch.inference_mode()
def accuracy(network, images, targets, in_precision, logits):
    network.eval()
    with in_precision:
        parts = [logits(network, normalized(part)) for part in images.split(BATCH_SIZE)]
    return (torch.cat(parts).argmax(1) == targets).double().mean().item()


def plain(network, images):
    return network(images)


def both_ways(network, images):
    return (network(images) + network(images.flip(-1))) / 2


def six_views(network, images):
    """As it is and shifted by one pixel up and left, down and right, each mirrored too; as it is weighs half."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
    shifted = [padded[:, :, at : at + SIZE_PX, at : at + SIZE_PX] for at in (0, 2)]
    return both_ways(network, images) / 2 + sum(both_ways(network, view) for view in shifted) / 4


def run(options):
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    images, targets = read(options.data, [f"data_batch_{i}.bin" for i in range(1, 6)])
    test_images, test_targets = read(options.data, ["test_batch.bin"])
    images, targets = images[: options.train_subset], targets[: options.train_subset]
    test_images, test_targets = test_images[: options.test_subset], test_targets[: options.test_subset]
    network = SpeedRun().to(memory_format=torch.channels_last)
    network.init_whitening(normalized(images[:WHITENING_IMAGES]))
    is_bf16 = options.precision == "bf16"
    in_precision = torch.autocast("cpu", torch.bfloat16, enabled=is_bf16)
    convs = [m.weight for m in network.features if isinstance(m, nn.Conv2d)]
    muon, sgd = Muon(convs, torch.bfloat16 if is_bf16 else torch.float32), others(network)
    mirrored_at_first = torch.rand(len(images)) < 0.5
    steps_per_epoch = len(images) // BATCH_SIZE
    n_steps, n_bias_steps = (steps_per_epoch * epochs for epochs in (options.epochs, WHITENING_BIAS_EPOCHS))
    n_bias_steps = min(n_bias_steps, n_steps)

    step, look_secs, accuracies = 0, 0.0, []
    for epoch in range(options.epochs):
        network.train()
        for x, y in batches(images, targets, mirrored_at_first, epoch, BATCH_SIZE):
            with in_precision:
                logits = network(x, learn_whitening_bias=step < n_bias_steps)
            loss = functional.cross_entropy(logits, y, label_smoothing=LABEL_SMOOTHING, reduction="sum")
            loss.backward()
            left = 1 - step / n_steps
            for group in sgd.param_groups:
                group["lr"] = group["at_first"] * left
            sgd.param_groups[0]["lr"] = BIAS_LR * max(0.0, 1 - step / n_bias_steps)
            sgd.step()
            muon.step(MUON_LR * left)
            network.zero_grad()
            step += 1
        began = time.perf_counter()
        accuracies.append(accuracy(network, test_images, test_targets, in_precision, plain))
        if epoch + 1 < options.epochs:
            look_secs += time.perf_counter() - began
        secs = time.perf_counter() - STARTED
        mean_loss = loss.item() / BATCH_SIZE
        print(f"epoch {epoch + 1}: loss {mean_loss:.4f}, accuracy {accuracies[-1]:.4f}, {secs:.1f} s", flush=True)
    with_views = accuracy(network, test_images, test_targets, in_precision, six_views)
    secs = time.perf_counter() - STARTED
    return {
        "accuracy": accuracies[-1],
        "accuracy_with_views": with_views,
        "accuracy_after_epochs": accuracies,
        "secs": secs,
        "secs_without_looks": secs - look_secs,
        "seed": options.seed,
        "precision": options.precision,
        "threads": options.threads,
        "torch": torch.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the binary version of CIFAR-10: its folder or its archive")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=["bf16", "f32"], default="bf16", help="of autocast")
    parser.add_argument("--train-subset", type=int, metavar="N", help="the first N images, to try it")
    parser.add_argument("--test-subset", type=int, metavar="N")
    options = parser.parse_args()
    if options.epochs < 1 or (options.train_subset or BATCH_SIZE) < BATCH_SIZE:
        parser.error(f"expected an epoch at least, of {BATCH_SIZE} images at least")
    print(json.dumps(run(options)))


if __name__ == "__main__":
    main()
