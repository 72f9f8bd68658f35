#!/usr/bin/env python3
"""Compares `trainer bench` with its peers: the same networks, in turn, a slice of about a second each.

    compare.py                         every row
    compare.py cnn-train-auto …        these rows
    compare.py --list                  what rows there are

Every contestant is a process that stays alive. The ratio of a row is the median of the rounds' ratios: ours and theirs within
the same few seconds. README.md says how to install the peers and how to read a ratio. What cannot be measured is said to
be missing, with the reason; the other measurements go on.
"""

import argparse
import glob
import itertools
import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import contestant
from contestant import Contestant, Missing, preloading, spread

HERE = Path(__file__).resolve().parent
TARGET = HERE.parents[1] / "target"
FAMILIES = ["pytorch", "onnxruntime", "openvino", "burn", "keras"]

HEAT_SLICES = 3
HEAT_SLICE_SHARE = 0.5  # of a slice of the rounds
# A mode that needs so much longer than the best of its family is not that family's best.
HEAT_MARGIN = 1.15
MODES_THAT_STAY = 2


@dataclass(frozen=True)
class Row:
    """One network at one size; `auto` is the precision that a user gets, and peers may take any."""

    model: str
    mode: str
    precision: str
    batch_size: int
    size_px: int
    avx2_only: bool = False


ROWS = {
    "cnn-train-auto": Row("cnn", "train", "auto", 128, 32),
    "cnn-train-f32": Row("cnn", "train", "f32", 128, 32),
    "cnn-train-f32-avx2": Row("cnn", "train", "f32", 128, 32, avx2_only=True),
    "cnn-infer-auto": Row("cnn", "infer", "auto", 128, 32),
    "cnn-infer-f32": Row("cnn", "infer", "f32", 128, 32),
    "speedrun-train-auto-256": Row("speedrun", "train", "auto", 256, 32),
    "speedrun-train-auto-2000": Row("speedrun", "train", "auto", 2000, 32),
    "speedrun-train-f32-256": Row("speedrun", "train", "f32", 256, 32),
    "speedrun-train-f32-2000": Row("speedrun", "train", "f32", 2000, 32),
    "resnet50-train-auto-64px": Row("resnet50", "train", "auto", 64, 64),
    "resnet50-train-f32-64px": Row("resnet50", "train", "f32", 64, 64),
} | {
    f"resnet50-infer-{precision}-{px}px": Row("resnet50", "infer", precision, 64 if px <= 64 else 16, px)
    for precision in ("auto", "f32")
    for px in (64, 128, 224)
}


