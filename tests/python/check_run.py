"""Reads a run folder with the field's own tools: TensorBoard's reader and pandas.

    python3 -m venv .peers && .peers/bin/pip install tensorboard pandas pillow
    .peers/bin/python tests/python/check_run.py runs/cnn-1

Every figure that TensorBoard and pandas read must be the run's own. Last run with tensorboard 2.21.0 and pandas 3.1.1.
"""

import io
import json
import struct
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

STEPS_PER_POINT = 10
CURVES = {
    "loss/train": "loss",
    "loss/val": "val_loss",
    "accuracy/train": "accuracy",
    "accuracy/val": "val_accuracy",
    "learning_rate": "learning_rate",
}


def check_tensorboard(run: Path, history: pd.DataFrame, summary: dict) -> None:
    (file,) = run.glob("events.out.tfevents.*")
    n_events = sum(1 for _ in EventFileLoader(str(file)).Load())
    n_records = sum(1 for _ in records(file.read_bytes()))
    assert n_events == n_records, f"TensorBoard reads {n_events} of {n_records} events"

    seen = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    seen.Reload()
    assert not seen.Tags()["histograms"]
    scalars = read_scalars(seen)
    for tag, column in CURVES.items():
        if column not in history:
            assert tag not in scalars, tag
            continue
        steps, values = scalars[tag]
        assert steps == history["epoch"].to_list(), tag
        np.testing.assert_array_equal(values, history[column].to_numpy(np.float32), err_msg=tag)
    for tag in ["step/loss", "step/accuracy", "step/learning_rate"]:
        steps, _ = scalars.get(tag, ([], []))
        expected = [STEPS_PER_POINT * (i + 1) for i in range(len(steps))]
        assert steps == expected, f"{tag}: a step is missing or there twice"
    assert scalars["accuracy/test"][1] == [np.float32(summary["test"]["accuracy"])]
    assert scalars["loss/test"][1] == [np.float32(summary["test"]["loss"])]

    (text,) = seen.Tensors("recipe")
    recipe = text.tensor_proto.string_val[0].decode()
    assert recipe == "```toml\n" + (run / "recipe.toml").read_text().rstrip() + "\n```"

    start = read_hparams(seen, metadata.SESSION_START_INFO_TAG).session_start_info
    assert start.hparams["batch_size"].number_value > 0
    assert start.hparams["data.dataset"].string_value == summary["dataset"]
    assert start.hparams["seed"].number_value == summary["seed"]
    end = read_hparams(seen, metadata.SESSION_END_INFO_TAG).session_end_info
    assert end.end_time_secs >= start.start_time_secs > 0

    pictures = seen.Tags()["images"]
    assert "confusion matrix/test" in pictures
    for tag in pictures:
        check_image(seen, tag)
    print(f"{file.name}: {n_events} events, {len(scalars)} curves, pictures {pictures}")


def records(content: bytes):
    while content:
        (length,) = struct.unpack_from("<Q", content)
        yield content[12 : 12 + length]
        content = content[16 + length :]


def read_scalars(seen: EventAccumulator) -> dict:
    """Steps and values of each tag."""
    read = lambda tag: ([e.step for e in seen.Scalars(tag)], [np.float32(e.value) for e in seen.Scalars(tag)])
    return {tag: read(tag) for tag in seen.Tags()["scalars"]}


def read_hparams(seen: EventAccumulator, tag: str) -> plugin_data_pb2.HParamsPluginData:
    content = seen.SummaryMetadata(tag).plugin_data.content
    return plugin_data_pb2.HParamsPluginData.FromString(content)


def check_image(seen: EventAccumulator, tag: str) -> None:
    (event,) = seen.Images(tag)
    image = Image.open(io.BytesIO(event.encoded_image_string))
    image.load()
    assert image.size == (event.width, event.height), tag


def check_pandas(run: Path, summary: dict) -> pd.DataFrame:
    history = pd.read_csv(run / "history.csv")
    assert history["epoch"].to_list() == list(range(1, summary["epochs_run"] + 1))
    assert all(dtype.kind in "if" for dtype in history.dtypes), history.dtypes
    for split in ["val", "test"]:
        path = run / "evaluation" / f"predictions_{split}.csv"
        if not path.exists():
            assert summary[split] is None, f"{path} is not there"
            continue
        table = pd.read_csv(path)
        assert len(table) == summary[f"n_{split}"] and table["index"].is_unique
        log_probs = table.filter(regex="^log_prob:")
        assert all(dtype.kind == "f" for dtype in log_probs.dtypes), log_probs.dtypes
        names = log_probs.columns.str.removeprefix("log_prob:")
        assert (names[log_probs.to_numpy().argmax(1)] == table["predicted"]).all()
        np.testing.assert_allclose(np.exp(log_probs).sum(axis=1), 1, atol=1e-4)
        accuracy = (table["true"] == table["predicted"]).mean()
        assert accuracy == summary[split]["accuracy"], (split, accuracy)
        of_true = log_probs.to_numpy()[np.arange(len(table)), names.get_indexer(table["true"])]
        np.testing.assert_allclose(-of_true.mean(), summary[split]["loss"], rtol=1e-6)
        print(f"{path.name}: {len(table)} rows, {len(names)} classes, accuracy {accuracy:.4f}")
    return history


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    run = Path(sys.argv[1])
    summary = json.loads((run / "summary.json").read_text())
    history = check_pandas(run, summary)
    check_tensorboard(run, history, summary)


if __name__ == "__main__":
    main()
