"""Whether the executables say what they should.

In: executables of small models with expected tokens and logits. Out: a line for each executable and cache, and one for
its generated tokens. A step of a prompt, of a few tokens, of one token launched in each way: all must give the same
bits, and these must be near transformers' and the CPU's.
"""

import concurrent.futures
import math
import pathlib
import tempfile

import cases
import tensors
from report import Failed

# Seconds for one executable; none needs a tenth.
PATIENCE = 120
# Rows of a step that is neither a prompt's nor of one token.
FEW = 7


class Model:
    """One executable."""

    def __init__(self, check, entry):
        self.check, self.entry = check, entry
        self.kind = cases.of_name(entry["type"])
        self.executable = check.folder / entry["name"]
        self.expected = tensors.numbers("f", tensors.read(check.folder / f"{entry['name']}.logits")["logits"][1])

    def command(self, name, tokens, *flags):
        ids = ",".join(str(token) for token in tokens)
        return [self.executable, name, "--tokens", ids, *self.check.device, *flags]

    def run(self, command):
        return self.check.report.run(command, PATIENCE)

    def logits(self, tokens, *flags):
        """Bytes of float32, [tokens, rows]."""
        with tempfile.TemporaryDirectory() as place:
            out = pathlib.Path(place) / "logits"
            self.run(self.command("logits", tokens, "--out", out, *flags))
            return tensors.read(out)["logits"][1]

    def transformers(self):
        file = self.entry["transformers"]
        return file and tensors.numbers("f", tensors.read(self.check.folder / file)["logits"][1])

    def check_cache(self, cache):
        """Near what is expected, and the same bits however a step is launched."""
        report, tokens = self.check.report, self.entry["tokens"]
        what = f"{self.entry['name']}, cache {cache}"
        if report.out_of_time(what):
            return
        kv = ("--kv-type", cache)
        try:
            prompt = self.logits(tokens, *kv)
            found, said, passed, errors = tensors.numbers("f", prompt), [], True, {}
            sides = [("transformers", self.transformers(), self.kind.golden), ("the CPU", self.expected, self.kind.cpu)]
            for name, expected, limit in sides:
                if expected:
                    limit += cases.CACHES[cache]
                    error = tensors.nmse(found, expected)
                    # Not a number is no pass.
                    passed = passed and error <= limit
                    said.append(f"{error:.1e} from {name} (at most {limit:.0e})")
                    errors[name] = error
            ways = [(f"steps of {FEW}", ("--chunk", str(FEW)))]
            ways += [(decode, ("--chunk", "1", "--decode", decode)) for decode in cases.DECODES]
            others = [name for name, flags in ways if self.logits(tokens, *kv, *flags) != prompt]
        except Failed as failure:
            report.failed(what, failure)
            return
        same = f"OTHER BITS: {', '.join(others)}" if others else "same bits in all steps"
        report.judge(passed and not others, f"{what}: {'; '.join(said)}; {same}", errors=errors, other_bits=others)

    def check_tokens(self):
        """Greedy tokens in each way of decode."""
        report = self.check.report
        what = f"{self.entry['name']}, {cases.GENERATE} tokens"
        if report.out_of_time(what):
            return
        notes, passed = [], True
        try:
            for decode in cases.DECODES:
                flags = ("--print-tokens", "--ignore-eos", "--temperature", "0", "--max-tokens", str(cases.GENERATE),
                         "--kv-type", "f32", "--decode", decode)
                said = self.run(self.command("generate", self.entry["tokens"], *flags))
                found = [int(token) for token in said.strip().split(",")]
                good, note = self.compare(found)
                passed = passed and good
                notes.append(f"{decode} {note}")
        except (Failed, ValueError) as failure:
            report.failed(what, failure)
            return
        report.judge(passed, f"{what}: {', '.join(notes)}")

    def compare(self, found):
        """A first difference is excused where both tokens are as likely as the error allows."""
        expected = self.entry["generated"]
        if found == expected:
            return True, "the same"
        at = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), None)
        if at is None:
            return False, f"{len(found)} tokens, expected {len(expected)}"
        tokens = self.entry["tokens"] + expected[:at]
        every = tensors.numbers("f", self.logits(tokens, "--kv-type", "f32"))
        row = every[len(every) // len(tokens) * (len(tokens) - 1) :]
        margin = abs(row[found[at]] - row[expected[at]])
        tie = 2 * math.sqrt(self.kind.cpu * sum(x * x for x in row) / len(row))
        words = f"{found[at]} for {expected[at]} after {at} tokens, {margin:.1e} apart"
        return margin <= tie, f"{words}: {'a tie' if margin <= tie else 'WRONG'}"


def check(check):
    """All executables, some at a time."""
    models = [Model(check, entry) for entry in check.manifest["models"]]
    if not models:
        check.report.line("skip", "no small models were packed")
    with concurrent.futures.ThreadPoolExecutor(check.jobs) as pool:
        work = [pool.submit(model.check_cache, cache) for model in models for cache in cases.CACHES]
        work += [pool.submit(model.check_tokens) for model in models]
        for done in concurrent.futures.as_completed(work):
            done.result()
