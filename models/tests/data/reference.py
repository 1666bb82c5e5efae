"""Dense decoders in numpy float64, written from their papers; it makes the goldens that no other program made.

    python3 reference.py          writes lora/* and golden/qwen3-attention-bias/*
    python3 reference.py check    compares itself with the goldens of transformers

Frequencies and angles are rounded to float32, as transformers has them. Needs numpy.
"""
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
EMBEDDING = "model.embed_tokens.weight"


def read(path):
    data = open(path, "rb").read()
    n = int.from_bytes(data[:8], "little")
    out = {}
    for name, t in json.loads(data[8:8 + n]).items():
        if name == "__metadata__":
            continue
        raw = data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]
        if t["dtype"] == "BF16":
            x = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            x = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16, "I32": np.int32}[t["dtype"]])
        out[name] = x.reshape(t["shape"])
    return out


def bf16(x):
    """The bits of the nearest bf16, half to even."""
    u = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((u + 0x7fff + ((u >> 16) & 1)) >> 16).astype(np.uint16)


def write(path, tensors):
    names = {np.dtype(np.float32): "F32", np.dtype(np.uint16): "BF16", np.dtype(np.int32): "I32", np.dtype(np.float16): "F16"}
    header, body = {}, b""
    for name, x in tensors.items():
        raw = np.ascontiguousarray(x).tobytes()
        header[name] = {"dtype": names[x.dtype], "shape": list(x.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "wb").write(len(text).to_bytes(8, "little") + text + body)


def inv_freq(config, dim):
    rule = dict(config.get("rope_parameters") or config.get("rope_scaling") or {})
    theta = rule.get("rope_theta", config.get("rope_theta"))
    kind = rule.get("rope_type", rule.get("type", "default"))
    assert kind in ("default", "yarn", "llama3"), kind
    plain = 1.0 / theta ** (np.arange(0, dim, 2) / dim)
    if kind == "default":
        return plain, 1.0
    original = rule["original_max_position_embeddings"]
    turns = original * plain / (2 * np.pi)
    if kind == "llama3":
        low, high = rule["low_freq_factor"], rule["high_freq_factor"]
        smooth = np.clip((turns - low) / (high - low), 0, 1)
        return (1 - smooth) * plain / rule["factor"] + smooth * plain, 1.0
    edge = lambda r: dim * np.log(original / (r * 2 * np.pi)) / (2 * np.log(theta))
    low, high = max(np.floor(edge(32)), 0), min(np.ceil(edge(1)), dim - 1)
    ramp = np.clip((np.arange(dim // 2) - low) / (high - low), 0, 1)
    return plain / rule["factor"] * ramp + plain * (1 - ramp), 0.1 * np.log(rule["factor"]) + 1


def forward(config, weights, tokens):
    w = {k: v.astype(np.float64) for k, v in weights.items()}
    heads, kv = config["num_attention_heads"], config["num_key_value_heads"]
    dim = config.get("head_dim") or config["hidden_size"] // heads
    norm = lambda x, g: x / np.sqrt((x * x).mean(-1, keepdims=True) + config["rms_norm_eps"]) * g
    freq, factor = inv_freq(config, dim)
    angle = (np.arange(len(tokens), dtype=np.float32)[:, None] * freq.astype(np.float32)).astype(np.float64)
    cos, sin = (np.concatenate([f(angle)] * 2, -1)[:, None] * factor for f in (np.cos, np.sin))
    rotate = lambda x: x * cos + np.concatenate([-x[..., dim // 2:], x[..., :dim // 2]], -1) * sin
    seen = {"embed": w[EMBEDDING][tokens]}
    x = seen["embed"]
    for i in range(config["num_hidden_layers"]):
        p, s = f"model.layers.{i}.", {}
        lin = lambda name, x: x @ w[p + name + ".weight"].T + w.get(p + name + ".bias", 0)
        n = s["attn_norm"] = norm(x, w[p + "input_layernorm.weight"])
        q, k, v = (lin(f"self_attn.{c}_proj", n).reshape(len(tokens), -1, dim) for c in "qkv")
        s |= {"q_proj": q, "k_proj": k, "v_proj": v}
        if p + "self_attn.q_norm.weight" in w:
            q = s["q_norm"] = norm(q, w[p + "self_attn.q_norm.weight"])
            k = s["k_norm"] = norm(k, w[p + "self_attn.k_norm.weight"])
        q, k = s["q_rope"], s["k_rope"] = rotate(q), rotate(k)
        score = np.einsum("thd,shd->hts", q, k.repeat(heads // kv, 1)) / np.sqrt(dim)
        t = np.arange(len(tokens))
        visible = t[None] <= t[:, None]
        types = config.get("layer_types")
        slides = types[i] == "sliding_attention" if types else i >= config.get("max_window_layers", 0)
        if config.get("use_sliding_window") and slides:
            visible &= t[None] > t[:, None] - config["sliding_window"]
        score = np.where(visible, score, -np.inf)
        score = np.exp(score - score.max(-1, keepdims=True))
        score /= score.sum(-1, keepdims=True)
        s["attn"] = np.einsum("hts,shd->thd", score, v.repeat(heads // kv, 1)).reshape(len(tokens), -1)
        s["o_proj"] = lin("self_attn.o_proj", s["attn"])
        h = x + s["o_proj"]
        n = s["ffn_norm"] = norm(h, w[p + "post_attention_layernorm.weight"])
        s["gate"], s["up"] = lin("mlp.gate_proj", n), lin("mlp.up_proj", n)
        s["down"] = lin("mlp.down_proj", s["gate"] / (1 + np.exp(-s["gate"])) * s["up"])
        x = s["out"] = h + s["down"]
        seen |= {f"layer.{i}.{k}": v for k, v in s.items()}
    seen["final_norm"] = norm(x, w["model.norm.weight"])
    seen["logits"] = seen["final_norm"] @ w[EMBEDDING if config["tie_word_embeddings"] else "lm_head.weight"].T
    return seen


def greedy(config, weights, tokens, count):
    tokens = list(tokens)
    for _ in range(count):
        tokens.append(int(forward(config, weights, tokens)["logits"][-1].argmax()))
    return np.array(tokens[-count:], np.int32)


def case(name):
    folder = f"{HERE}/golden/{name}"
    return json.load(open(folder + "/config.json")), read(folder + "/model.safetensors"), read(folder + "/golden.safetensors")


def check():
    for name in sorted(os.listdir(f"{HERE}/golden")):
        if not os.path.isdir(f"{HERE}/golden/{name}"):
            continue
        config, weights, golden = case(name)
        seen = forward(config, weights, golden["tokens"])
        assert seen.keys() == golden.keys() - {"tokens", "generated"}
        worst = max(np.linalg.norm(seen[k] - golden[k]) / np.linalg.norm(golden[k]) for k in seen)
        same = (greedy(config, weights, golden["tokens"], 24) == golden["generated"]).all()
        print(f"{name}: worst activation {worst:.1e}, greedy tokens equal: {same}")
        assert worst < 1e-5 and same


def attention_bias():
    config, weights, golden = case("qwen3-tied")
    config["attention_bias"] = True
    rng = np.random.default_rng(11)
    weights = {k: bf16(v) for k, v in weights.items()}
    for i in range(2):
        for name, rows in (("q", 128), ("k", 64), ("v", 64), ("o", 64)):
            weights[f"model.layers.{i}.self_attn.{name}_proj.bias"] = bf16(rng.normal(0, 0.5, rows))
    folder = f"{HERE}/golden/qwen3-attention-bias"
    write(folder + "/model.safetensors", weights)
    json.dump(config, open(folder + "/config.json", "w"), indent=2)
    weights = read(folder + "/model.safetensors")
    seen = forward(config, weights, golden["tokens"])
    out = {"tokens": golden["tokens"], "generated": greedy(config, weights, golden["tokens"], 24)}
    write(folder + "/golden.safetensors", out | {k: v.astype(np.float32) for k, v in seen.items()})


SEVEN = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj",
         "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]


def adapter(name, modules, layers, rank, alpha, config=None, prefix="base_model.model.", dtype=np.float32, swap=False):
    """Writes a folder and returns delta by module: rank and alpha are functions of the module's name."""
    rng = np.random.default_rng(len(name))
    base = read(f"{HERE}/golden/qwen3-tied/model.safetensors")
    tensors, deltas = {}, {}
    rslora = (config or {}).get("use_rslora", False)
    for i in layers:
        for short in modules:
            module = f"model.layers.{i}.{short}"
            out, cols = base[module + ".weight"].shape
            if swap:
                out, cols = cols, out
            r = rank(module)
            a, b = rng.normal(0, 0.2, (r, cols)).astype(dtype), rng.normal(0, 0.2, (out, r)).astype(dtype)
            tensors[f"{prefix}{module}.lora_A.weight"], tensors[f"{prefix}{module}.lora_B.weight"] = a, b
            delta = b.astype(np.float64) @ a.astype(np.float64) * alpha(module) / (np.sqrt(r) if rslora else r)
            deltas[module + ".weight"] = delta.T if swap else delta
    write(f"{HERE}/lora/{name}/adapter_model.safetensors", tensors)
    settings = {"peft_type": "LORA", "r": 4, "lora_alpha": 6, "bias": "none", "target_modules": sorted({m.split(".")[-1] for m in modules}),
                "task_type": "CAUSAL_LM", "lora_dropout": 0.05, "base_model_name_or_path": "x", "inference_mode": True,
                "modules_to_save": None, "use_dora": False, "init_lora_weights": True, "fan_in_fan_out": swap} | (config or {})
    json.dump(settings, open(f"{HERE}/lora/{name}/adapter_config.json", "w"), indent=2)
    return deltas


def lora():
    config, weights, golden = case("qwen3-tied")
    plain = adapter("plain", ["self_attn.q_proj", "self_attn.v_proj"], [0, 1], lambda m: 4, lambda m: 6)
    ranks = {"mlp.up_proj": 8, r"model.layers.1.self_attn.[qk]_proj": 2}
    alphas = {"o_proj": 3, "layers.0.mlp.up_proj": 12}
    rank = lambda m: 8 if m.endswith("mlp.up_proj") else 2 if m in ("model.layers.1.self_attn.q_proj", "model.layers.1.self_attn.k_proj") else 4
    alpha = lambda m: 3 if m.endswith("o_proj") else 12 if m == "model.layers.0.mlp.up_proj" else 6
    patterns = adapter("patterns", SEVEN, [0, 1], rank, alpha, {"use_rslora": True, "rank_pattern": ranks, "alpha_pattern": alphas})
    swapped = adapter("swapped", ["mlp.down_proj", "self_attn.k_proj"], [1], lambda m: 4, lambda m: 6, prefix="", dtype=np.float16, swap=True)
    out = {"tokens": golden["tokens"]}
    for name, parts in {"plain": [(plain, 1)], "patterns": [(patterns, 1)], "swapped": [(swapped, 1)],
                        "all": [(plain, 0.5), (patterns, -1), (swapped, 2)]}.items():
        merged = {k: v.astype(np.float64) for k, v in weights.items()}
        for deltas, scale in parts:
            for k, delta in deltas.items():
                merged[k] = merged[k] + scale * delta
        out[name] = forward(config, merged, golden["tokens"])["logits"].astype(np.float32)
    write(f"{HERE}/lora/golden.safetensors", out)


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        check()
    else:
        attention_bias()
        lora()
