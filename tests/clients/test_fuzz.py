"""Requests made of the served OpenAPI document, right and wrong ones: nothing fails, and answers are as it says."""

from __future__ import annotations

import re
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS, load_all_checks

from conftest import URL

EXAMPLES = 20
SHORT = 16
ANSWERS = ("/v1/chat/completions", "/chat/completions", "/v1/completions", "/completions")

# A body that is too long by its number of messages may be too long by its bytes as well.
REFUSED = [400, 401, 404, 405, 413, 415, 429, 503]
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}})

load_all_checks()
schema = schemathesis.openapi.from_url(f"{URL}/openapi.json", config=CONFIG)


def counted() -> Counter[str]:
    """How often each path was answered with 200."""
    with urllib.request.urlopen(f"{URL}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    right = re.findall(r'^qwenc_requests_total\{path="(.*)",status="200"\} (\d+)$', text, re.MULTILINE)
    return Counter({path: int(count) for path, count in right})


@pytest.fixture(scope="module", autouse=True)
def answered() -> Callable[[], Counter[str]]:
    """The same, since this file began."""
    before = counted()
    return lambda: counted() - before


def answerable(body: Any) -> Any:
    """Short answers, and nothing that a schema allows and no answer can have; what breaks the schema stays as it is."""
    if not isinstance(body, dict):
        return body
    body = {**body}
    for name in ("max_tokens", "max_completion_tokens"):
        most = body.get(name)
        if name == "max_tokens" and most is None or type(most) is int and most > SHORT:
            body[name] = SHORT
    if isinstance(body.get("stream_options"), dict) and body.get("stream") in (None, False):
        body["stream"] = True
    for name in ("lora", "suffix"):
        if isinstance(body.get(name), str):
            body[name] = None
    if type(body.get("best_of")) is int and 1 <= body["best_of"] <= 16:
        body["best_of"] = None
    if body.get("prompt") in ("", [""]):
        body["prompt"] = "x"
    if body.get("echo") is True and type(body.get("logprobs")) is int:
        body["echo"] = None
    if type(body.get("top_logprobs")) is int and body.get("logprobs") in (None, False):
        body["logprobs"] = True
    return body


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_requests(case: schemathesis.Case) -> None:
    # A schema cannot say which regexes and grammars are some, nor how many tokens a text has.
    answers = case.operation.path in ANSWERS
    if answers:
        case.body = answerable(case.body)
    excluded = CHECKS.get_by_names(["positive_data_acceptance"]) if answers else []
    case.call_and_validate(timeout=60, excluded_checks=excluded)


def test_right_requests_were_among_them(answered: Callable[[], dict[str, int]]) -> None:
    found = answered()
    assert all(found[path] >= 50 for path in ANSWERS), found


def test_the_server_still_answers(ask: Any) -> None:
    assert "Tokyo" in ask("What is the capital of Japan?").choices[0].message.content
