"""The lines of a check, its totals, and the time that is left.

In: what happened. Out: a line each, and figures for the results. Invariant: nothing is left out in silence: what was not
done has a line with its reason; and what was cut short by the clock did not fail.
"""

import glob
import json
import shutil
import subprocess
import threading
import time

# A target that is missed is no fault.
PASS, FAIL, MISS, SKIP = "pass", "FAIL", "miss", "skip"
# The last seconds are for ending.
SPARE = 5
OVER = "the time of --minutes is over"


class Failed(Exception):
    """A program that did not do its work, with its words."""


class OutOfTime(Failed):
    """A program that was ended because the check's own time was over."""


class Report:
    def __init__(self, minutes):
        self.end = self.part_end = time.monotonic() + 60 * minutes - SPARE
        self.lines = {}
        self.part = None
        self.lock = threading.Lock()
        # Called after every line.
        self.written = lambda: None

    def begin(self, part, share):
        """`share` of the time that is left."""
        self.part, now = part, time.monotonic()
        self.part_end = now + share * (self.end - now)
        self.lines[part] = []
        print(f"\n{part}", flush=True)

    def line(self, verdict, what, **figures):
        with self.lock:
            self.lines[self.part].append({"verdict": verdict, "what": what, **figures})
            print(f"  {verdict}  {what}", flush=True)
            self.written()

    def judge(self, passed, what, **figures):
        self.line(PASS if passed else FAIL, what, **figures)

    def failed(self, what, failure):
        if isinstance(failure, OutOfTime):
            self.line(SKIP, f"{what}: {OVER}")
        else:
            self.line(FAIL, f"{what}: {failure}")

    def out_of_time(self, what):
        """Says so of `what`, if it is so."""
        if time.monotonic() < self.part_end:
            return False
        self.line(SKIP, f"{what}: {OVER}")
        return True

    def run(self, command, patience):
        """Standard output of a program that ends in time."""
        left = self.part_end - time.monotonic()
        try:
            return run(command, min(patience, max(left, 0.1)))
        except TimeoutError:
            if patience > left:
                raise OutOfTime(OVER) from None
            raise Failed(f"not done after {patience} s") from None

    def count(self, verdict):
        return sum(line["verdict"] == verdict for lines in self.lines.values() for line in lines)

    def all_failed(self, part):
        """Whether lines of a part failed and none passed."""
        verdicts = {line["verdict"] for line in self.lines[part]}
        return FAIL in verdicts and PASS not in verdicts

    def totals(self):
        missed = f", {self.count(MISS)} targets missed" if self.count(MISS) else ""
        return f"{self.count(PASS)} passed, {self.count(FAIL)} failed, {self.count(SKIP)} skipped{missed}"


def find(program):
    """Path of a program of CUDA's toolkit; None if it is not installed."""
    places = sorted(glob.glob(f"/usr/local/cuda*/bin/{program}"), reverse=True)
    return shutil.which(program) or next(iter(places), None)


def run(command, seconds):
    """Standard output; Failed, or TimeoutError."""
    command = [str(word) for word in command]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    except OSError as error:
        raise Failed(f"cannot start {command[0]}: {error.strerror}") from None
    if done.returncode != 0:
        said = " ".join((done.stderr.strip() or done.stdout.strip())[-600:].split())
        raise Failed(f"exit {done.returncode}: {said}")
    return done.stdout


def write(path, results):
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(path)
