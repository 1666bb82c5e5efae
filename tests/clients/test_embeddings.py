"""Texts as vectors."""

from __future__ import annotations

import math

import openai
import pytest
from langchain_openai import OpenAIEmbeddings

from conftest import URL

TEXTS = ["The capital of Japan is Tokyo.", "Tokyo is the capital of Japan.", "3 + 4 = 7"]


def cosine(a: list[float], b: list[float]) -> float:
    """Of vectors of length 1."""
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_texts_get_vectors(client: openai.OpenAI, model: str) -> None:
    # The client asks for base64 and unpacks it.
    said = client.embeddings.create(model=model, input=TEXTS)
    assert [one.index for one in said.data] == [0, 1, 2] and said.object == "list" and said.model == model
    assert said.usage.prompt_tokens == said.usage.total_tokens > 10
    found = [one.embedding for one in said.data]
    assert all(math.isclose(cosine(one, one), 1, abs_tol=1e-5) for one in found)
    assert cosine(found[0], found[1]) > cosine(found[0], found[2])
    plain = client.embeddings.create(model=model, input=TEXTS[0], encoding_format="float")
    assert plain.data[0].embedding == pytest.approx(found[0], abs=1e-6)


def test_a_conversation_goes_on_beside_them(client: openai.OpenAI, model: str) -> None:
    before = client.embeddings.create(model=model, input="apples").data[0].embedding
    stream = client.completions.create(model=model, prompt="Once", max_tokens=64, stream=True, extra_body={"ignore_eos": True})
    for count, _ in enumerate(stream):
        if count < 3:
            assert client.embeddings.create(model=model, input="apples").data[0].embedding == before
    assert count > 3


def test_dimensions(client: openai.OpenAI, model: str) -> None:
    whole = client.embeddings.create(model=model, input="pears").data[0].embedding
    cut = client.embeddings.create(model=model, input="pears", dimensions=16).data[0].embedding
    length = math.sqrt(cosine(whole[:16], whole[:16]))
    assert cut == pytest.approx([x / length for x in whole[:16]], abs=1e-6)


@pytest.mark.parametrize("wrong", ["", [], [""], [[]], ["a"] * 2049, [1 << 40], 7])
def test_what_is_refused(client: openai.OpenAI, model: str, wrong: object) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.embeddings.create(model=model, input=wrong)
    assert refused.value.param == "input"


def test_through_langchain(model: str) -> None:
    # Without its own counting of tokens, which is of OpenAI's vocabulary.
    chain = OpenAIEmbeddings(model=model, base_url=f"{URL}/v1", api_key="none", check_embedding_ctx_length=False)
    documents = chain.embed_documents(TEXTS)
    assert len(documents) == 3
    assert chain.embed_query(TEXTS[0]) == pytest.approx(documents[0], abs=1e-6)