class Exports:
    """Networks as ONNX files, each written once."""

    def __init__(self):
        self.folder, self.made = tempfile.TemporaryDirectory(), {}

    def file(self, row, environment):
        key = (row.model, row.batch_size, row.size_px)
        if key not in self.made:
            path = Path(self.folder.name) / f"{row.model}-{row.batch_size}-{row.size_px}.onnx"
            flags = [f"--model={row.model}", f"--batch-size={row.batch_size}", f"--size={row.size_px}"]
            command = [sys.executable, HERE / "pytorch_worker.py", f"--export={path}", *flags]
            ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if ran.returncode != 0:
                print(f"no {path.name}: {ran.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
            self.made[key] = path
        return self.made[key]


def ours(row, options):
    environment, _ = contestant.environments(options.threads, row.avx2_only)
    flags = [*flags_of(row, options), f"--precision={row.precision}"]
    return Contestant("tallow", [options.trainer, "bench", "--slices", *flags], environment)


def flags_of(row, options):
    flags = [f"--model={row.model}", f"--mode={row.mode}", f"--batch-size={row.batch_size}"]
    return flags + [f"--size={row.size_px}", f"--threads={options.threads}"]


def peers(row, options, exports):
    """All that may compete in a row, in every mode that may be its best. Only PyTorch gets another allocator."""
    _, environment = contestant.environments(options.threads, row.avx2_only)
    precisions = ["f32"] if row.precision == "f32" else ["bf16", "f32"]

    def peer(family, program, modes, how, note="", library=None):
        command = [*program, *flags_of(row, options), *modes]
        return Contestant(family, command, preloading(environment, library), how, note)

    for python in [sys.executable, *options.python] if "pytorch" in options.peers else []:
        program = [python, HERE / "pytorch_worker.py"]
        for precision, layout in itertools.product(precisions, ("channels_last", "NCHW")):
            modes = [f"--precision={precision}"] + ["--channels-last"] * (layout == "channels_last")
            for library in dict.fromkeys([options.preload, None]):
                name = Path(library or "").name.split(".")[0].removeprefix("lib").removesuffix("_minimal")
                note = f"with {name}" if name else ""
                yield peer(f"pytorch {python}", program, modes, f"{precision} {layout}", note, library)
    for runtime in ("onnxruntime", "openvino"):
        if runtime in options.peers and row.mode == "infer":
            file = exports.file(row, environment)
            program = [sys.executable, HERE / "onnx_worker.py", f"--runtime={runtime}", f"--onnx={file}"]
            many = runtime == "openvino"
            for precision in precisions if many else ["f32"]:
                for streams in sorted({1, options.threads}) if many else [1]:
                    modes = [f"--precision={precision}", f"--streams={streams}"]
                    how = precision + (f", {streams} streams" if streams > 1 else "")
                    yield peer(f"{runtime} {streams}", program, modes, how)
    if "burn" in options.peers and row.model == "cnn" and not row.avx2_only:
        yield peer("burn", [options.burn], ["--precision=f32"], "f32")
    if "keras" in options.peers and row.batch_size <= 256:  # a step of Keras is several batches
        for precision in precisions:
            program = [sys.executable, HERE / "keras_worker.py"]
            yield peer("keras", program, [f"--precision={precision}"], precision)


def turn(one, slice_secs, options):
    rate, peak = one.slice(slice_secs, options.timeout_secs)
    if peak is not None:
        one.peaks.append(peak)
    return rate


def heat(we, candidates, everyone, options, say):
    """Starts one candidate after the other, who join `everyone`, and keeps the best modes of each family. So the
    others take no memory, and the rounds spend no time on modes that cannot win."""
    staying = []
    for one in candidates:
        if not all(text in one.label() for text in options.only):
            continue
        everyone.append(one)
        try:
            one.start(options.timeout_secs)
            secs = options.slice_secs * HEAT_SLICE_SHARE
            pairs = [(turn(we, secs, options), turn(one, secs, options)) for _ in range(HEAT_SLICES)]
            one.heat_ratio = min(ours / theirs for ours, theirs in pairs)
        except Missing as reason:
            one.give_up(reason)
            say(f"{one.label()} is missing: {one.missing}")
            continue
        say(f"{one.label()}: {one.heat_ratio:.2f} in the heat")
        family = sorted((o for o in [*staying, one] if o.family == one.family), key=lambda o: o.heat_ratio)
        for i, other in enumerate(family):
            if i >= MODES_THAT_STAY or other.heat_ratio > family[0].heat_ratio * HEAT_MARGIN:
                other.stop()
        staying = [o for o in [*staying, one] if o.process is not None]
    return staying


def play(we, staying, options, say):
    """The rounds. Every second one goes backwards, lest anybody always come after the same other."""
    we.peaks.clear()
    for number in range(options.rounds):
        rates = {}
        for one in [we, *staying] if number % 2 == 0 else [*reversed(staying), we]:
            try:
                rates[one] = turn(one, options.slice_secs, options)
            except Missing as reason:
                if one is we:
                    raise
                one.give_up(reason)
        staying = [one for one in staying if one in rates]
        for one, rate in rates.items():
            one.rates.append(rate)
            one.ratios.append(rates[we] / rate)
        seen = ", ".join(f"{one.label()} {rate:,.0f}" for one, rate in rates.items())
        say(f"round {number + 1} of {options.rounds}: {seen}")


def compare(name, options, exports):
    """Measures one row, or as much of it as there is time for."""
    row, everyone = ROWS[name], []
    we = ours(row, options)

    def say(text):
        print(f"{name}: {text}", file=sys.stderr, flush=True)

    isa = None
    try:
        isa = we.start(options.timeout_secs)["isa"]
        staying = heat(we, peers(row, options, exports), everyone, options, say)
        play(we, staying, options, say)
    except Missing as reason:  # without ours there is nothing to compare with
        we.give_up(reason)
    except KeyboardInterrupt:
        say("stopped: what was measured counts")
        options.stopped = True
    finally:
        for one in [we, *everyone]:
            one.stop()
    compared = {"row": name, "threads": options.threads, "isa": isa, "peak_gflops": spread(we.peaks)}
    return compared | {"tallow": we.result(), "peers": [one.result() for one in everyone]}


def table(compared):
    """Markdown: of each row the best mode of each peer, the strongest peer first, whose ratio is the row's."""
    lines = ["| row | Tallow | peer | images/s | ratio | quartiles | peak, GFLOP/s |", "|" + " --- |" * 7]
    notes = []
    for row in compared:
        ours = row["tallow"]
        notes += [
            f"{row['row']}: {one['contestant']} is missing: {one['missing']}"
            for one in [ours, *row["peers"]]
            if one["missing"]
        ]
        best = {}
        for one in filter(lambda one: one["ratio"], row["peers"]):
            rival = best.get(one["family"])
            if rival is None or one["ratio"]["median"] < rival["ratio"]["median"]:
                best[one["family"]] = one
        how = ours["contestant"].removeprefix("Tallow ")
        first = [row["row"], f"{shown(ours['images_per_second'])} {how}"]
        peak = row["peak_gflops"]
        last = "{:.0f} ({:.0f} to {:.0f})".format(peak["median"], *peak["quartiles"]) if peak else "-"
        for one in sorted(best.values(), key=lambda one: one["ratio"]["median"]):
            ratio = one["ratio"]
            spread_of_it = "{:.2f} to {:.2f}".format(*ratio["quartiles"])
            cells = [one["contestant"], shown(one["images_per_second"]), f"{ratio['median']:.2f}", spread_of_it]
            lines.append("| " + " | ".join([*first, *cells, last]) + " |")
            first, last = ["", ""], ""
        if not best:
            lines.append("| " + " | ".join([*first, "-", "-", "-", "-", last]) + " |")
    return "\n".join(lines + [""] * bool(notes) + notes)


def shown(images_per_second):
    if images_per_second is None:
        return "-"
    return f"{images_per_second:,.0f}" if images_per_second >= 100 else f"{images_per_second:.1f}"


def processor():
    """As /proc/cpuinfo has it: names of rented machines tell little, family and model tell the kernels' kind."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return "unknown"
    found = dict(map(str.strip, line.split(":", 1)) for line in text.splitlines() if ":" in line)
    return "{} (family {}, model {})".format(*(found.get(k, "?") for k in ("model name", "cpu family", "model")))


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="all of them unless named")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--rounds", type=int, default=15, help="slices of each contestant (default: 15)")
    parser.add_argument("--slice-secs", type=float, default=1.0, help="of each slice, at least (default: 1)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contestant (default: 2)")
    parser.add_argument("--peers", nargs="+", choices=FAMILIES, default=FAMILIES)
    parser.add_argument("--only", nargs="+", default=[], metavar="TEXT", help="only modes whose names have all of this")
    parser.add_argument("--python", nargs="+", default=[], metavar="PATH", help="interpreters with another PyTorch")
    allocators = sorted(glob.glob("/usr/lib/*/libtcmalloc_minimal.so.4"))
    parser.add_argument("--preload", default=(allocators or [None])[0], metavar="LIBRARY",
                        help="an allocator that PyTorch is measured with too; '' for none (default: %(default)s)")
    parser.add_argument("--trainer", type=Path, default=TARGET / "release" / "trainer", help="(default: %(default)s)")
    parser.add_argument("--burn", type=Path, default=TARGET / "burn" / "release" / "burn-peer",
                        help="(default: %(default)s)")
    parser.add_argument("--timeout-secs", type=float, default=600.0, help="for one answer (default: 600)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    chosen = parser.parse_args()
    chosen.preload, chosen.stopped = chosen.preload or None, False
    unknown = [row for row in chosen.rows if row not in ROWS]
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}: expected some of {', '.join(ROWS)}")
    if chosen.rounds < 1 or chosen.threads < 1 or not chosen.slice_secs > 0:
        parser.error("--rounds, --threads and --slice-secs must be above 0")
    if not chosen.list and not chosen.trainer.is_file():
        parser.error(f"{chosen.trainer} is not there: cargo build --release -p trainer")
    return chosen


def main():
    chosen = options()
    if chosen.list:
        print("\n".join(ROWS))
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    exports, compared = Exports(), []
    for name in chosen.rows or ROWS:
        if not chosen.stopped:
            compared.append(compare(name, chosen, exports))
    if chosen.json:
        print(json.dumps({"processor": processor(), "rows": compared}, indent=2))
    else:
        print(f"{processor()}, {chosen.threads} threads\n\n{table(compared)}")


if __name__ == "__main__":
    main()
