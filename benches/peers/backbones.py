"""Forward passes of backbones, f32: Tallow against PyTorch (channels_last), ONNX Runtime and OpenVINO, in turn.

    .peers/bin/pip install torch torchvision timm numpy onnx onnxscript onnxruntime openvino
    cargo build --release -p trainer
    .peers/bin/python benches/peers/backbones.py --models tf_efficientnet_lite0 resnet50 --sizes 64 128 224

Each measurement is a process of its own with so many threads; weights are random, images synthetic and in memory. What a ratio
means: README.md. PyTorch's allocator counts: preload tcmalloc as said there, and quote the better run; what is preloaded
reaches PyTorch only.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEERS = ["tallow", "pytorch", "onnxruntime", "openvino"]
# Images of a forward pass, by their rows and columns.
BATCHES = {64: 64, 128: 16, 224: 16}


def extra(model, size):
    """What timm needs to know of a transformer: the size of its images."""
    return {"img_size": size} if model.startswith("vit_") else {}


def worker(args):
    """Measures one peer in this process."""
    import timm
    import torch

    from timing import report

    torch.set_num_threads(args.threads)
    x = torch.randn(args.batch_size, 3, args.size, args.size)
    if args.peer in ("pytorch", "export"):
        model = timm.create_model(args.model, num_classes=10, **extra(args.model, args.size)).eval()
    if args.peer == "export":
        torch.onnx.export(model, (x,), args.onnx, dynamo=True, verbose=False)
    elif args.peer == "pytorch":
        model, x = model.to(memory_format=torch.channels_last), x.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            report(lambda: model(x), args.batch_size)
    elif args.peer == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(args.onnx, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: x.numpy()}
        report(lambda: session.run(None, feed), args.batch_size)
    else:
        import openvino

        config = {"INFERENCE_NUM_THREADS": args.threads, "INFERENCE_PRECISION_HINT": "f32",
                  "PERFORMANCE_HINT": "LATENCY"}
        request = openvino.compile_model(args.onnx, "CPU", config).create_infer_request()
        tensor = openvino.Tensor(x.numpy())
        report(lambda: request.infer([tensor]), args.batch_size)


def run(peer, model, size, onnx, args):
    """What one process of one peer printed, or None."""
    batch = BATCHES.get(size, 16)
    common = ["--model", model, "--size", str(size), "--batch-size", str(batch), "--threads", str(args.threads)]
    env = dict(os.environ)
    if peer != "pytorch":
        env.pop("LD_PRELOAD", None)
    if peer == "tallow":
        command = [str(args.trainer), "bench", "--mode", "infer", "--precision", "f32", "--json", *common]
    else:
        command = [sys.executable, __file__, "--worker", peer, "--onnx", str(onnx), *common]
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    if done.returncode != 0:
        print(f"{peer}, {model}: {done.stderr[-2000:]}", file=sys.stderr)
        return None
    return done.stdout


def measured(peer, model, size, onnx, args):
    """The images per second of one measurement."""
    text = run(peer, model, size, onnx, args)
    return json.loads(text[text.index("{"):])["images_per_second"] if text else float("nan")


def row(model, size, args):
    """The row of one model at one size: medians over the rounds, and the ratio of ours to the best of the others."""
    with tempfile.TemporaryDirectory() as folder:
        onnx = pathlib.Path(folder) / "model.onnx"
        if set(args.peers) & {"onnxruntime", "openvino"}:
            run("export", model, size, onnx, args)
        rounds = [[measured(peer, model, size, onnx, args) for peer in args.peers] for _ in range(args.rounds)]
    rates = dict(zip(args.peers, map(statistics.median, zip(*rounds))))
    others = [rate for peer, rate in rates.items() if peer != "tallow" and rate == rate]
    ratio = f"{rates['tallow'] / max(others):.2f}" if "tallow" in rates and others else "-"
    return f"| {model} | {size} | {' | '.join(f'{rate:,.0f}' for rate in rates.values())} | {ratio} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["tf_efficientnet_lite0", "resnet50"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[64, 128, 224])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--trainer", type=pathlib.Path, default=ROOT / "target/release/trainer")
    parser.add_argument("--worker", dest="peer", choices=[*PEERS[1:], "export"], help=argparse.SUPPRESS)
    parser.add_argument("--onnx", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--batch-size", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        worker(args)
        return
    print(f"| model | px | {' | '.join(args.peers)} | ratio to the best |\n|{' --- |' * (3 + len(args.peers))}")
    for model in args.models:
        for size in args.sizes:
            print(row(model, size, args), flush=True)


if __name__ == "__main__":
    main()
