#!/usr/bin/env python3
"""ONNX Runtime or OpenVINO as a contestant of compare.py: a network at rest, in slices of time.

The network is a file that `pytorch_worker.py --export` wrote. Neither of the two shares a process with PyTorch, whose
threads and allocator would be theirs as well.
"""

import numpy as np

import timing


def onnxruntime_step(options, images):
    import onnxruntime

    session_options = onnxruntime.SessionOptions()
    session_options.intra_op_num_threads = options.threads
    session = onnxruntime.InferenceSession(options.onnx, session_options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images}
    return lambda: session.run(None, feed), f"ONNX Runtime {version(onnxruntime)}"


def openvino_step(options, images):
    """With several streams as many batches are under way at once, each on its share of the threads."""
    import openvino

    config = {
        "INFERENCE_NUM_THREADS": options.threads,
        "INFERENCE_PRECISION_HINT": options.precision,
        "NUM_STREAMS": options.streams,
    }
    compiled = openvino.compile_model(options.onnx, "CPU", config)
    requests = [compiled.create_infer_request() for _ in range(options.streams)]
    for request in requests:
        request.set_input_tensor(openvino.Tensor(images))

    def step():
        for request in requests:
            request.start_async()
        for request in requests:
            request.wait()

    return step, f"OpenVINO {version(openvino)}"


def version(package):
    return ".".join(package.__version__.split(".")[:2])


def main():
    parser = timing.arguments(__doc__)
    parser.add_argument("--runtime", choices=["onnxruntime", "openvino"], required=True)
    parser.add_argument("--onnx", metavar="FILE", required=True)
    parser.add_argument("--streams", type=int, default=1, help="batches at once; of OpenVINO only")
    options = parser.parse_args()
    shape = (options.batch_size, 3, options.size, options.size)
    images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    make = {"onnxruntime": onnxruntime_step, "openvino": openvino_step}[options.runtime]
    step, name = make(options, images)
    how = options.precision + (f", {options.streams} streams" if options.streams > 1 else "")
    timing.serve(step, options.batch_size * options.streams, name, how)


if __name__ == "__main__":
    main()
