"""A contestant of compare.py: a worker's process, which is kept alive and works when it is told to. timing.py has what
the two say to each other."""

import json
import os
import select
import subprocess
import tempfile
import time
from statistics import median, quantiles


# Threads that still spin after one slice shall not disturb the next.
PAUSE_SECS = 0.05


class Missing(Exception):
    """Why a contestant cannot be measured."""


class Contestant:
    """`name`, `how` and `note` are what a table calls it; the worker knows the first two better once it runs. Of one
    `family` the best mode counts."""

    def __init__(self, family, command, environment, how="", note=""):
        self.family = family
        self.command = [str(word) for word in command]
        self.environment = environment
        self.name, self.how, self.note = family, how, note
        self.missing = None
        self.heat_ratio = None  # ours to theirs before the rounds
        self.rates, self.ratios, self.peaks = [], [], []
        self.process, self.log, self.buffer = None, None, b""

    def label(self):
        return " ".join(filter(None, (self.name, self.how, self.note)))

    def start(self, timeout_secs):
        """Returns what the worker says when it is warm."""
        self.log = tempfile.TemporaryFile()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.log}
        try:
            # in a session of its own: Ctrl-C is for compare.py, which ends its workers
            self.process = subprocess.Popen(
                self.command, env=self.environment, bufsize=0, start_new_session=True, **pipes
            )
        except OSError as error:
            raise Missing(str(error)) from error
        ready = self.answer(timeout_secs)
        self.name, self.how = ready["name"], ready["how"]
        return ready

    def slice(self, secs, timeout_secs):
        """Images per second of one slice, and what the processor could do at that moment where the worker says it."""
        time.sleep(PAUSE_SECS)
        try:
            self.process.stdin.write(f"{secs}\n".encode())
        except OSError as error:
            raise Missing(self.last_words()) from error
        answer = self.answer(secs + timeout_secs)
        return answer["images_per_second"], answer.get("peak_gflops")

    def answer(self, timeout_secs):
        """The next line of JSON; what else a library prints is passed over."""
        deadline = time.monotonic() + timeout_secs
        while True:
            while b"\n" not in self.buffer:
                left = max(0.0, deadline - time.monotonic())
                if not select.select([self.process.stdout], [], [], left)[0]:
                    raise Missing(f"no answer within {timeout_secs:.0f} s")
                read = self.process.stdout.read(1 << 16)
                if not read:
                    raise Missing(self.last_words())
                self.buffer += read
            line, _, self.buffer = self.buffer.partition(b"\n")
            if line.startswith(b"{"):
                return json.loads(line)

    def last_words(self):
        status = self.process.wait()
        self.log.seek(0)
        said = self.log.read().decode(errors="replace").strip()
        return said.splitlines()[-1] if said else f"exit status {status}"

    def stop(self):
        """Ends the worker; what was measured stays."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None

    def give_up(self, reason):
        self.missing = str(reason)
        self.stop()

    def result(self):
        return {
            "family": self.family,
            "contestant": self.label(),
            "images_per_second": median(self.rates) if self.rates else None,
            "ratio": spread(self.ratios),
            "ratio_in_the_heat": self.heat_ratio,
            "rates": self.rates,
            "ratios": self.ratios,
            "missing": self.missing,
        }


def spread(samples):
    """The median with its quartiles, or None."""
    if not samples:
        return None
    low, middle, high = quantiles(samples, n=4, method="inclusive") if len(samples) > 1 else samples * 3
    return {"median": middle, "quartiles": [low, high], "n": len(samples)}


def preloading(environment, library):
    """The environment with an allocator in front of glibc's, or without any."""
    changed = {name: value for name, value in environment.items() if name != "LD_PRELOAD"}
    return changed | ({"LD_PRELOAD": str(library)} if library else {})


def environments(threads, avx2_only):
    """Ours and that of the peers. Variables of the caller's that choose kernels or allocators count for nobody."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("LD_PRELOAD", "TALLOW_", "ONEDNN_", "ATEN_"))}
    ours, peers = dict(kept), kept | {"OMP_NUM_THREADS": str(threads)}
    if avx2_only:
        ours["TALLOW_ISA"] = "avx2"
        peers |= {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}
    return ours, peers
