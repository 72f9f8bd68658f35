"""Checks exported ONNX files with onnx.checker, and computes them with ONNX Runtime.

    TALLOW_ONNX_OUT=$PWD/target/onnx cargo test --workspace --test architectures
    python python/check_onnx.py target/onnx

The folder holds NAME.onnx, the images as bytes NAME.NxHxWx3.u8, and the logits of Tallow's kernels NAME.logits.f32.
Needs numpy, onnx and onnxruntime.
"""

import pathlib
import re
import sys

import numpy as np
import onnx
import onnxruntime

TOLERANCE = 1e-4  # of logits, relative to the largest of them


def check(path):
    onnx.checker.check_model(str(path), full_check=True)
    [images] = path.parent.glob(f"{path.stem}.*.u8")
    shape = [int(size) for size in re.search(r"\.([0-9x]+)\.u8$", images.name).group(1).split("x")]
    images = np.fromfile(images, np.uint8).reshape(shape)
    expected = np.fromfile(path.with_suffix(".logits.f32"), np.float32).reshape(shape[0], -1)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits, probabilities = session.run(["logits", "probabilities"], {"images": images})
    error = np.abs(logits - expected).max() / np.abs(expected).max()
    [alone], _ = session.run(["logits", "probabilities"], {"images": images[:1]})  # the batch is free
    error = max(error, np.abs(alone - expected[0]).max() / np.abs(expected).max())
    error_of_sum = np.abs(probabilities.sum(1) - 1).max()
    print(f"{path.stem:28} largest error {error:.1e}")
    return error <= TOLERANCE and error_of_sum < 1e-5


paths = sorted(pathlib.Path(sys.argv[1]).glob("*.onnx"))
failed = [path.stem for path in paths if not check(path)]
if failed or not paths:
    sys.exit(f"wrong: {', '.join(failed) or 'no files'}")
