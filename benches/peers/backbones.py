#!/usr/bin/env python3
"""Forward passes of backbones, f32: Tallow against PyTorch (channels_last), ONNX Runtime and OpenVINO, in turn.

    .peers/bin/pip install torch torchvision timm numpy onnx onnxscript onnxruntime openvino
    cargo build --release -p trainer
    .peers/bin/python benches/peers/backbones.py --models tf_efficientnet_lite0 resnet50 --sizes 64 128 224

Contestants stay alive and work for a slice of time in turn, as in compare.py; README.md tells what a ratio means. Weights are
random, images synthetic and in memory. OpenVINO competes with one batch at a time and with a batch for each thread.
"""

import argparse
import glob
import pathlib
import sys
import tempfile
from statistics import median

from contestant import Contestant, Missing, environments, preloading, spread

HERE = pathlib.Path(__file__).resolve().parent
FAMILIES = {"pytorch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
# Images of a forward pass, by their rows and columns.
BATCHES = {64: 64, 128: 16, 224: 16}


def worker(options):
    """timm's network in PyTorch as a contestant, or as an ONNX file."""
    import timm
    import torch

    import timing

    torch.set_num_threads(options.threads)
    # timm must know the size of a transformer's images
    size = {"img_size": options.size} if options.model.startswith("vit_") else {}
    model = timm.create_model(options.model, num_classes=10, **size).eval()
    images = torch.randn(options.batch_size, 3, options.size, options.size)
    if options.export:
        torch.onnx.export(model, (images,), options.export, dynamo=True, verbose=False)
        return
    model = model.to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    version = ".".join(torch.__version__.split(".")[:2])
    with torch.inference_mode():
        timing.serve(lambda: model(images), options.batch_size, f"PyTorch {version}", "f32")


def contestants(model, size, onnx, options):
    """Ours, and each peer in every mode. Only PyTorch gets another allocator."""
    ours, theirs = environments(options.threads, False)
    flags = [f"--size={size}", f"--batch-size={BATCHES.get(size, 16)}", f"--threads={options.threads}"]
    bench = [options.trainer, "bench", "--slices", f"--model={model}", "--mode=infer", "--precision=f32"]
    yield Contestant("tallow", [*bench, *flags], ours)
    by_timm = [sys.executable, __file__, "--worker", f"--model={model}", *flags]
    if "pytorch" in options.peers:
        yield Contestant("pytorch", by_timm, preloading(theirs, options.preload))
    runtimes = [one for one in ("onnxruntime", "openvino") if one in options.peers]
    if runtimes:
        export = Contestant("export", [*by_timm, f"--export={onnx}"], theirs)
        try:
            export.start(options.timeout_secs)  # it ends without a word
        except Missing:
            pass
    for runtime in runtimes if onnx.is_file() else []:
        for streams in sorted({1, options.threads}) if runtime == "openvino" else [1]:
            command = [sys.executable, HERE / "onnx_worker.py", f"--runtime={runtime}", f"--onnx={onnx}"]
            yield Contestant(runtime, [*command, "--mode=infer", f"--streams={streams}", *flags], theirs)


def measure(model, size, options):
    """The contestants of a row after all rounds."""
    with tempfile.TemporaryDirectory() as folder:
        everyone = list(contestants(model, size, pathlib.Path(folder) / "model.onnx", options))
        try:
            staying = [one for one in everyone if works(one, lambda: one.start(options.timeout_secs))]
            for _ in range(options.rounds if everyone[0] in staying else 0):
                staying = [one for one in staying[::-1] if works(one, lambda: turn(one, options))]
        finally:
            for one in everyone:
                one.stop()
    for one in everyone:
        one.ratios = [ours / theirs for ours, theirs in zip(everyone[0].rates, one.rates)]
    return everyone


def turn(one, options):
    one.rates.append(one.slice(options.slice_secs, options.timeout_secs)[0])


def works(one, act):
    """Whether the contestant did it; else it is out of the row."""
    try:
        act()
        return True
    except Missing as reason:
        one.give_up(reason)
        print(f"{one.family} is missing: {reason}", file=sys.stderr)
        return False


def row(model, size, options):
    """The row of one model at one size; of each peer its best mode, and the ratio of ours to the best of the peers."""
    ours, *others = measure(model, size, options)
    rated = [one for one in others if one.ratios]
    cells = [f"{median(ours.rates):,.0f}" if ours.rates else "-"]
    for family in options.peers:
        rates = [median(one.rates) for one in rated if one.family == family]
        cells.append(f"{max(rates):,.0f}" if rates else "-")
    ratio = min((spread(one.ratios) for one in rated), key=lambda ratio: ratio["median"], default=None)
    cells.append("{:.2f} | {:.2f} to {:.2f}".format(ratio["median"], *ratio["quartiles"]) if ratio else "- | -")
    return f"| {model} | {size} | {' | '.join(cells)} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tf_efficientnet_lite0", "resnet50"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 224])
    parser.add_argument("--peers", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--rounds", type=int, default=7, help="slices of each contestant (default: 7)")
    parser.add_argument("--slice-secs", type=float, default=0.5, help="of each slice, at least (default: 0.5)")
    parser.add_argument("--threads", type=int, default=2)
    allocators = sorted(glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4"))
    parser.add_argument("--preload", default=(allocators or [None])[0], metavar="LIBRARY",
                        help="PyTorch's allocator; '' for glibc's (default: %(default)s)")
    parser.add_argument("--trainer", type=pathlib.Path, default=HERE.parents[1] / "target/release/trainer")
    parser.add_argument("--timeout-secs", type=float, default=600.0, help="for one answer (default: 600)")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--export", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.preload = options.preload or None
    if options.worker:
        worker(options)
        return
    names = [FAMILIES[family] for family in options.peers]
    print(f"| model | px | Tallow | {' | '.join(names)} | ratio to the best | quartiles |")
    print("|" + " --- |" * (len(names) + 5), flush=True)
    for model in options.models:
        for size in options.sizes:
            print(row(model, size, options), flush=True)


if __name__ == "__main__":
    main()
