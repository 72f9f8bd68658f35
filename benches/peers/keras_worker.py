#!/usr/bin/env python3
"""Keras on TensorFlow as a contestant of compare.py: one network, in slices of time.

A step is one call of `fit` or `predict` on several batches: that is how Keras is used, and what a call costs
once is spread over them.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras  # noqa: E402  the variables above are read on import
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from keras import layers  # noqa: E402

import timing  # noqa: E402

BATCHES_PER_STEP = 8


def cnn(x):
    """The reference network, as in pytorch_worker.py."""
    for c_out, dropout in ((32, 0.0), (64, 0.1), (128, 0.2)):
        for _ in range(2):
            x = layers.Conv2D(c_out, 3, padding="same")(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPool2D()(x)
        if dropout > 0.0:
            x = layers.Dropout(dropout)(x)
    x = layers.Dense(128, activation="relu")(layers.Flatten()(x))
    return layers.Dense(timing.N_CLASSES, dtype="float32")(x)


def speedrun(x):
    """The shape of the speed-run network, as in pytorch_worker.py."""
    x = layers.Conv2D(24, 2, activation="gelu")(x)
    for c_out in (64, 256, 256):
        x = layers.MaxPool2D()(layers.Conv2D(c_out, 3, padding="same", use_bias=False)(x))
        x = layers.Activation("gelu")(layers.BatchNormalization()(x))
        x = layers.Conv2D(c_out, 3, padding="same", use_bias=False)(x)
        x = layers.Activation("gelu")(layers.BatchNormalization()(x))
    x = layers.Flatten()(layers.MaxPool2D(3)(x))
    return layers.Dense(timing.N_CLASSES, use_bias=False, dtype="float32")(x)


def resnet50(x):
    features = keras.applications.ResNet50(include_top=False, weights=None, input_tensor=x, pooling="avg")
    return layers.Dense(timing.N_CLASSES, dtype="float32")(features.output)


NETWORKS = {"cnn": cnn, "speedrun": speedrun, "resnet50": resnet50}


def main():
    options = timing.arguments(__doc__).parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(options.threads)
    keras.utils.set_random_seed(0)
    if options.precision == "bf16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    inputs = keras.Input((options.size, options.size, 3))
    network = keras.Model(inputs, NETWORKS[options.model](inputs))
    optimizer = keras.optimizers.SGD(timing.LR, momentum=0.9, nesterov=True)
    network.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))

    n, random = options.batch_size * BATCHES_PER_STEP, np.random.default_rng(0)
    images = random.standard_normal((n, options.size, options.size, 3), dtype=np.float32)
    targets = random.integers(0, timing.N_CLASSES, n)

    def train():
        network.fit(images, targets, batch_size=options.batch_size, verbose=0)

    def infer():
        network.predict(images, batch_size=options.batch_size, verbose=0)

    step = train if options.mode == "train" else infer
    timing.serve(step, n, f"Keras {keras.__version__.split('.')[0]}", options.precision)


if __name__ == "__main__":
    main()
