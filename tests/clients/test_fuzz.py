"""Requests made of the served OpenAPI document, right and wrong ones: nothing fails, and answers are as it says."""

from __future__ import annotations

from typing import Any

import schemathesis
from conftest import URL
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import CHECKS, load_all_checks

EXAMPLES = 20
SHORT = 16
ANSWERS = ("/v1/chat/completions", "/chat/completions", "/v1/completions", "/completions")

# A body that is too long by its number of messages may be too long by its bytes as well.
REFUSED = [400, 401, 404, 405, 413, 415, 429, 503]
CONFIG = schemathesis.Config.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": REFUSED}}})

load_all_checks()
schema = schemathesis.openapi.from_url(f"{URL}/openapi.json", config=CONFIG)


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Bounds the time that right requests take; wrong ones stay wrong."""
    if context.operation.path in ANSWERS and isinstance(body, dict):
        for name in ("max_tokens", "max_completion_tokens"):
            most = body.get(name)
            if most is None and name == "max_tokens" or isinstance(most, int) and not isinstance(most, bool) and most > SHORT:
                body = {**body, name: SHORT}
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
    excluded = CHECKS.get_by_names(["positive_data_acceptance"]) if answers else []
    case.call_and_validate(timeout=60, excluded_checks=excluded)


def test_the_server_still_answers(ask: Any) -> None:
    assert "Tokyo" in ask("What is the capital of Japan?").choices[0].message.content
