"""The clients of all tests, for a server of the sample model that runs at QWEN_URL."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import openai
import pytest
from langchain_openai import ChatOpenAI

URL = os.environ["QWEN_URL"].rstrip("/")
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
Raw = Callable[..., tuple[int, Any]]


@pytest.fixture(scope="session")
def client() -> openai.OpenAI:
    """OpenAI's own client. It must not hide an error by trying again."""
    return openai.OpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="session")
def asynchronous() -> Callable[[], openai.AsyncOpenAI]:
    """Its twin for asyncio, to be made within the loop that uses it."""
    return lambda: openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key="none", max_retries=0, timeout=120)


@pytest.fixture(scope="session")
def model(client: openai.OpenAI) -> str:
    """The name of the one model."""
    return client.models.list().data[0].id


@pytest.fixture
def chain(model: str) -> Callable[..., ChatOpenAI]:
    """LangChain's chat model, greedy and without thinking unless told otherwise."""

    def make(**more: Any) -> ChatOpenAI:
        how: dict[str, Any] = {"temperature": 0, "extra_body": NO_THINKING, "max_retries": 0, "timeout": 120}
        return ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key="none", **{**how, **more})

    return make


@pytest.fixture
def ask(client: openai.OpenAI, model: str) -> Callable[..., Any]:
    """A question to the chat: greedy and without thinking unless told otherwise."""

    def ask(question: str, *, think: bool = False, **more: Any) -> Any:
        body = {"chat_template_kwargs": {"enable_thinking": think}, **more.pop("extra_body", {})}
        messages = more.pop("messages", [{"role": "user", "content": question}])
        how = {"temperature": 0, "extra_body": body, **more}
        return client.chat.completions.create(model=model, messages=messages, **how)

    return ask


@pytest.fixture(scope="session")
def raw() -> Raw:
    """A request by hand, for what no client sends: status and JSON."""

    def raw(path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json", **(headers or {})})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                status, text = answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            status, text = refused.code, refused.read()
        return status, json.loads(text)

    return raw


@pytest.fixture(scope="session")
def metric() -> Callable[[str], float]:
    """One number of /metrics."""

    def metric(name: str) -> float:
        with urllib.request.urlopen(f"{URL}/metrics", timeout=60) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    return metric


@pytest.fixture
def becomes(metric: Callable[[str], float]) -> Callable[[str, float], None]:
    """Waits until a number of /metrics is so much."""

    def becomes(name: str, expected: float) -> None:
        end = time.monotonic() + 20
        while (found := metric(name)) != expected:
            assert time.monotonic() < end, f"{name} is {found}, expected {expected}"
            time.sleep(0.02)

    return becomes
