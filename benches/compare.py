"""qwenc beside llama.cpp: the same weights, the same machine, in turn.

In: a built qwenc and the name of a shape. Out: the verdict on the answers; then, if it is good, a table of
speeds on standard output and all figures as JSON. Invariant: a ratio is of two measurements of one round,
since the machine's own speed changes from minute to minute.
"""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time

import checkpoint
import verdict
from variants import GOLDENS, VARIANTS, WIDER

ROOT = pathlib.Path(__file__).resolve().parent.parent
PEER = pathlib.Path(__file__).with_name("peer.py")
# Shapes that peer.py can write GGUF files of.
QWEN3 = [name for name, shape in checkpoint.SHAPES.items() if shape.family is checkpoint.QWEN3]
PREFILL, LONG, LONG_NEW, SHORT_PROMPT, BATCH = 512, 8192, 32, 16, 8


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], prog="compare.sh")
    parser.add_argument("--shape", choices=QWEN3, default="0.6b")
    parser.add_argument("--types", help="comma-separated names of variants.py [default: all]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--new", type=int, default=128, help="tokens to decode from an empty context")
    parser.add_argument("--long", action="store_true", help=f"also decode up to position {LONG}")
    parser.add_argument("--long-rounds", type=int, default=2)
    parser.add_argument("--no-peer", action="store_true", help="this side only")
    parser.add_argument("--ik", type=pathlib.Path, metavar="FOLDER", help="ik_llama.cpp's build/bin: measured too")
    args = parser.parse_args()
    names = [v.name for v in VARIANTS]
    wanted = args.types.split(",") if args.types else names
    for name in wanted:
        if name not in names:
            parser.error(f"--types {name}: expected some of {names}")
    if args.ik and not (args.ik / "llama-bench").exists():
        parser.error(f"--ik {args.ik}: no llama-bench there; build its target of that name")
    args.variants = [v for v in VARIANTS if v.name in wanted]
    return args


class Bench:
    """Folders, files and processes of one comparison."""

    def __init__(self, args):
        self.args = args
        self.folder = ROOT / "target" / "compare" / args.shape
        self.checkpoint = self.folder / "checkpoint"
        self.rows = checkpoint.SHAPES[args.shape].rows

    def build(self, model, flags, name):
        """Compiles a checkpoint folder."""
        output = self.folder / name
        command = [ROOT / "target/release/qwenc", "compile", model, "-o", output, *flags]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(str(c) for c in command)}\n{done.stderr}")
        return output

    def ours(self, executable, kv, *more):
        """One round of `bench`, after its own warm-up."""
        command = [executable, "bench", "--json", "--runs", "1", "--kv-type", kv, *more]
        command += ["--threads", str(self.args.threads)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)

    def our_first_token(self, executable, kv):
        """Milliseconds from the start of the process until its token is out."""
        ids = ",".join(str(t) for t in verdict.prompt(self.rows)[:SHORT_PROMPT])
        command = [executable, "generate", "--tokens", ids, "--max-tokens", "1", "--ignore-eos"]
        command += ["--print-tokens", "--kv-type", kv, "--threads", str(self.args.threads)]
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.read(1)
            passed = time.perf_counter() - start
            process.stdout.read()
        if process.returncode != 0:
            sys.exit(f"{' '.join(str(c) for c in command)}: exit status {process.returncode}")
        return passed * 1e3

    def gguf(self, kind):
        path = self.folder / f"{kind}.gguf"
        subprocess.run([sys.executable, PEER, "write", self.checkpoint, kind, path], check=True)
        return path

    def peer(self, kind, context):
        """The peer, or none if it is not wanted; to be used in `with`."""
        if self.args.no_peer:
            return contextlib.nullcontext()
        return Peer(self.gguf(kind), self.args.threads, context, self.rows)

    def ik(self, kind):
        """One round of ik_llama.cpp's own measurement, weights repacked when they are loaded."""
        command = [self.args.ik / "llama-bench", "-m", self.gguf(kind), "-fa", "1", "-rtr", "1", "-r", "1", "-o", "json"]
        command += ["-t", str(self.args.threads), "-p", str(PREFILL), "-n", str(self.args.new)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        # Lines of its own may stand before.
        tests = json.loads(done.stdout[done.stdout.index("[") :])
        rate = lambda wanted: next(t["avg_ts"] for t in tests if t[wanted] > 0)
        return {"prefill_tok_s": rate("n_prompt"), "decode_tok_s": rate("n_gen")}

    def peer_first_token(self, kind):
        ids = ",".join(str(t) for t in verdict.prompt(self.rows)[:SHORT_PROMPT])
        command = [sys.executable, PEER, "first", self.gguf(kind), str(self.args.threads), ids, str(self.rows)]
        return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)["ms"]


