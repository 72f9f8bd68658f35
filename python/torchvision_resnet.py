"""A run's ResNet in torchvision: loads model.safetensors, prints logits, and checks them against the run's predictions.

    pip install torch torchvision safetensors          # pillow, which reads images, comes with torchvision
    python python/torchvision_resnet.py runs/resnet50-head-1 cat.png dog.jpg
    python python/torchvision_resnet.py runs/resnet50-head-1 --check [--data-dir data]

The first form answers images of any size; the second asks for every image of the test set of the run (`cifar10` from
DATA_DIR, `sample` from assets/sample) and compares log-probabilities with evaluation/predictions_test.csv. It ends with
status 1 if they differ by more than rounding: 1e-4 in relative norm, or 3e-2 where the run computed in bf16.

`load` is all that another program needs. The file says the rest under one metadata key, a JSON document: the architecture
(`model`: name, input size, place of the strides, head), `class_names`, and the `mean` and `std` that pixels in 0..1 are
normalised by. Images are then resized to the input size, bilinearly, with align_corners=False and no antialiasing.
"""

import argparse
import csv
import json
import pathlib
import sys

import numpy
import torch
import torchvision
from PIL import Image
from safetensors import safe_open
from torch import nn
from torch.nn import functional as F

TOLERANCE = {"f32": 1e-4, "bf16": 3e-2}
BATCH_SIZE = 50
SIDE_PX = 32  # of CIFAR-10 and the sample


def load(run):
    """The network of a run folder or a model file, ready to infer, and what the file says of it."""
    path = pathlib.Path(run)
    path = path / "model.safetensors" if path.is_dir() else path
    with safe_open(path, framework="pt") as file:
        info = json.loads(file.metadata()["tallow"])
        names = [name for name in file.keys() if not name.startswith("novelty.")]
        weights = {name: file.get_tensor(name) for name in names}
    table, n_classes = info["model"], len(info["class_names"])
    if not table["name"].startswith("resnet"):
        sys.exit(f"{path}: a {table['name']}, and torchvision has none; expected a ResNet")
    net = getattr(torchvision.models, table["name"])(num_classes=n_classes)
    if table.get("downsample_in_bottleneck", False):
        move_strides(net)
    stages = table.get("features", ["layer4"])
    net.fc = head(sum(width(getattr(net, stage)) for stage in stages), n_classes, **table.get("head", {}))
    if stages != ["layer4"]:
        net.forward = lambda x: net.fc(features(net, stages, x))
    net.load_state_dict(weights, strict=True)
    return net.eval(), info


def move_strides(net):
    """From the 3x3 convolution of a bottleneck, torchvision's place, to its first 1x1, which is the paper's."""
    for stage in (net.layer2, net.layer3, net.layer4):
        block = stage[0]
        if hasattr(block, "conv3"):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def width(stage):
    """Channels that a stage gives."""
    last = stage[-1]
    return (last.bn3 if hasattr(last, "bn3") else last.bn2).num_features


def features(net, stages, x):
    """The mean maps of these stages side by side, where torchvision has the last stage's alone."""
    x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
    means = []
    for name in ("layer1", "layer2", "layer3", "layer4"):
        x = getattr(net, name)(x)
        means += [x.mean((2, 3))] if name in stages else []
    return torch.cat(means, 1)


def head(n_features, n_classes, norm=False, hidden=None, dropout=0.0):
    """`fc` itself where it is one dense layer, else a Sequential: norm, dropout, dense, relu, dropout, dense."""
    if not (norm or hidden or dropout):
        return nn.Linear(n_features, n_classes)
    layers = [nn.BatchNorm1d(n_features)] if norm else []
    widths = [n_features, *([hidden] if hidden else []), n_classes]
    for i, (f_in, f_out) in enumerate(zip(widths, widths[1:])):
        layers += [nn.ReLU()] if i else []
        layers += [nn.Dropout(dropout)] if dropout else []
        layers.append(nn.Linear(f_in, f_out))
    return nn.Sequential(*layers)


@torch.inference_mode()
def logits(net, info, pixels):
    """Logits (n, classes) of images (n, h, w, 3) of bytes."""
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255.0
    mean, std = (torch.tensor(info[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    x = F.interpolate((x - mean) / std, size=info["model"]["input_px"], mode="bilinear", align_corners=False)
    return net(x)


def classify(net, info, files):
    for file in files:
        pixels = numpy.asarray(Image.open(file).convert("RGB"))
        answer = logits(net, info, pixels[None].copy())[0]
        probabilities = answer.softmax(0)
        best = int(answer.argmax())
        print(f"{file}: {info['class_names'][best]} ({100 * probabilities[best]:.2f} %)")
        for name, logit, probability in zip(info["class_names"], answer.tolist(), probabilities.tolist()):
            print(f"    {name:<20} logit {logit:9.4f}  probability {probability:.4f}")


def test_images(dataset, data_dir):
    """All test images of a data set, (n, 32, 32, 3), in its order."""
    if dataset == "cifar10":
        records = numpy.fromfile(pathlib.Path(data_dir) / "cifar-10-batches-bin/test_batch.bin", numpy.uint8)
        return records.reshape(-1, 1 + 3 * SIDE_PX**2)[:, 1:].reshape(-1, 3, SIDE_PX, SIDE_PX).transpose(0, 2, 3, 1)
    if dataset == "sample":  # one row of images for each class
        atlas = numpy.asarray(Image.open(pathlib.Path(__file__).parent.parent / "assets/sample/test.png"))
        rows, columns = (size // SIDE_PX for size in atlas.shape[:2])
        tiles = atlas.reshape(rows, SIDE_PX, columns, SIDE_PX, 3).swapaxes(1, 2)
        return tiles.reshape(-1, SIDE_PX, SIDE_PX, 3)
    sys.exit(f"--check knows the data sets cifar10 and sample, the run was on {dataset}")


def check(net, info, run, data_dir):
    """Whether log-probabilities are those that the run wrote down."""
    with open(pathlib.Path(run) / "evaluation/predictions_test.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = torch.tensor([[float(row[f"log_prob:{name}"]) for name in info["class_names"]] for row in rows])
    images = test_images(info["dataset"], data_dir)[[int(row["index"]) for row in rows]]
    batches = [images[i : i + BATCH_SIZE].copy() for i in range(0, len(images), BATCH_SIZE)]
    actual = torch.cat([logits(net, info, batch) for batch in batches]).log_softmax(1)
    error = ((actual - expected).norm() / expected.norm()).item()
    n_other = int((actual.argmax(1) != expected.argmax(1)).sum())
    tolerance = TOLERANCE[info["precision"]]
    print(f"{len(rows)} images: log-probabilities differ by {error:.1e} in relative norm ({info['precision']}: at most "
          f"{tolerance:.0e}), by {(actual - expected).abs().max():.1e} at most; {n_other} images get another class")
    return error <= tolerance


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run folder, or without --check a model file")
    parser.add_argument("images", nargs="*", help="image files to classify")
    parser.add_argument("--check", action="store_true", help="compare with the run's predictions of its test set")
    parser.add_argument("--data-dir", default="data", help="where cifar-10-batches-bin lies")
    args = parser.parse_args()
    if not args.images and not args.check:
        parser.error("name images, or --check")
    net, info = load(args.run)
    classify(net, info, args.images)
    if args.check and not check(net, info, args.run, args.data_dir):
        sys.exit(1)


if __name__ == "__main__":
    main()
