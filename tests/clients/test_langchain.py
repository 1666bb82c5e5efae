"""LangChain's model of OpenAI's chat."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import openai
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, Field

Chain = Callable[..., ChatOpenAI]
JAPAN = "What is the capital of Japan?"
SAID = "The capital of Japan is Tokyo."
PARIS = "What is the weather in Paris?"


@tool
def get_weather(city: str) -> str:
    """Tells the weather in a city."""
    return f"18 degrees in {city}"


def test_answers(chain: Chain) -> None:
    said = chain().invoke([SystemMessage("You are helpful."), HumanMessage(JAPAN)])
    assert said.content == SAID
    assert said.usage_metadata["output_tokens"] > 5
    assert said.response_metadata["finish_reason"] == "stop"


def test_streams(chain: Chain) -> None:
    chunks = list(chain(stream_usage=True).stream(JAPAN))
    assert len(chunks) > 3
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert whole.content == SAID
    alone = chain().invoke(JAPAN).usage_metadata
    for name in ["input_tokens", "output_tokens", "total_tokens"]:
        assert whole.usage_metadata[name] == alone[name]
    assert whole.response_metadata["finish_reason"] == "stop"


def test_batches_and_asyncio(chain: Chain) -> None:
    questions = [JAPAN, "What is 7 + 5?"] * 4
    said = [one.content for one in chain().batch(questions)]
    assert said == [SAID, said[1]] * 4 and "12" in said[1]

    async def streamed() -> str:
        return "".join([chunk.content async for chunk in chain().astream(JAPAN)])

    assert asyncio.run(streamed()) == SAID


def test_stop_and_seed(chain: Chain) -> None:
    assert chain().invoke(JAPAN, stop=["Tok"]).content == "The capital of Japan is "
    hot = chain(temperature=2, seed=4, max_completion_tokens=30)
    assert hot.invoke("Hello").content == hot.invoke("Hello").content


def test_logprobs(chain: Chain) -> None:
    told = chain(logprobs=True, top_logprobs=2).invoke(JAPAN).response_metadata["logprobs"]["content"]
    assert "".join(token["token"] for token in told) == SAID


def test_tools(chain: Chain) -> None:
    model = chain().bind_tools([get_weather])
    call = model.invoke(PARIS)
    assert isinstance(call, AIMessage)
    (asked,) = call.tool_calls
    assert (asked["name"], asked["args"]) == ("get_weather", {"city": "Paris"})
    told = ToolMessage(get_weather.invoke(asked["args"]), tool_call_id=asked["id"])
    assert isinstance(model.invoke([HumanMessage(PARIS), call, told]), AIMessage)
    chunks = list(model.stream(PARIS))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert [(c["name"], c["args"]) for c in whole.tool_calls] == [("get_weather", {"city": "Paris"})]


@pytest.mark.parametrize("choice", ["any", "get_weather"])
def test_forced_tools(chain: Chain, choice: str) -> None:
    model = chain(max_completion_tokens=300).bind_tools([get_weather], tool_choice=choice, parallel_tool_calls=False)
    (asked,) = model.invoke(JAPAN).tool_calls
    assert asked["name"] == "get_weather" and isinstance(asked["args"]["city"], str)


class City(BaseModel):
    """A city."""

    name: str = Field(max_length=10)
    size: Literal["small", "large"]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_structured_output(chain: Chain, method: str) -> None:
    found = chain(max_completion_tokens=300).with_structured_output(City, method=method).invoke(JAPAN)
    assert isinstance(found, City)


def test_errors(chain: Chain) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chain(extra_body={"temprature": 1}).invoke(JAPAN)
    assert (refused.value.param, refused.value.code) == ("temprature", "unknown_parameter")
    with pytest.raises(openai.BadRequestError) as refused:
        chain().invoke("word " * 4000)
    assert refused.value.code == "context_length_exceeded"
