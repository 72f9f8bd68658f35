"""What both workers share: their arguments, and how often a step is run. `trainer bench` does the same."""

import argparse
import json
import time
from statistics import median

WARM_UP_STEPS = 3
MIN_STEPS, MAX_STEPS, SECS = 5, 101, 3.0

N_CLASSES = 10
LR = 0.01


def arguments(description):
    """The arguments of a worker, named as those of `trainer bench`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", choices=["cnn", "speedrun", "resnet50"], default="cnn")
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=32, help="rows and columns of the images")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def report(step, n_images):
    """Times `step`, which works on `n_images`, and prints the rate of the median run as JSON."""
    for _ in range(WARM_UP_STEPS):
        step()
    secs, began = [], time.perf_counter()
    while len(secs) < MIN_STEPS or (len(secs) < MAX_STEPS and time.perf_counter() - began < SECS):
        start = time.perf_counter()
        step()
        secs.append(time.perf_counter() - start)
    print(json.dumps({"images_per_second": n_images / median(secs), "n_steps": len(secs)}))
