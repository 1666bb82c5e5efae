#!/usr/bin/env python3
"""Clients that misbehave, against a server that this starts and ends: faults.py EXECUTABLE [--connections 10000].

Killed amid a stream, slow readers, connections opened and dropped, connections that say nothing, malformed HTTP and
JSON, large and stuck bodies; after each the server answers, and no slot, connection or memory is lost. Needs nothing but Python.
Prints a line a check; the exit code is 1 if one failed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial

PARALLEL, QUEUE = 4, 8
CITY = {"messages": [{"role": "user", "content": "What is the capital of Japan?"}], "temperature": 0}
CITY["chat_template_kwargs"] = {"enable_thinking": False}
LONG_TOKENS = 2000
LONG = {**CITY, "max_tokens": LONG_TOKENS, "ignore_eos": True, "stream": True}
# A client in a process of its own, to be killed while it reads: it says so when tokens come.
READER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as one:
    one.sendall(sys.stdin.buffer.read())
    text = b""
    while text.count(b"data: ") < 3:
        text += one.recv(64)
    print("reads", flush=True)
    while one.recv(64):
        pass
"""


class Failed(Exception):
    """What was expected, and what was found."""


def expect(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise Failed(f"{what}: expected {expected}, found {found}")


@dataclass
class Server:
    """One that runs."""

    process: subprocess.Popen[str]
    port: int

    def request(self, path: str, body: object = None) -> tuple[int, bytes]:
        data = None if body is None else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    def metric(self, name: str) -> int:
        lines = self.request("/metrics")[1].decode().splitlines()
        return int(next(line for line in lines if line.startswith(f"qwenc_{name} ")).split()[1])

    def becomes(self, name: str, expected: int, seconds: float = 20) -> None:
        self.waits(name, lambda found: found == expected, f"{expected}", seconds)

    def reaches(self, name: str, least: int, seconds: float) -> None:
        self.waits(name, lambda found: found >= least, f"{least} or more", seconds)

    def waits(self, name: str, enough: Callable[[int], bool], expected: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not enough(found := self.metric(name)):
            if time.monotonic() > end:
                raise Failed(f"{name} should become {expected}, is {found}")
            time.sleep(0.02)

    def answers(self) -> None:
        status, text = self.request("/v1/chat/completions", CITY)
        expect((status, b"Tokyo" in text), (200, True), "an answer")

    def resident_kb(self) -> int:
        with open(f"/proc/{self.process.pid}/status") as status:
            return int(next(line for line in status if line.startswith("VmRSS:")).split()[1])

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)


@contextmanager
def served(executable: str) -> Iterator[Server]:
    """A server, ended by a signal, whose exit code must be 0."""
    flags = ["serve", "--port", "0", "--parallel", str(PARALLEL), "--max-queue", str(QUEUE)]
    with subprocess.Popen([executable, *flags], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            server = Server(process, int(process.stdout.readline().rsplit(":", 1)[1]))
            while server.request("/health")[0] != 200:
                time.sleep(0.02)
            yield server
            process.send_signal(signal.SIGTERM)
            expect(process.wait(20), 0, "exit code after SIGTERM")
        finally:
            process.kill()


def head(body: bytes, path: str = "/v1/chat/completions") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode()


def posted(body: object) -> bytes:
    text = json.dumps(body).encode()
    return head(text) + text


def killed_amid_streams(server: Server, _: int) -> str:
    """kill -9 frees the slots of clients that read, and the places of those that wait."""
    for _ in range(3):
        before = server.metric("abandoned_total")
        readers = []
        for _ in range(PARALLEL):
            command = [sys.executable, "-c", READER, str(server.port)]
            reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            assert reader.stdin and reader.stdout
            reader.stdin.write(posted(LONG))
            reader.stdin.close()
            readers.append(reader)
        for reader in readers:
            assert reader.stdout and reader.stdout.readline() == b"reads\n"
            reader.kill()
            reader.wait()
            reader.stdout.close()
        server.becomes("running", 0)
        server.becomes("connections", 1)
        expect(server.metric("abandoned_total"), before + PARALLEL, "answers that were abandoned")
    return f"{3 * PARALLEL} killed"


def stops_at_once(server: Server, _: int) -> str:
    """An answer whose client went away is not generated to its end."""
    before, most = server.metric("generated_tokens_total"), 0
    for _ in range(5):
        with server.connect() as one:
            one.sendall(posted(LONG))
            text = b""
            while text.count(b"data: ") < 3:
                text += one.recv(64)
        server.becomes("running", 0)
        after = server.metric("generated_tokens_total")
        before, most = after, max(most, after - before)
    if most > 1000:
        raise Failed(f"{most} of 2000 tokens were generated for nobody")
    return f"at most {most} of 2000 tokens generated"


def slow_readers(server: Server, _: int) -> str:
    """Those who read nothing hold up nobody who reads, and get everything in the end."""
    before = server.metric("generated_tokens_total")
    with ExitStack() as open_ones:
        slow = []
        for _ in range(PARALLEL):
            one = open_ones.enter_context(socket.socket())
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.settimeout(60)
            one.connect(("127.0.0.1", server.port))
            one.sendall(posted(LONG))
            slow.append(one)
        # All is generated, and little of it read.
        server.reaches("generated_tokens_total", before + PARALLEL * LONG_TOKENS, seconds=120)
        server.becomes("running", 0)
        start = time.monotonic()
        for _ in range(5):
            server.answers()
        took = time.monotonic() - start
        for one in slow:
            text = b""
            while not text.endswith(b"0\r\n\r\n"):
                more = one.recv(65536)
                if not more:
                    raise Failed("a slow reader's answer was cut off")
                text += more
            if b"data: [DONE]" not in text or text.count(b"chat.completion.chunk") < 1000:
                raise Failed("a slow reader did not get its whole answer")
    return f"five answers beside {PARALLEL} slow ones in {took:.2f} s"


def crowds(server: Server, _: int) -> str:
    """More than are taken get 429 and Retry-After; everybody else is answered."""
    with ExitStack() as open_ones:
        streams = [open_ones.enter_context(server.connect()) for _ in range(PARALLEL + QUEUE)]
        for one in streams:
            one.sendall(posted(LONG))
            one.recv(1)
        refused = server.connect()
        refused.sendall(posted(CITY))
        text = refused.recv(65536).decode()
        refused.close()
        expect((text.split()[1], "retry-after: " in text.lower()), ("429", True), "one too many")
        expect(server.request("/health")[0], 200, "health in a crowd")
    server.becomes("running", 0)
    server.becomes("queued", 0)
    server.answers()
    return "429"


def opened_and_dropped(server: Server, count: int) -> str:
    """Nothing said, half a head, half a body, a whole request: then gone, politely or by a reset."""
    body = json.dumps(CITY).encode()
    sayings = [b"", b"POST /v1/chat", head(body), head(body) + body[:20], head(body) + body, b"\x16\x03\x01\x00"]
    files, linger = server.files(), b"\x01\0\0\0\0\0\0\0"
    for i in range(count):
        with server.connect() as one:
            one.sendall(sayings[i % len(sayings)])
            if i // len(sayings) % 2:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    server.becomes("connections", 1, seconds=60)
    server.becomes("running", 0)
    if server.files() > files + 2:
        raise Failed(f"{files} files open before, {server.files()} after")
    return f"{count} connections"


def many_idle(server: Server, count: int) -> str:
    """Open connections that say nothing keep nobody out."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit[1], limit[1]))
    count = min(count, 2000, limit[1] - 100)
    with ExitStack() as open_ones:
        for _ in range(count):
            open_ones.enter_context(server.connect())
        server.becomes("connections", count + 1)
        server.answers()
    server.becomes("connections", 1)
    return f"an answer beside {count} of them"


def malformed(server: Server, _: int) -> str:
    """What is no HTTP is refused or dropped; it never gets a 5xx, nor holds the connection."""
    long, many = b"X" * 600_000, b"".join(b"A%d: b\r\n" % i for i in range(5000))
    sayings = [
        b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\0 HTTP/1.1\r\n\r\n", b"\xff" * 100 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost here\r\n\r\n", b"GET /" + long + b" HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + many + b"\r\n", b"GET / HTTP/1.1\r\nX: " + long + b"\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n{}",
        b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\nzz\r\n",
        b"GET //../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET /v1/models/%ff%00 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    ]  # fmt: skip
    for saying in sayings:
        with server.connect() as one:
            one.settimeout(5)
            try:
                one.sendall(saying)
                one.shutdown(socket.SHUT_WR)
                answer = one.recv(4096)
            except TimeoutError:
                raise Failed(f"{saying[:60]!r} got no answer and no end") from None
            except OSError:
                answer = b""  # The server ended the connection.
        if answer and not answer.startswith(b"HTTP/1.1 4"):
            raise Failed(f"{saying[:60]!r} got {answer[:80]!r}")
    server.becomes("connections", 1)
    return f"{len(sayings)} of them"


def malformed_json(server: Server, _: int) -> str:
    """Bodies that are no requests get 400 or 413 and a message."""
    deep, text = b"[" * 200_000, json.dumps(CITY).encode()
    bodies = [b"", b"null", b"[]", b"5", b'"', b"{", deep, b'{"messages":' + deep, b"\xff", b"{}" * 2, b" " * (9 << 20)]
    bodies += [text[:at] for at in range(1, len(text), 7)]
    for body in bodies:
        with server.connect() as one:
            try:
                one.sendall(head(body) + body)
            except ConnectionError:
                pass  # It was refused before it was all sent.
            answer = one.recv(65536)
        if not answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")) or b'"message"' not in answer:
            raise Failed(f"{body[:40]!r} ({len(body)} bytes) got {answer[:200]!r}")
    return f"{len(bodies)} bodies"


def stuck_bodies(server: Server) -> str:
    """Bodies that stop in the middle, or come a byte at a time, are refused after half a minute, and nobody waits for them."""
    body = json.dumps(CITY).encode()
    with ExitStack() as open_ones:
        stuck = [open_ones.enter_context(server.connect()) for _ in range(8)]
        for one in stuck:
            one.sendall(head(body) + body[:20])
            one.setblocking(False)
        start, answers = time.monotonic(), [b""] * len(stuck)
        while not all(answers):
            if time.monotonic() > start + 60:
                raise Failed(f"{answers.count(b'')} bodies are waited for after a minute")
            server.answers()
            for i, one in enumerate(stuck):
                try:
                    if not answers[i]:
                        answers[i] = one.recv(4096) or b"nothing"
                except BlockingIOError:
                    if i % 2:
                        one.send(b" ")
            time.sleep(0.5)
        took = time.monotonic() - start
    if took < 20 or not all(answer.startswith(b"HTTP/1.1 408") for answer in answers):
        raise Failed(f"after {took:.0f} s: {answers[0][:80]!r}")
    server.becomes("connections", 1)
    return f"refused after {took:.0f} s"


def large_texts(server: Server) -> str:
    """While a large text is made tokens everybody else is served."""
    body = posted({"content": "a " * 2_000_000}).replace(b"/v1/chat/completions", b"/tokenize", 1)
    with server.connect() as one, ThreadPoolExecutor() as aside:
        one.sendall(body)
        start = time.monotonic()
        done = aside.submit(one.recv, 15)
        longest, asked = 0.0, 0
        while not done.done():
            before = time.monotonic()
            expect(server.request("/health")[0], 200, "health")
            server.answers()
            longest, asked = max(longest, time.monotonic() - before), asked + 1
        took = time.monotonic() - start
    expect(done.result()[9:12] in (b"200", b"400", b"413"), True, "an answer to a large text")
    if longest > max(5, took / 4):
        raise Failed(f"nobody was answered for {longest:.1f} of the {took:.1f} s that it took")
    return f"{took:.1f} s, {asked} answers meanwhile, of which the slowest took {longest:.2f} s"


def resident_when_full(server: Server) -> int:
    """In kB, when every sequence has come to the end of its cache: some caches are kept for a while, in any round others."""
    whole = {**LONG, "stream": False}
    with ThreadPoolExecutor(PARALLEL) as clients:
        for status, _ in clients.map(lambda _: server.request("/v1/chat/completions", whole), range(PARALLEL)):
            expect(status, 200, "an answer as long as a cache")
    return server.resident_kb()


CHECKS: list[Callable[[Server, int], str]] = [
    killed_amid_streams, stops_at_once, slow_readers, crowds, opened_and_dropped, many_idle, malformed, malformed_json,
]  # fmt: skip
# What the last round may leave in kB. Allocators keep some of what the first rounds needed; a leak goes on and on.
KEPT_KB = 2 << 10


def run(server: Server, name: str, check: Callable[[], str]) -> bool:
    """Whether it passed, and the server answers afterwards."""
    try:
        said, word = check(), "ok"
        server.answers()
    except (Failed, OSError) as why:
        said, word = f"{why}", "FAILED"
    print(f"{name:20} {word}: {said}", flush=True)
    return word == "ok"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("executable")
    parser.add_argument("--connections", type=int, default=2000, help="to open and drop in each round")
    parser.add_argument("--rounds", type=int, default=4, help="of all checks, 3 at least")
    args = parser.parse_args()
    passed = []
    with served(args.executable) as other, ThreadPoolExecutor() as aside, served(args.executable) as server:
        stuck = aside.submit(run, other, "stuck_bodies", partial(stuck_bodies, other))
        resident = [resident_when_full(server)]
        for _ in range(max(args.rounds, 3)):
            for check in CHECKS:
                passed.append(run(server, check.__name__, partial(check, server, args.connections)))
            resident.append(resident_when_full(server))
        kept = f"resident kB with full caches, at the start and after each round: {resident}"
        word = "ok" if resident[-1] <= resident[-2] + KEPT_KB else "FAILED"
        print(f"{'memory':20} {word}: {kept}")
        passed += [word == "ok", run(server, "large_texts", partial(large_texts, server))]
        print(f"{'':20} resident afterwards: {server.resident_kb()} kB")
        passed.append(stuck.result())
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
