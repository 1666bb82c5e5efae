#!/usr/bin/env python3
"""Makes expressions.json and templates.json: what jinja2 renders, for tests/tables.rs to compare with.

In: expressions.txt (snippets, grouped), templates/*.jinja, conversations.json. Out: the two tables beside this file.
The environment is that of `_compile_jinja_template` in transformers 4.57 (utils/chat_template_utils.py), set up here in
the same way, so that transformers itself is not needed:

    python3 -m venv venv && venv/bin/pip install jinja2==3.1.6
    venv/bin/python runtime/jinja/tests/data/make_tables.py
"""

import json
import pathlib
import re
from datetime import datetime

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent


class AssistantTracker(Extension):
    """The generation tag, as in transformers: the body is a call block."""

    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        call = self.call_method("_generation_support")
        return jinja2.nodes.CallBlock(call, [], [], body).set_lineno(lineno)

    @jinja2.pass_eval_context
    def _generation_support(self, context, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(format):
    return datetime.now().strftime(format)


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[AssistantTracker, loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def render(source, variables):
    """The text, or None where jinja2 fails."""
    try:
        text = environment().from_string(source).render(**variables)
        text.encode()
        return text
    except Exception:
        return None


VARIABLES = json.loads((HERE / "variables.json").read_text())


def expressions():
    """Snippets are lines of expressions.txt; a line that begins with `>` is JSON of a snippet with line ends."""
    rows = []
    for line in (HERE / "expressions.txt").read_text().split("\n"):
        if not line or line.startswith("##"):
            continue
        # A line of expressions only is as many rows, so that an error in one hides no other.
        parts = re.fullmatch(r"(\{\{ .+? \}\}[ |]*)+", line) and re.findall(r"\{\{ .+? \}\}", line)
        for source in [json.loads(line[1:])] if line.startswith(">") else parts or [line]:
            row = [source, render(source, VARIABLES)]
            if row not in rows:
                rows.append(row)
    return rows


def templates():
    rows = []
    cases = json.loads((HERE / "conversations.json").read_text())
    for path in sorted((HERE / "templates").glob("*.jinja")):
        source = path.read_bytes().decode()
        for name, case in cases.items():
            variables = {"tools": None, "documents": None, "bos_token": "<s>", "eos_token": "</s>"} | case
            rows.append([path.name, name, render(source, variables)])
    return rows


def write(name, rows):
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / name).write_text(f"[\n{lines}\n]\n")
    failing = sum(row[-1] is None for row in rows)
    print(f"{name}: {len(rows)} rows, {failing} of them errors")


write("expressions.json", expressions())
write("templates.json", templates())
