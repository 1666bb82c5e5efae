"""How fast the executables are, beside the device's own speed and the targets.

In: executables of large shapes, whose weights they make up on the device. Out: a line for each measurement, a table, a
line for each target. Each figure stands beside what the device did in the same call: a share of the bandwidth of
copies, or of a large matrix product of PyTorch. One executable at a time runs.
"""

import json
import pathlib
import sys

import cases
from report import MISS, PASS, Failed

HERE = pathlib.Path(__file__).resolve().parent
# Seconds: the largest model, and a compilation by PyTorch.
PATIENCE, PEER_PATIENCE = 120, 240
ROUNDS = 3
# Targets in tokens per second of 0.6B in bf16, for each `--decode`; and the one beyond.
TOK_S, STRETCH = {"graph": 1650, "persistent": 1850}, 2500
SHARE, INT8, PREFILL, PEER = 0.88, 1.6, 0.5, 3.0
# Microseconds of a token of Llama-3.2-1B in bf16: Hazy Research published 759.8 for its megakernel on an H200.
TOKEN_US = 760


class Speed:
    def __init__(self, check):
        self.check, self.report = check, check.report
        self.found = {}
        self.product = self.peer = None

    def bench(self, entry, context, prompt, decode):
        """Decode up to `context`, with prefill of `prompt` tokens."""
        new = min(self.check.new, context - 1)
        what = f"{entry['name']}, decode {decode} to {context}"
        if self.report.out_of_time(what):
            return
        command = [self.check.folder / entry["name"], "bench", "--synthetic-weights", "--json", "--runs", ROUNDS]
        command += ["--context", context, "--new", new, "--prompt", prompt, "--chunk", max(prompt, 512)]
        command += ["--kv-type", "bf16", "--decode", decode, *self.check.device]
        profile = decode == cases.DECODES[0] and context == cases.TARGET_CONTEXTS[0]
        command += ["--profile"] * profile
        try:
            found = json.loads(self.report.run(command, PATIENCE))
        except (Failed, ValueError) as failure:
            self.report.failed(what, failure)
            return
        found["prefill_tflops"] = 2 * entry["multiply_adds"] * found["prefill_tok_s"] / 1e12
        self.found[entry["shape"], entry["type"], context, decode] = found
        said = [f"{found['decode_tok_s']:.1f} tok/s", f"{found['weights_gb_s']:.0f} GB/s of weights"]
        said += [f"{found['bandwidth_share']:.1%} of {found['read_bandwidth_gb_s']:.0f} GB/s"]
        if decode == cases.DECODES[0]:
            said += [f"prompt of {prompt}: {found['prefill_tok_s']:.0f} tok/s, {found['prefill_tflops']:.1f} TFLOP/s"]
        self.report.line("pass", f"{what}: {', '.join(said)}", bench=found)
        if profile:
            self.profile(entry["name"], found)

    def profile(self, name, found):
        """Lines for the kernels of a token and the limits of the device."""
        kernels = [f"{k['kernel']} {k['us'] / k['launches']:.2f} us x {k['launches']}" for k in found["kernels"]]
        self.report.line("pass", f"{name}, launched one by one: {', '.join(kernels)}")
        probes = found["probes"]
        said = f"reads {probes['reading_gb_s']:.0f} GB/s, an empty kernel in a recorded step takes {probes['launch_us']:.2f} us"
        self.report.line("pass", f"{name}, the device by itself: {said}, a barrier of all blocks {probes['barrier_us']:.2f} us")

    def shape(self, entry):
        contexts = list(cases.contexts_of(entry["shape"], self.check.contexts))
        if not contexts:
            self.report.line("skip", f"{entry['name']}: measured at context {cases.CONTEXTS[0][0]} alone, not in --contexts")
        for context, prompt in contexts:
            self.bench(entry, context, prompt, "graph")
            # Of prompts everything is known by now.
            self.bench(entry, context, 16, "persistent")

    def script(self, name, what, *rest):
        """A Python script beside this one; none, with a line, where it has not what it needs."""
        if self.report.out_of_time(what):
            return None
        command = [sys.executable, HERE / name, (self.check.device or ["", "0"])[1], *rest]
        try:
            found = json.loads(self.report.run(command, PEER_PATIENCE).splitlines()[-1])
        except (Failed, ValueError, IndexError) as failure:
            missing = [module for module in ("transformers", "torch") if f"No module named '{module}'" in str(failure)]
            reason = f"no {missing[0]}" if missing else str(failure)
            self.report.line("skip", f"{what}: not measured: {reason}")
            return None
        return found

    def measure_product(self):
        self.product = self.script("matrix_product.py", "matrix product")
        if self.product:
            self.report.line("pass", f"matrix product: {self.product['tflops']:.0f} TFLOP/s", **self.product)

    def measure_peer(self):
        if self.check.peer == "none":
            self.report.line("skip", "transformers' decode: not asked for")
            return
        self.peer = self.script("transformers_decode.py", "transformers' decode", "128", self.check.peer)
        if self.peer:
            said = f"{self.peer['tok_s']:.1f} tok/s by {self.peer['how']}"
            self.report.line("pass", f"transformers' decode: {said}", **self.peer)

    def best(self, shape, kind, key, context=128):
        """Of the ways to decode."""
        found = [f[key] for (s, k, c, _), f in self.found.items() if (s, k, c) == (shape, kind, context)]
        return max(found, default=None)

    def target(self, what, found, limit, form, under=False):
        """A figure that must reach `limit`, or stay under it."""
        if found is None:
            self.report.line("skip", f"target: {what}: not measured")
            return
        reached = found < limit if under else found >= limit
        words = f"{form.format(found)}, wanted {'under ' if under else ''}{form.format(limit)}"
        figures = {"found": found, "under" if under else "least": limit}
        self.report.line(PASS if reached else MISS, f"target: {what}: {words}", **figures)

    def targets(self):
        def ratio(a, b):
            return a / b if a is not None and b else None

        small, large = self.best("0.6b", "bf16", "decode_tok_s"), self.best("8b", "bf16", "decode_tok_s")
        for decode, least in TOK_S.items():
            found = self.found.get(("0.6b", "bf16", 128, decode), {}).get("decode_tok_s")
            self.target(f"0.6b bf16, decode {decode}", found, least, "{:.0f} tok/s")
        self.target("0.6b bf16, the wish", small, STRETCH, "{:.0f} tok/s")
        self.target("8b bf16, share of bandwidth", self.best("8b", "bf16", "bandwidth_share"), SHARE, "{:.1%}")
        token_us = ratio(1e6, self.best("llama-1b", "bf16", "decode_tok_s"))
        self.target("llama-1b bf16, time of a token", token_us, TOKEN_US, "{:.0f} us", under=True)
        self.target("8b int8 over bf16", ratio(self.best("8b", "int8", "decode_tok_s"), large), INT8, "{:.2f}")
        prompts = [self.found.get(("8b", kind, 16384, "graph")) for kind in ("bf16", "bf16-activations")]
        fastest = max((f["prefill_tflops"] for f in prompts if f), default=None)
        share = ratio(fastest, self.product and self.product["tflops"])
        self.target("8b, prompt of 4096 over the matrix product", share, PREFILL, "{:.1%}")
        self.target("0.6b bf16 over transformers", ratio(small, self.peer and self.peer["tok_s"]), PEER, "{:.2f}")

    def table(self):
        head = ["shape, weights", "context", "graph, tok/s", "persistent, tok/s", "GB/s", "share", "prompt", "tok/s", "TFLOP/s"]
        print("\n| " + " | ".join(head) + " |\n|" + "---|" * len(head))
        for (shape, kind, context, decode), one in self.found.items():
            if decode != "graph":
                continue
            other = self.found.get((shape, kind, context, "persistent"))
            persistent = f"{other['decode_tok_s']:.1f}" if other else "not measured"
            cells = [f"{shape}, {kind}", str(context), f"{one['decode_tok_s']:.1f}", persistent]
            cells += [f"{one['weights_gb_s']:.0f}", f"{one['bandwidth_share']:.1%}", str(one["prompt"])]
            cells += [f"{one['prefill_tok_s']:.0f}", f"{one['prefill_tflops']:.1f}"]
            print("| " + " | ".join(cells) + " |", flush=True)
        print()


def check(check):
    speed = Speed(check)
    shapes = check.manifest["shapes"]
    if not shapes:
        check.report.line("skip", "no large shapes were packed")
        return
    speed.measure_product()
    # What the targets speak of comes first, in case the time is over.
    for entry in shapes:
        if entry["shape"] in cases.TARGET_SHAPES:
            speed.shape(entry)
    speed.measure_peer()
    for entry in shapes:
        if entry["shape"] not in cases.TARGET_SHAPES:
            speed.shape(entry)
    speed.table()
    speed.targets()
