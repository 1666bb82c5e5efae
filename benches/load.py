#!/usr/bin/env python3
"""Clients that ask a server all the time: what one and what all of them get, and whether its memory stays.

    benches/load.py ./qwen                               # 32 clients for 60 seconds
    benches/load.py ./qwen --clients 8 --tokens 128      # against one client: throughput of a batch

Starts `./qwen serve` itself. Every client sends one request after the other, of a text of its own and greedy, and counts
what it is told of tokens. Exit code 1 if a request failed or memory grew by more than a tenth in the second half.
"""

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import threading
import time


def main():
    args = arguments()
    with served(args) as (process, port):
        one = crowd(args, process, port, 1, args.alone)
        many = crowd(args, process, port, args.clients, args.seconds)
    print(f"one client: {one.line()}")
    print(f"{args.clients} clients: {many.line()}")
    print(f"together {many.rate() / one.rate():.2f} times one client's tokens per second")
    print(f"resident memory in MB, every tenth of the time: {' '.join(f'{m:.0f}' for m in many.memory)}")
    grown = many.memory[-1] / many.memory[len(many.memory) // 2] - 1
    wrong = one.errors + many.errors
    verdict = "pass" if not wrong and grown <= 0.1 else "FAIL"
    print(f"{verdict}: {len(wrong)} errors, memory grew by {grown:.1%} in the second half")
    for error in wrong[:5]:
        print(f"  {error}")
    return 0 if verdict == "pass" else 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("executable", help="what `qwenc compile` wrote")
    parser.add_argument("--clients", type=int, default=32, help="at a time; default 32")
    parser.add_argument("--seconds", type=float, default=60, help="default 60")
    parser.add_argument("--alone", type=float, default=10, help="seconds with one client before; default 10")
    parser.add_argument("--prompt", type=int, default=16, help="about so many tokens of each prompt; default 16")
    parser.add_argument("--tokens", type=int, default=32, help="of each answer; default 32")
    parser.add_argument("--parallel", type=int, default=8, help="answers at a time in the server; default 8")
    parser.add_argument("--context", type=int, default=1024, help="of the server; default 1024")
    return parser.parse_args()


@contextlib.contextmanager
def served(args):
    """The server's process and port."""
    flags = ["--parallel", args.parallel, "--context", args.context, "--max-queue", max(64, args.clients)]
    command = [args.executable, "serve", "--port", "0", *map(str, flags)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        line = process.stdout.readline()
        if not line.startswith("listening on "):
            sys.exit(f"{args.executable} serve does not start: {line or 'it ended'}")
        port = int(line.rsplit(":", 1)[1])
        while request(http.client.HTTPConnection("127.0.0.1", port), "GET", "/health")[0] != 200:
            time.sleep(0.05)
        yield process, port
    finally:
        process.terminate()
        process.wait()


def request(connection, method, path, body=None):
    """Status and body of an answer."""
    head = {"Content-Type": "application/json"} if body else {}
    connection.request(method, path, body and json.dumps(body), head)
    answer = connection.getresponse()
    return answer.status, answer.read()


class Seen:
    """What a number of clients saw."""

    def __init__(self):
        self.latencies, self.errors, self.memory = [], [], []
        self.tokens = 0
        self.seconds = 0.0

    def rate(self):
        return self.tokens / self.seconds

    def line(self):
        if len(self.latencies) < 2:
            return f"{len(self.latencies)} requests; give it more time with --seconds or --alone"
        cuts = statistics.quantiles(self.latencies, n=100, method="inclusive")
        p50, p99 = cuts[49], cuts[98]
        return (
            f"{len(self.latencies)} requests in {self.seconds:.0f} s, {self.rate():.0f} tokens/s, latency p50 "
            f"{p50 * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms, p99/p50 {p99 / p50:.2f}"
        )


def crowd(args, process, port, clients, seconds):
    """`clients` clients for so long."""
    seen, lock, begin = Seen(), threading.Lock(), time.monotonic()
    end = begin + seconds
    threads = [threading.Thread(target=client, args=(args, port, i, end, seen, lock)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for tenth in range(1, 11):
        time.sleep(max(0.0, begin + seconds * tenth / 10 - time.monotonic()))
        seen.memory.append(resident(process.pid))
    for thread in threads:
        thread.join()
    seen.seconds = time.monotonic() - begin
    return seen


def client(args, port, number, end, seen, lock):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    count = 0
    while time.monotonic() < end:
        words = " ".join(f"{number}.{count}.{i}" for i in range(max(1, args.prompt // 8)))
        body = {"prompt": words, "max_tokens": args.tokens, "temperature": 0, "ignore_eos": True}
        start = time.monotonic()
        try:
            status, text = request(connection, "POST", "/v1/completions", body)
            tokens = json.loads(text)["usage"]["completion_tokens"] if status == 200 else 0
            error = None if status == 200 else f"status {status}: {text[:200]}"
        except (OSError, http.client.HTTPException, ValueError, KeyError) as e:
            tokens, error = 0, f"{type(e).__name__}: {e}"
            connection.close()
        took = time.monotonic() - start
        count += 1
        with lock:
            seen.tokens += tokens
            seen.latencies.append(took) if error is None else seen.errors.append(error)


def resident(pid):
    """Megabytes."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    sys.exit(main())
