#!/usr/bin/env python3
"""Measures `trainer serve` and its peer (serve_peer.py) under the same load on loopback, one after the other.

    python benches/peers/serve_compare.py --trainer target/release/trainer --run runs/cnn-1 --onnx cnn.onnx --picture cat.png

The load comes from `wrk` (Debian package: wrk). Each of its connections posts the picture again as soon as it has the answer;
--connections sets their number. The peer runs in several modes, of which the best counts. Before the load, each server answers
the picture once; these answers must agree.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

PORT = 8765
# The peer's modes: number of processes, threads of each, and whether requests run in a pool of threads.
MODES = {
    "2 processes, 1 thread each": ["--workers", "2", "--threads", "1"],
    "1 process, 2 threads": ["--workers", "1", "--threads", "2"],
    "1 process, 1 thread, a pool": ["--workers", "1", "--threads", "1", "--pool"],
    "2 processes, 1 thread each, pools": ["--workers", "2", "--threads", "1", "--pool"],
}
LOAD = """
local file = io.open("{picture}", "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/octet-stream"
"""
UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


def ask(picture):
    headers = {"Content-Type": "application/octet-stream"}
    request = urllib.request.Request(f"http://127.0.0.1:{PORT}/predict", picture, headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)["pictures"][0]["predictions"]


def wait_for(picture, process):
    for _ in range(1200):
        try:
            return ask(picture)
        except OSError:
            assert process.poll() is None, "the server ended"
            time.sleep(0.05)
    raise SystemExit("the server does not answer")


def load(script, connections, seconds):
    """Returns the requests per second, and the median and the 99th percentile of their times in ms."""
    address = f"http://127.0.0.1:{PORT}/predict"
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "30s", "-s", script, address]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in said and "Socket errors" not in said, said
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])
    quantile = {
        of: float(value) * UNITS_MS[unit]
        for of, value, unit in re.findall(r"^\s+(50|99)%\s+([\d.]+)(us|ms|s)", said, re.MULTILINE)
    }
    return rate, quantile["50"], quantile["99"]


def measured(command, picture, script, options):
    """Starts a server and measures it. Returns its answer, and the figures of `load` for each number of connections."""
    process = subprocess.Popen(command)
    try:
        answer = wait_for(picture, process)
        load(script, options.connections[0], 2)
        return answer, [load(script, n, options.seconds) for n in options.connections]
    finally:
        process.terminate()
        process.wait(timeout=30)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainer", required=True)
    parser.add_argument("--run", required=True, help="a run folder")
    parser.add_argument("--onnx", required=True, help="the same model, by serve_peer.py export")
    parser.add_argument("--picture", required=True)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--modes", type=int, nargs="*", default=list(range(len(MODES))), help="of the peer, from 0")
    options = parser.parse_args()
    with open(options.picture, "rb") as file:
        picture = file.read()
    peer = os.path.join(os.path.dirname(os.path.abspath(__file__)), "serve_peer.py")
    ours = [options.trainer, "serve", options.run, "--port", str(PORT), "--nearest", "0", "--quiet"]
    rows = {"Tallow": ours}
    for i in options.modes:
        mode = list(MODES)[i]
        rows[mode] = [sys.executable, peer, "serve", options.onnx, "--port", str(PORT), *MODES[mode]]
    figures = {name: [] for name in rows}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(LOAD.format(picture=os.path.abspath(options.picture)))
        script.flush()
        answers = {}
        for _ in range(options.rounds):
            for name, command in rows.items():
                answers[name], found = measured(command, picture, script.name, options)
                figures[name].append(found)
    for name, answer in answers.items():
        first, expected = answer[0], answers["Tallow"][0]
        off = abs(first["probability"] - expected["probability"])
        print(f"{name}: {first['class']} {first['probability']:.4f}")
        assert first["class"] == expected["class"] and off < 0.05, "the models differ"
    for at, n in enumerate(options.connections):
        print(f"\n{n} connections: requests/s, p50 ms, p99 ms (medians of {options.rounds})")
        for name, rounds in figures.items():
            rate, p50, p99 = (statistics.median(found[at][i] for found in rounds) for i in range(3))
            print(f"  {name:36} {rate:8.1f} {p50:8.2f} {p99:8.2f}")


if __name__ == "__main__":
    main()
