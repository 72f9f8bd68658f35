"""What the workers share: their arguments, and how they take turns. `trainer bench --slices` does the same.

A worker makes its network, warms up, and says so in one line of JSON with its name. From then on each line of its standard
input is a number of seconds; it takes steps until they have passed, one at least, and answers with a line of JSON:
images_per_second, n_steps, secs. It ends with its input.
"""

import argparse
import json
import sys
import time

# Steps before the first slice: so many, or as many as begin within so many seconds.
WARM_UP_STEPS = 3
WARM_UP_SECS = 3.0

N_CLASSES = 10
LR = 0.01


def arguments(description):
    """The arguments of a worker, named as those of `trainer bench`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["cnn", "speedrun", "resnet50"], default="cnn")
    parser.add_argument("--mode", choices=["train", "infer"], default="train")
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--size", type=int, default=32, help="rows and columns of the images")
    parser.add_argument("--threads", type=int, default=2)
    return parser


def serve(step, n_images, name, how):
    """Takes turns with `step`, which works on `n_images`. A table calls the peer `name`, and its mode `how`."""
    began, n_steps = time.perf_counter(), 0
    while n_steps < WARM_UP_STEPS and (n_steps == 0 or time.perf_counter() - began < WARM_UP_SECS):
        step()
        n_steps += 1
    say(ready=True, name=name, how=how)
    for line in sys.stdin:
        asked_secs = float(line)
        began, n_steps, secs = time.perf_counter(), 0, 0.0
        while n_steps == 0 or secs < asked_secs:
            step()
            n_steps += 1
            secs = time.perf_counter() - began
        say(images_per_second=n_steps * n_images / secs, n_steps=n_steps, secs=secs)


def say(**what):
    print(json.dumps(what), flush=True)
