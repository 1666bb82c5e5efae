"""Runs what `gpu-check.sh pack` made on a machine with a GPU.

In: DIR with check.tar.xz. Out: a line for each thing that was looked at, totals, DIR/results.json. Invariant: whether
there is a GPU is what an executable says: it is the one that needs it.
"""

import argparse
import datetime
import json
import pathlib
import shutil
import signal
import sys
import tarfile
import tempfile

import answers
import cases
import ncu
import report
import sanitizer
import speed

# In this order: speed says nothing where answers are wrong, ncu explains speed, and the sanitizer is the slowest.
PARTS = {"answers": answers, "speed": speed, "ncu": ncu, "sanitizer": sanitizer}
# Of the time that is left when they begin, unless they are the last.
SHARES = {"answers": 0.4, "speed": 0.8, "ncu": 0.5, "sanitizer": 1.0}
WRONG, SLOW, SKIPPED = 1, 3, 77


def arguments():
    parser = argparse.ArgumentParser(prog="gpu-check.sh run", usage="see gpu-check.sh --help", add_help=False)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--no-sanitizer", action="store_true")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--device", type=int)
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--contexts", default=",".join(str(context) for context in cases.TARGET_CONTEXTS))
    parser.add_argument("--models", default=None)
    parser.add_argument("--shapes", default=None)
    parser.add_argument("--peer", default="capture")
    parser.add_argument("--new", type=int, default=64)
    args = parser.parse_args()
    args.parts = args.only.split(",")
    for part in args.parts:
        if part not in PARTS:
            parser.error(f"--only {part}: expected some of {', '.join(PARTS)}")
    if args.no_sanitizer:
        args.parts = [part for part in args.parts if part != "sanitizer"]
    if args.jobs < 1 or args.minutes <= 0 or args.new < 1:
        parser.error("--jobs, --minutes and --new: expected more than 0")
    contexts = {str(context): context for context, _ in cases.CONTEXTS}
    if not set(args.contexts.split(",")) <= set(contexts):
        parser.error(f"--contexts {args.contexts}: expected some of {', '.join(contexts)}")
    args.contexts = [contexts[word] for word in args.contexts.split(",")]
    if args.peer not in cases.PEERS:
        parser.error(f"--peer {args.peer}: expected one of {', '.join(cases.PEERS)}")
    args.archive = args.dir / "check.tar.xz"
    if not args.archive.is_file():
        parser.error(f"{args.archive}: no such file; make it with `scripts/gpu-check.sh pack {args.dir}`")
    args.results = args.results or args.dir / "results.json"
    return args


class Check:
    """What the parts need."""

    def __init__(self, args, folder):
        with tarfile.open(args.archive, "r:xz") as tar:
            # Python below 3.12 knows no filters; the archive is our own.
            tar.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        self.folder, self.jobs, self.results = folder, args.jobs, args.results
        self.contexts, self.new, self.peer = args.contexts, args.new, args.peer
        self.device = [] if args.device is None else ["--device", str(args.device)]
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.choose("models", "model", args.models, ())
        self.choose("shapes", "shape", args.shapes, cases.TARGET_SHAPES)
        for shape in self.manifest["shapes"]:
            restore_image(folder, shape)
        self.report = report.Report(args.minutes)

    def choose(self, what, key, wanted, usual):
        """Leaves what was asked for of what was packed; the usual ones or, where they were not packed, all if nothing was."""
        packed = self.manifest[what]
        names = {entry[key]: None for entry in packed}
        if wanted is None:
            wanted = [name for name in usual if name in names] or list(names)
        else:
            wanted = [] if wanted == "none" else wanted.split(",")
            for name in wanted:
                if name not in names:
                    packed_ones = ", ".join([*names, "none"])
                    print(f"gpu-check: --{what} {name}: expected some of {packed_ones}, as packed", file=sys.stderr)
                    sys.exit(2)
        self.manifest[what] = [entry for entry in packed if entry[key] in wanted]

    def machine(self):
        """What an executable says of the devices."""
        some = self.manifest["models"] + self.manifest["shapes"]
        if not some:
            sys.exit("gpu-check: nothing was packed")
        return json.loads(report.run([self.folder / some[0]["name"], "info", "--json"], 60))["cuda"]


def restore_image(folder, shape):
    """The image with a hole for its weights: bench makes some up, but reads what is said of the model."""
    with open(folder / f"{shape['name']}.weights", "wb") as image:
        tail = (folder / f"{shape['name']}.tail").read_bytes()
        image.seek(shape["image_bytes"] - len(tail))
        image.write(tail)


def results(args, check, machine):
    """With those of other parts that are in the file already."""
    facts = {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "devices": machine["devices"],
        "packed_by": check.manifest["qwenc"],
        "sm": check.manifest["sm"],
    }
    parts = {}
    if args.results.exists():
        parts = json.loads(args.results.read_text()).get("parts", {})
    parts.update(check.report.lines)
    return {**facts, "parts": parts}


def main():
    args = arguments()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="gpu-check-"))
    try:
        return run(args, folder)
    finally:
        shutil.rmtree(folder)


def run(args, folder):
    check = Check(args, folder)
    try:
        machine = check.machine()
    except (report.Failed, TimeoutError, ValueError) as failure:
        print(f"FAIL  an executable does not say what there is: {failure}")
        return 1
    if not machine["devices"]:
        print(f"skipped: no CUDA device ({machine['problem']})")
        return SKIPPED
    for device in machine["devices"]:
        print(f"device {device['number']}: {device['name']}, sm_{device['sm']}, {device['memory_bytes'] / 1e9:.1f} GB")
    # After every line: what was measured stays, whatever ends the check.
    check.report.written = lambda: report.write(args.results, results(args, check, machine))
    for part in args.parts:
        # What is slow must not take the time of what comes after it.
        last = part == args.parts[-1]
        check.report.begin(part, 1.0 if last else SHARES[part])
        if not check.report.out_of_time(f"all of {part}"):
            PARTS[part].check(check)
        if part == "answers" and check.report.all_failed(part):
            print("\nevery answer is wrong: nothing else is looked at")
            break
    print(f"\n{check.report.totals()}; all figures: {args.results}")
    if check.report.count(report.FAIL):
        return WRONG
    return SLOW if check.report.count(report.MISS) else 0


if __name__ == "__main__":
    # Temporary folders go also when it is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main())