class Peer:
    """The peer with its model loaded, in a process of its own."""

    def __init__(self, path, threads, context, rows):
        command = [sys.executable, PEER, "serve", path, str(threads), str(context), str(rows)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.ask(prefill=16)

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"the peer ended with code {self.process.wait()}")
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()


def judge(bench):
    """The verdict, and an executable for each variant."""
    print(f"answers, {bench.args.shape}:", flush=True)
    found = verdict.Verdict()
    exact = bench.build(bench.checkpoint, ("--quant", "f32"), "f32")
    expected = verdict.logits(exact, verdict.prompt(bench.rows), "f32")
    exact.unlink()
    executables = {}
    for variant in bench.args.variants:
        verdict.goldens(found, variant, bench.build, ROOT / "models/tests/data/golden", GOLDENS)
        executable = bench.build(bench.checkpoint, variant.flags, variant.name)
        verdict.against_f32(found, variant, executable, bench.rows, expected, WIDER.get(bench.args.shape, 1))
        executables[variant.name] = executable
    return found, executables


def alternate(number, ours, peer):
    """Both, and in the other order in the next round."""
    if peer is None:
        return ours(), None
    if number % 2:
        theirs = peer()
        return ours(), theirs
    return ours(), peer()


def short_rounds(bench, variant, executable):
    """Prefill, decode from an empty context, first token."""
    args, rounds = bench.args, []
    flags = ["--prompt", str(PREFILL), "--new", str(args.new), "--batch", str(BATCH)]
    new = {"decode": args.new, "from": 1}
    with bench.peer(variant.peer, PREFILL + args.new) as peer:
        for number in range(args.rounds):
            ask = peer and (lambda: (peer.ask(prefill=PREFILL), peer.ask(**new)))
            ik_first = bench.ik(variant.peer) if args.ik and number % 2 else None
            ours, theirs = alternate(number, lambda: bench.ours(executable, variant.kv, *flags), ask)
            first = peer and (lambda: bench.peer_first_token(variant.peer))
            our_ms, their_ms = alternate(number, lambda: bench.our_first_token(executable, variant.kv), first)
            round_ = {"qwenc": ours | {"first_token_process_ms": our_ms}}
            if peer:
                prefill, decode = theirs
                round_["peer"] = {
                    "prefill_tok_s": prefill["tok_s"],
                    "decode_tok_s": decode["tok_s"],
                    "peak_memory_mb": decode["peak_mb"],
                    "first_token_process_ms": their_ms,
                }
            if args.ik:
                round_["ik"] = ik_first or bench.ik(variant.peer)
            rounds.append(round_)
    return rounds


def long_rounds(bench, variant, executable):
    """Decode up to a long context."""
    args, rounds = bench.args, []
    if not args.long:
        return rounds
    flags = ["--prompt", str(SHORT_PROMPT), "--new", str(LONG_NEW), "--context", str(LONG)]
    new = {"decode": LONG_NEW, "from": LONG - LONG_NEW}
    with bench.peer(variant.peer, LONG) as peer:
        for number in range(args.long_rounds):
            ask = peer and (lambda: peer.ask(**new))
            ours, theirs = alternate(number, lambda: bench.ours(executable, variant.kv, *flags), ask)
            round_ = {"qwenc": {"decode_long_tok_s": ours["decode_tok_s"]}}
            if peer:
                round_["peer"] = {"decode_long_tok_s": theirs["tok_s"]}
            rounds.append(round_)
    return rounds


def spread(values, form):
    median = format(statistics.median(values), form)
    return f"{median} ({format(min(values), form)}, {format(max(values), form)})"


def row(name, what, key, rounds, target, form=".1f", less_is_better=False):
    """One line of the table: medians, and the rounds' ratios."""
    ours = [r["qwenc"][key] for r in rounds]
    cells = [name, what, spread(ours, form), "–", "–", "–"]
    if "peer" in rounds[0]:
        theirs = [r["peer"][key] for r in rounds]
        ratios = [t / o if less_is_better else o / t for o, t in zip(ours, theirs)]
        met = "met" if statistics.median(ratios) >= target else "missed"
        cells[3:] = [spread(theirs, form), spread(ratios, ".2f"), f"{target:g}: {met}"]
    return cells


