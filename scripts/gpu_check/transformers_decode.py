"""Decode of Hugging Face transformers: Qwen3-0.6B's shape, random bf16 weights, a static cache, CUDA graphs.

In: a device, a number of tokens, and a way: `capture`, one CUDA graph of a step, recorded by hand, or `compile`, that and
torch.compile(mode="reduce-overhead"). Out: after each way a line of JSON with the rates so far, tokens per second.
"""

import inspect
import json
import sys
import time

# Positions of the cache; with those that warm up all tokens fit.
CONTEXT, WARM = 512, 8


def model_of(torch, transformers):
    config = transformers.Qwen3Config(
        hidden_size=1024, intermediate_size=3072, num_hidden_layers=28, num_attention_heads=16,
        num_key_value_heads=8, head_dim=128, vocab_size=151936, max_position_embeddings=40960,
        rms_norm_eps=1e-6, rope_theta=1000000.0, tie_word_embeddings=True,
    )
    with torch.device("cuda"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    # Not by an argument: its name has changed from version to version.
    return model.to(torch.bfloat16).eval()


class Decode:
    """One token after another; token and position stay where a recorded step finds them."""

    def __init__(self, torch, transformers):
        self.torch, self.model = torch, model_of(torch, transformers)
        config = self.model.config
        try:
            self.cache = transformers.StaticCache(config=config, max_cache_len=CONTEXT)
        except TypeError:
            # Before 4.56 the cache was told more.
            self.cache = transformers.StaticCache(config, 1, CONTEXT, device="cuda", dtype=torch.bfloat16)
        self.token = torch.ones(1, 1, dtype=torch.long, device="cuda")
        self.position = torch.zeros(1, dtype=torch.long, device="cuda")
        self.forward = self.model.forward
        # Before version 5 the cache did not count for itself.
        told = "cache_position" in inspect.signature(self.model.forward).parameters
        self.more = {"cache_position": self.position} if told else {}

    def step(self):
        """Feeds the token and puts the likeliest in its place."""
        out = self.forward(input_ids=self.token, position_ids=self.position[None], past_key_values=self.cache,
                           use_cache=True, **self.more)
        self.token.copy_(out.logits[:, -1].argmax(-1, keepdim=True))
        self.position += 1

    def rate(self, step, count):
        """Tokens per second after some to warm up."""
        for _ in range(WARM):
            step()
        self.torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(count):
            step()
        self.torch.cuda.synchronize()
        return count / (time.perf_counter() - start)

    def by_compile(self, count):
        # The first step makes the cache.
        self.step()
        self.forward = self.torch.compile(self.model.forward, mode="reduce-overhead")
        return self.rate(self.step, count)

    def by_capture(self, count):
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self.step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step()
        return self.rate(graph.replay, count)


def main(device, count, way):
    # Here, so that what is missing is said by name.
    import torch
    import transformers

    torch.cuda.set_device(device)
    rates, problems = {}, {}
    with torch.no_grad():
        for name in dict.fromkeys(("capture", way)):
            try:
                # Each with a cache of its own, as the other may leave it marked.
                rates[name] = getattr(Decode(torch, transformers), f"by_{name}")(count)
            except Exception as problem:
                problems[name] = f"{type(problem).__name__}: {str(problem)[:300]}"
            if rates:
                best = max(rates, key=rates.get)
                versions = {"torch": torch.__version__, "transformers": transformers.__version__}
                found = {"tok_s": rates[best], "how": best, "all": rates, "problems": problems, **versions}
                print(json.dumps(found), flush=True)
    if not rates:
        sys.exit(json.dumps(problems))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
