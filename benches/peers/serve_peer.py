#!/usr/bin/env python3
"""The peer of `trainer serve`: serves the same model with ONNX Runtime behind FastAPI and uvicorn. Pillow decodes pictures.

    serve_peer.py export runs/cnn-1/model.safetensors cnn.onnx     # needs torch, torchvision, onnx, onnxscript, safetensors
    serve_peer.py serve cnn.onnx --port 8001                       # needs fastapi, uvicorn[standard], onnxruntime, pillow, numpy

`POST /predict` takes the bytes of a picture. The answer uses the keys of `trainer serve`, but not all of them. serve_compare.py
puts both servers under the same load.
"""

import argparse
import json
import os
import sys

# Number of classes in an answer.
TOP_K = 3


def network(path, about, tensors):
    """Builds the PyTorch network of a model file, with its weights."""
    name = about["model"]["name"]
    if name.startswith("resnet"):
        sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../python"))
        import torchvision_resnet

        return torchvision_resnet.load(path)[0]
    if name != "cnn":
        raise SystemExit(f"{name}: cnn and ResNets can be exported")
    import pytorch_worker

    # Tallow's keys start with features.N and classifier.N; within a layer, PyTorch has the tensors in this order
    rank = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}

    def place(key):
        part, number, kind = key.split(".")
        return part == "classifier", int(number), rank[kind]

    module = pytorch_worker.cnn(about["preprocess"]["size_px"][0])
    wanted = [key for key in module.state_dict() if not key.endswith("num_batches_tracked")]
    state = {theirs: tensors[ours] for theirs, ours in zip(wanted, sorted(tensors, key=place), strict=True)}
    module.load_state_dict(state, strict=False)  # other shapes are still refused
    return module.eval()


def export(options):
    import safetensors
    import torch

    with safetensors.safe_open(options.model, "pt") as file:
        about = json.loads(file.metadata()["tallow"])
        tensors = {key: file.get_tensor(key) for key in file.keys() if not key.startswith("novelty.")}
    height, width = about["preprocess"]["size_px"]
    module = network(options.model, about, tensors)
    batch = torch.export.Dim("n", min=1, max=4096)
    images = torch.zeros(2, 3, height, width)
    torch.onnx.export(
        module, (images,), options.onnx, dynamo=True, dynamic_shapes=({0: batch},), external_data=False, verbose=False
    )
    with open(options.onnx + ".json", "w") as file:
        json.dump(about, file)


def application(onnx, threads, in_threads):
    """Creates the app. If `in_threads`, each request runs in a thread of the pool, as FastAPI does for plain functions; otherwise
    on the event loop."""
    import io

    import numpy as np
    import onnxruntime
    from fastapi import FastAPI, HTTPException, Request
    from fastapi.concurrency import run_in_threadpool
    from PIL import Image, UnidentifiedImageError

    with open(onnx + ".json") as file:
        about = json.load(file)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(onnx, settings, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    height, width = about["preprocess"]["size_px"]
    scale = np.float32(1 / 255) / np.array(about["std"], np.float32)
    offset = np.array(about["mean"], np.float32) / np.array(about["std"], np.float32)
    temperature, classes = about.get("temperature") or 1.0, about["class_names"]

    def answer(body):
        try:
            picture = Image.open(io.BytesIO(body)).convert("RGB")
        except (UnidentifiedImageError, OSError) as error:
            raise HTTPException(400, str(error)) from error
        if picture.size != (width, height):
            picture = picture.resize((width, height), Image.Resampling.BILINEAR)
        image = np.asarray(picture, np.float32) * scale - offset
        (logits,) = session.run(None, {name: np.ascontiguousarray(image.transpose(2, 0, 1))[None]})
        logits = logits[0] / temperature
        shares = np.exp(logits - logits.max())
        shares /= shares.sum()
        top = np.argsort(-shares)[:TOP_K]
        predictions = [{"class": classes[i], "probability": float(shares[i])} for i in top]
        return {"pictures": [{"file": "-", "predictions": predictions}]}

    app = FastAPI()

    @app.post("/predict")
    async def predict(request: Request):
        body = await request.body()
        return await run_in_threadpool(answer, body) if in_threads else answer(body)

    return app


def worker_application():
    """Creates the app in a worker process of uvicorn."""
    return application(os.environ["PEER_ONNX"], int(os.environ["PEER_THREADS"]), os.environ["PEER_POOL"] == "1")


def serve(options):
    import uvicorn

    os.environ["PEER_ONNX"] = os.path.abspath(options.onnx)
    os.environ["PEER_THREADS"] = str(options.threads)
    os.environ["PEER_POOL"] = "1" if options.pool else "0"
    uvicorn.run(
        "serve_peer:worker_application",
        factory=True,
        port=options.port,
        workers=options.workers,
        app_dir=os.path.dirname(os.path.abspath(__file__)),
        log_level="warning",
        access_log=False,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    exporting = commands.add_parser("export")
    exporting.add_argument("model", help="model.safetensors of a run of cnn, or of resnet50 with the last stage's features alone")
    exporting.add_argument("onnx")
    exporting.set_defaults(run=export)
    serving = commands.add_parser("serve")
    serving.add_argument("onnx")
    serving.add_argument("--port", type=int, default=8001)
    serving.add_argument("--workers", type=int, default=1, help="processes")
    serving.add_argument("--threads", type=int, default=2, help="threads of a process that compute")
    serving.add_argument("--pool", action="store_true", help="each request in a thread, not on the event loop")
    serving.set_defaults(run=serve)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
