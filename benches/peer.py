"""llama.cpp, through the Python package llama-cpp-python: what qwenc is measured beside.

    peer.py write CHECKPOINT TYPE FILE        the same weights as GGUF: BF16, Q8_0, or Q4_0 for all matrices
    peer.py serve FILE THREADS CONTEXT ROWS   answers requests, a JSON object a line, until its input ends
    peer.py first FILE THREADS TOKENS ROWS    milliseconds from the start of loading to the first token

ROWS is the size of the vocabulary. Requests: {"prefill": N} and {"decode": N, "from": POSITION}; answers: {"tok_s": …, "peak_mb": …}. Sampling is
left out of its decode and Python's start out of its first token, both in its favour.
"""

import ctypes
import json
import pathlib
import sys
import time

import numpy as np

SAFETENSORS_LENGTH = 8


def write(checkpoint, kind, path):
    """The checkpoint's weights as GGUF, without a tokenizer."""
    import gguf

    about = json.loads((checkpoint / "config.json").read_text())
    layers = about["num_hidden_layers"]
    part = path.with_suffix(".part")
    out = gguf.GGUFWriter(str(part), about["model_type"])
    out.add_block_count(layers)
    out.add_context_length(about["max_position_embeddings"])
    out.add_embedding_length(about["hidden_size"])
    out.add_feed_forward_length(about["intermediate_size"])
    out.add_head_count(about["num_attention_heads"])
    out.add_head_count_kv(about["num_key_value_heads"])
    out.add_key_length(about["head_dim"])
    out.add_value_length(about["head_dim"])
    out.add_layer_norm_rms_eps(about["rms_norm_eps"])
    out.add_rope_freq_base(about["rope_theta"])
    out.add_vocab_size(about["vocab_size"])
    out.add_tokenizer_model("no_vocab")
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.QWEN3, layers)
    matrix_type = gguf.GGMLQuantizationType[kind]
    for name, bits in weights(checkpoint / "model.safetensors"):
        values = (bits.astype(np.uint32) << 16).view(np.float32)
        target = names.get_name(name, try_suffixes=(".weight",))
        if values.ndim == 1:
            out.add_tensor(target, values)
        else:
            packed = gguf.quants.quantize(values, matrix_type)
            out.add_tensor(target, packed, raw_dtype=matrix_type)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    part.rename(path)


def weights(path):
    """(name, bf16 bits) of every tensor."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(SAFETENSORS_LENGTH), "little")
        header = json.loads(file.read(length))
    data = np.memmap(path, np.uint8, "r", SAFETENSORS_LENGTH + length)
    for name, tensor in header.items():
        start, end = tensor["data_offsets"]
        yield name, data[start:end].view("<u2").reshape(tensor["shape"])


class Model:
    """A model and a context of its own, greedy and without a tokenizer."""

    def __init__(self, path, threads, positions, rows):
        import llama_cpp

        self.api = api = llama_cpp
        # Kept, as llama.cpp keeps only its address. Errors still come back as codes.
        self.log = api.llama_log_callback(lambda *_: None)
        api.llama_log_set(self.log, ctypes.c_void_p(0))
        self.started = time.perf_counter()
        api.llama_backend_init()
        self.model = api.llama_model_load_from_file(path.encode(), api.llama_model_default_params())
        if not self.model:
            sys.exit(f"{path}: llama.cpp cannot load it")
        params = api.llama_context_default_params()
        params.n_ctx = positions
        params.n_batch = params.n_ubatch = min(512, positions)
        params.n_threads = params.n_threads_batch = threads
        self.context = api.llama_init_from_model(self.model, params)
        if not self.context:
            sys.exit(f"{path}: llama.cpp has no room for {positions} positions")
        self.rows = rows

    def feed(self, tokens):
        """Runs the tokens, in steps of at most 512, and waits."""
        for at in range(0, len(tokens), 512):
            step = tokens[at : at + 512]
            # The batch holds the address only.
            array = (ctypes.c_int32 * len(step))(*step)
            batch = self.api.llama_batch_get_one(array, len(step))
            code = self.api.llama_decode(self.context, batch)
            if code != 0:
                sys.exit(f"llama.cpp: a step of {len(step)} tokens failed with code {code}")
        self.api.llama_synchronize(self.context)

    def clear(self):
        self.api.llama_memory_clear(self.api.llama_get_memory(self.context), True)

    def likeliest(self):
        """The token of the largest logit of the last position."""
        logits = self.api.llama_get_logits_ith(self.context, -1)
        return int(np.argmax(np.ctypeslib.as_array(logits, (self.rows,))))


def serve(model):
    """One request a line."""
    rng = np.random.default_rng(1)
    some = lambda n: rng.integers(0, model.rows, n).tolist()
    for line in sys.stdin:
        request = json.loads(line)
        model.clear()
        if "prefill" in request:
            tokens = some(request["prefill"])
            start = time.perf_counter()
            model.feed(tokens)
        else:
            model.feed(some(request["from"]))
            tokens = some(request["decode"])
            start = time.perf_counter()
            for token in tokens:
                model.feed([token])
        seconds = time.perf_counter() - start
        print(json.dumps({"tok_s": len(tokens) / seconds, "peak_mb": peak_mb()}), flush=True)


def peak_mb():
    """Of this process since it started its program, mapped files included."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6


def first(path, threads, tokens, rows):
    """From the start of loading to the first token; importing the package is not counted."""
    model = Model(path, threads, len(tokens) + 8, rows)
    model.feed(tokens)
    model.likeliest()
    print(json.dumps({"ms": (time.perf_counter() - model.started) * 1e3}))


def main(command, *rest):
    if command == "write":
        checkpoint, kind, path = rest
        path = pathlib.Path(path)
        if not path.exists():
            write(pathlib.Path(checkpoint), kind, path)
        return
    path, threads, last, rows = rest
    if command == "serve":
        serve(Model(path, int(threads), int(last), int(rows)))
    elif command == "first":
        first(path, int(threads), [int(t) for t in last.split(",")], int(rows))
    else:
        sys.exit(f"peer.py: unknown command {command}")


if __name__ == "__main__":
    main(*sys.argv[1:])