def ik_row(name, what, key, rounds):
    """The same beside ik_llama.cpp, for which there is no target."""
    ours, theirs = ([r[side][key] for r in rounds] for side in ("qwenc", "ik"))
    ratios = [o / t for o, t in zip(ours, theirs)]
    return [name, f"{what}, beside ik_llama.cpp", spread(ours, ".1f"), spread(theirs, ".1f"), spread(ratios, ".2f"), "–"]


def share_row(name, rounds, target):
    shares = [r["qwenc"]["bandwidth_share"] for r in rounds]
    met = "met" if statistics.median(shares) >= target else "missed"
    return [name, "decode, share of read bandwidth", spread(shares, ".0%"), "–", "–", f"{target:.0%}: {met}"]


def memory_row(name, rounds):
    cells = [name, "peak memory, MB", f"{max(r['qwenc']['peak_memory_mb'] for r in rounds):.0f}", "–", "–", "–"]
    if "peer" in rounds[0]:
        cells[3] = f"{max(r['peer']['peak_memory_mb'] for r in rounds):.0f}"
    return cells


def plain_row(name, what, key, rounds, form):
    return [name, what, spread([r["qwenc"][key] for r in rounds], form), "–", "–", "–"]


def predicted_row(name, what, rounds):
    """The compiler's word, the same in every round."""
    rate = rounds[0]["qwenc"][f"predicted_{what}_tok_s"]
    return [name, f"{what} predicted, tok/s", f"{rate:.1f}", "–", "–", "–"]


def rows(variant, short, long):
    """All lines of a variant."""
    name = variant.name
    yield row(name, f"prefill {PREFILL}, tok/s", "prefill_tok_s", short, variant.prefill)
    if "ik" in short[0]:
        yield ik_row(name, f"prefill {PREFILL}, tok/s", "prefill_tok_s", short)
    yield plain_row(name, "prefill, share of peak products", "peak_share", short, ".0%")
    yield predicted_row(name, "prefill", short)
    yield row(name, "decode, tok/s", "decode_tok_s", short, variant.decode)
    if "ik" in short[0]:
        yield ik_row(name, "decode, tok/s", "decode_tok_s", short)
    yield share_row(name, short, variant.share)
    yield predicted_row(name, "decode", short)
    yield plain_row(name, f"decode of {BATCH} sequences, tok/s", "batch_decode_tok_s", short, ".1f")
    yield plain_row(name, "read bandwidth, GB/s", "read_bandwidth_gb_s", short, ".1f")
    if long:
        yield row(name, f"decode at {LONG}, tok/s", "decode_long_tok_s", long, variant.decode_long)
    what = f"first token of {SHORT_PROMPT}, process, ms"
    yield row(name, what, "first_token_process_ms", short, variant.first_token, less_is_better=True)
    yield memory_row(name, short)


def print_table(lines):
    print("\n| type | | qwenc | peer | ratio of a round: median (min, max) | target |")
    print("|---|---|---|---|---|---|")
    for cells in lines:
        print("| " + " | ".join(cells) + " |")


def machine(threads):
    info = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    model = next((l.split(":")[1].strip() for l in info if l.startswith("model name")), platform.processor())
    return {"cpu": model, "threads": threads, "system": platform.platform()}


def main():
    args = arguments()
    bench = Bench(args)
    bench.folder.mkdir(parents=True, exist_ok=True)
    if not (bench.checkpoint / "model.safetensors").exists():
        checkpoint.write(args.shape, bench.checkpoint)
    found, executables = judge(bench)
    result = {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "shape": args.shape,
        "machine": machine(args.threads),
        "checks": found.checks,
        "variants": {},
    }
    lines = []
    if found.passed:
        for variant in args.variants:
            print(f"measuring {variant.name}", file=sys.stderr, flush=True)
            short = short_rounds(bench, variant, executables[variant.name])
            long = long_rounds(bench, variant, executables[variant.name])
            result["variants"][variant.name] = {"rounds": short, "long_rounds": long}
            lines.extend(rows(variant, short, long))
    path = bench.folder / "result.json"
    path.write_text(json.dumps(result, indent=1))
    if not found.passed:
        sys.exit("the answers are wrong: no speeds are shown")
    print_table(lines)
    print(f"\nall figures: {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
