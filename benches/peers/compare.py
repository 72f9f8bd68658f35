#!/usr/bin/env python3
"""Compares `trainer bench` with PyTorch and Keras: the same networks, in turn, one process per measurement.

    compare.py                         every row
    compare.py cnn-train-bf16 …        these rows
    compare.py --list                  what rows there are

README.md says how to install the peers and how to read a ratio. What cannot be measured, such as a network that
`trainer bench` does not know, is said to be missing, with the reason; the other measurements go on.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent
TRAINER = HERE.parents[1] / "target" / "release" / "trainer"


@dataclass(frozen=True)
class Row:
    """One network at one size in one precision."""

    model: str
    mode: str
    precision: str
    batch_size: int
    size_px: int
    avx2_only: bool = False


ROWS = {
    "cnn-train-bf16": Row("cnn", "train", "bf16", 128, 32),
    "cnn-train-f32": Row("cnn", "train", "f32", 128, 32),
    "cnn-train-f32-avx2": Row("cnn", "train", "f32", 128, 32, avx2_only=True),
    "cnn-infer-bf16": Row("cnn", "infer", "bf16", 128, 32),
    "cnn-infer-f32": Row("cnn", "infer", "f32", 128, 32),
    "speedrun-train-bf16-256": Row("speedrun", "train", "bf16", 256, 32),
    "speedrun-train-bf16-2000": Row("speedrun", "train", "bf16", 2000, 32),
    "speedrun-train-f32-256": Row("speedrun", "train", "f32", 256, 32),
    "resnet50-infer-bf16-64px": Row("resnet50", "infer", "bf16", 64, 64),
    "resnet50-infer-bf16-128px": Row("resnet50", "infer", "bf16", 16, 128),
    "resnet50-infer-bf16-224px": Row("resnet50", "infer", "bf16", 16, 224),
}


@dataclass
class Contestant:
    """Something that can be measured, and what came out: images per second, one number per round."""

    name: str
    peer: str
    command: list[str]
    environment: dict[str, str]
    samples: list[float] = field(default_factory=list)
    missing: str | None = None

    def measure(self, timeout_secs):
        """Runs the command, whose output is one JSON object with `images_per_second`."""
        try:
            ran = subprocess.run(
                self.command, env=self.environment, capture_output=True, text=True, timeout=timeout_secs
            )
            if ran.returncode == 0:
                self.samples.append(json.loads(ran.stdout)["images_per_second"])
            else:
                self.missing = (ran.stderr.strip() or f"exit status {ran.returncode}").splitlines()[-1]
        except (OSError, subprocess.TimeoutExpired, json.JSONDecodeError, KeyError) as error:
            self.missing = str(error)

    def result(self):
        return {
            "name": self.name,
            "images_per_second": median(self.samples) if self.samples else None,
            "samples": self.samples,
            "missing": self.missing,
        }


def contestants(row, options):
    """Ours first. Only PyTorch and Keras get what the caller preloads, such as another allocator."""
    flags = [f"--model={row.model}", f"--mode={row.mode}", f"--precision={row.precision}"]
    flags += [f"--batch-size={row.batch_size}", f"--size={row.size_px}", f"--threads={options.threads}"]
    peers = dict(os.environ, OMP_NUM_THREADS=str(options.threads))
    ours = {name: value for name, value in os.environ.items() if name not in ("LD_PRELOAD", "TALLOW_ISA")}
    if row.avx2_only:
        peers["ONEDNN_MAX_CPU_ISA"] = "AVX2"
        ours["TALLOW_ISA"] = "avx2"
    python, torch, keras = sys.executable, str(HERE / "pytorch_worker.py"), str(HERE / "keras_worker.py")
    return [
        Contestant("tallow", "tallow", [str(options.trainer), "bench", "--json", *flags], ours),
        Contestant("PyTorch", "pytorch", [python, torch, *flags], peers),
        Contestant("PyTorch channels_last", "pytorch", [python, torch, "--channels-last", *flags], peers),
        Contestant("Keras", "keras", [python, keras, *flags], peers),
    ]


def compare(name, options):
    """Measures one row: every contestant once per round, so that what disturbs the machine disturbs all of them."""
    row = ROWS[name]
    everyone = [one for one in contestants(row, options) if one.peer in ("tallow", *options.peers)]
    ours = everyone[0]
    for number in range(options.rounds):
        for one in everyone:
            if one.missing is None and ours.missing is None:  # without ours there is nothing to compare with
                print(f"{name}: round {number + 1} of {options.rounds}, {one.name}", file=sys.stderr)
                one.measure(options.timeout_secs)
    results = [one.result() for one in everyone]
    rate = results[0]["images_per_second"]
    compared = {"row": name, "threads": options.threads, "contestants": results}
    for peer in options.peers:
        theirs = [r["images_per_second"] for one, r in zip(everyone, results) if one.peer == peer and one.samples]
        compared[f"ratio_to_{peer}"] = rate / max(theirs) if rate and theirs else None
    return compared


def table(compared, peers):
    """The rows as text; the ratio is ours to the best mode of each peer."""
    lines = [f"{'row':<26} {'tallow':>9}  " + "  ".join(f"{peer:>32} {'ratio':>6}" for peer in peers)]
    notes = []
    for row in compared:
        everyone = row["contestants"]
        notes += [f"{row['row']}: {one['name']} is missing: {one['missing']}" for one in everyone if one["missing"]]
        line = f"{row['row']:<26} {shown(everyone[0]['images_per_second']):>9}"
        for peer in peers:
            of_peer = [one for one in everyone[1:] if one["name"].lower().startswith(peer)]
            best = max(of_peer, key=lambda one: one["images_per_second"] or 0.0)
            seen = f"{best['name']} {shown(best['images_per_second'])}" if best["images_per_second"] else "-"
            ratio = row[f"ratio_to_{peer}"]
            line += f"  {seen:>32} {'-' if ratio is None else format(ratio, '.2f'):>6}"
        lines.append(line)
    return "\n".join(lines + [""] * bool(notes) + notes)


def shown(images_per_second):
    return "-" if images_per_second is None else f"{images_per_second:,.1f}"


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="all of them unless named")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contestant (default: 5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of each contestant (default: 2)")
    parser.add_argument("--peers", nargs="+", choices=["pytorch", "keras"], default=["pytorch", "keras"])
    parser.add_argument("--trainer", type=Path, default=TRAINER, help="the binary (default: the release build)")
    parser.add_argument("--timeout-secs", type=float, default=600.0, help="for one measurement (default: 600)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    chosen = parser.parse_args()
    unknown = [row for row in chosen.rows if row not in ROWS]
    if unknown:
        parser.error(f"there is no row {', '.join(unknown)}: expected some of {', '.join(ROWS)}")
    if chosen.rounds < 1 or chosen.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    if not chosen.list and not chosen.trainer.is_file():
        parser.error(f"{chosen.trainer} is not there: cargo build --release -p trainer")
    return chosen


def main():
    chosen = options()
    if chosen.list:
        print("\n".join(ROWS))
        return
    compared = [compare(name, chosen) for name in chosen.rows or ROWS]
    print(json.dumps(compared, indent=2) if chosen.json else table(compared, chosen.peers))


if __name__ == "__main__":
    main()
