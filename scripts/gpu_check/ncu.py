"""Kernels of decode under NVIDIA's profiler ncu: how long each takes and how busy it keeps the device.

In: the executable of 0.6b in bf16. Out: a line for each profiled launch; ncu's whole output in ncu.txt beside the
results. Nothing is judged: where ncu is missing or may not read the counters, a line says so.
"""

import re

from report import OVER, PASS, SKIP, Failed, OutOfTime, find

SHAPE, TYPE = "0.6b", "bf16"
PATIENCE = 120
# Launches of a step of 28 layers: embedding, layers, LM head, two for the pick. `bench` runs three prompts, then 8 tokens.
PROMPT_LAUNCHES, TOKEN_LAUNCHES = 1 + 28 * 10 + 3, 1 + 28 * 5 + 3
# The first profiled launch begins the last layer of the fourth token, so that the LM head and the next token's embedding
# follow. Should a step have some launches more or fewer, it is another launch, but still one of decode.
LAUNCHES = 14
FIRST = 3 * PROMPT_LAUNCHES + 3 * TOKEN_LAUNCHES + 1 + 27 * 5
# Clocks are left alone, as elsewhere in the check. ncu empties the caches before each pass (its default), so that weights
# come from memory, as in decode.
FLAGS = ("--clock-control", "none", "--section", "SpeedOfLight", "--section", "MemoryWorkloadAnalysis", "--section",
         "WarpStateStats", "--launch-skip", FIRST, "--launch-count", LAUNCHES)
BENCH = ("bench", "--synthetic-weights", "--runs", 1, "--context", 128, "--new", 8, "--prompt", 16, "--decode", "launches")

# `name(arguments) (grid)x(block), Context 1, Stream 7`; older versions have a date in place of the sizes.
KERNEL = re.compile(r"\s+(?:void )?(\w+).*, Context \d+, Stream \d+")
METRIC = re.compile(r"\s+(Duration|DRAM Throughput|Compute \(SM\) Throughput)\s+(\S+)\s+([\d.,]+)\s*$")
MICROSECONDS = {"ns": 1e-3, "nsecond": 1e-3, "us": 1, "usecond": 1, "ms": 1e3, "msecond": 1e3, "s": 1e6, "second": 1e6}
SHARES = {"DRAM Throughput": "memory_share", "Compute (SM) Throughput": "compute_share"}
NO_COUNTERS = "ERR_NVGPUCTRPERM"


def number(text):
    """A number with commas between thousands; None where it is not one."""
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def parse(text):
    """Figures of each profiled launch; lines in another format are ignored."""
    kernels = []
    for line in text.splitlines():
        kernel, metric = KERNEL.match(line), METRIC.match(line)
        if kernel:
            kernels.append({"kernel": kernel[1]})
        elif metric and kernels:
            name, unit, value = metric[1], metric[2], number(metric[3])
            if value is None:
                continue
            if name == "Duration" and unit in MICROSECONDS:
                kernels[-1]["duration_us"] = value * MICROSECONDS[unit]
            elif unit == "%":
                kernels[-1][SHARES[name]] = value / 100
    return kernels


def words(kernel):
    def form(key, spec, after):
        return f"{kernel[key]:{spec}}{after}" if key in kernel else f"?{after}"

    return ", ".join([
        f"{kernel['kernel']}: {form('duration_us', '.2f', ' us')}",
        form("memory_share", ".1%", " of memory bandwidth"),
        form("compute_share", ".1%", " of compute"),
    ])


def reason(text, failure, output):
    """Reason for the skip line."""
    if NO_COUNTERS in text or NO_COUNTERS in str(failure):
        return f"{NO_COUNTERS}: the driver keeps performance counters to root; run as root"
    if failure:
        error = next((line for line in text.splitlines() if line.startswith("==ERROR==")), "")
        return f"{error}; {failure}" if error else str(failure)
    return f"no kernel was profiled; {output} may say why"


def check(check):
    report = check.report
    entries = [entry for entry in check.manifest["shapes"] if (entry["shape"], entry["type"]) == (SHAPE, TYPE)]
    if not entries:
        report.line(SKIP, f"ncu: {SHAPE}-{TYPE} was not packed or not chosen")
        return
    program = find("ncu")
    if program is None:
        report.line(SKIP, "ncu: none on PATH or in /usr/local/cuda*/bin")
        return
    output = check.results.with_name("ncu.txt")
    if output.exists():
        output.unlink()
    command = [program, *FLAGS, "--log-file", output, check.folder / entries[0]["name"], *BENCH, *check.device]
    failure = None
    try:
        report.run(command, PATIENCE)
    except OutOfTime:
        report.line(SKIP, f"ncu: {OVER}")
        return
    except Failed as error:
        failure = error
    text = output.read_text(errors="replace") if output.exists() else ""
    kernels = parse(text)
    for kernel in kernels:
        report.line(PASS, words(kernel), **kernel)
    if failure or not kernels:
        report.line(SKIP, f"ncu: {reason(text, failure, output)}")
