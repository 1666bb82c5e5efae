"""Small models under compute-sanitizer: accesses outside of memory, races in shared memory.

In: executables. Out: a line for each tool, executable and way to run it. A tool that is missing or does not run here is
a failure: then nothing is known.
"""

import concurrent.futures
import pathlib
import tempfile

from report import Failed, find

TOOLS = ("memcheck", "racecheck")
# The others have the same kernels.
MODEL = "qwen3-tied"
# Tokens of the prompt and generated: instrumented kernels are slow.
PROMPT, NEW = 20, 3
PATIENCE = 240
FOUND = "9"

# Every kernel is in one of them.
WAYS = {
    "a prompt": ("logits", "--decode", "launches"),
    "few tokens": ("logits", "--chunk", "7", "--decode", "launches", "--kv-type", "int8"),
    "one by one": ("generate", "--chunk", "1", "--decode", "launches"),
    "persistent": ("generate", "--chunk", "1", "--decode", "persistent"),
}


class Sanitizer:
    def __init__(self, check, program):
        self.check, self.program = check, program

    def run(self, tool, entry, way):
        """Raises what was found."""
        name, *flags = WAYS[way]
        ids = ",".join(str(token) for token in entry["tokens"][:PROMPT])
        command = [self.program, "--tool", tool, "--error-exitcode", FOUND, self.check.folder / entry["name"]]
        command += [name, "--tokens", ids, *flags, *self.check.device]
        with tempfile.TemporaryDirectory() as place:
            if name == "logits":
                command += ["--out", pathlib.Path(place) / "logits"]
            else:
                command += ["--print-tokens", "--ignore-eos", "--max-tokens", str(NEW)]
            self.check.report.run(command, PATIENCE)

    def line(self, tool, entry, way):
        report, what = self.check.report, f"{tool}, {entry['name']}, {way}"
        if report.out_of_time(what):
            return
        try:
            self.run(tool, entry, way)
            report.judge(True, what)
        except Failed as failure:
            report.failed(what, failure)

    def refuses(self, entry):
        """Its words, if it does not run on this machine at all."""
        try:
            self.run(TOOLS[0], entry, next(iter(WAYS)))
        except Failed as failure:
            return failure if "not supported" in str(failure).lower() else None
        return None


def check(check):
    entries = [entry for entry in check.manifest["models"] if entry["model"] == MODEL]
    program = find("compute-sanitizer")
    if not entries:
        check.report.line("skip", f"{MODEL} was not packed")
        return
    if program is None:
        place = "on PATH or in /usr/local/cuda*/bin"
        check.report.judge(False, f"no compute-sanitizer {place}; install CUDA's toolkit, or give --no-sanitizer")
        return
    sanitizer = Sanitizer(check, program)
    refusal = sanitizer.refuses(entries[0])
    if refusal:
        check.report.judge(False, f"compute-sanitizer does not run here ({refusal}); elsewhere, or give --no-sanitizer")
        return
    with concurrent.futures.ThreadPoolExecutor(check.jobs) as pool:
        all_of_it = [(tool, entry, way) for tool in TOOLS for entry in entries for way in WAYS]
        for done in concurrent.futures.as_completed([pool.submit(sanitizer.line, *one) for one in all_of_it]):
            done.result()
