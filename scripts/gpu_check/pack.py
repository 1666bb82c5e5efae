"""Makes the archive that `gpu-check.sh run` takes to a machine with a GPU.

In: a qwenc with both targets. Out: DIR/check.tar.xz: CUDA executables of small models, with the tokens and logits that
they should have, and executables of large shapes without their weights. Invariant: what is expected comes from
transformers, or from the same model compiled for the CPU, never from CUDA code.
"""

import argparse
import concurrent.futures
import json
import lzma
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

import cases
import tensors

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDENS = ROOT / "models/tests/data/golden"
ANSWERS = ROOT / "runtime/rt/tests/data/nano.json"
# Size limit of the archive.
MOST_BYTES = 40 << 20
FOOTER, MAGIC = 192, b"QWENCIMG"
# Version whose cubins and PTX every driver of CUDA 13 (580 or newer) loads.
NVRTC = "13.0.88"
# Parameters of the layers of a shape that takes much disk space.
LARGE = 2e9
# Executables share nearly all of their code, some megabytes apart.
DICTIONARY = 256 << 20

sys.path.insert(0, str(ROOT / "benches"))
import checkpoint  # noqa: E402


def words(text, allowed, flag, parser):
    found = [] if text == "none" else text.split(",")
    for word in found:
        if word not in allowed:
            parser.error(f"{flag} {word}: expected some of {', '.join(allowed)}")
    return found


def arguments():
    parser = argparse.ArgumentParser(prog="gpu-check.sh pack", usage="see gpu-check.sh --help", add_help=False)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--sm", default="90")
    parser.add_argument("--qwenc", type=pathlib.Path, required=True)
    parser.add_argument("--models", default=",".join(cases.MODELS))
    parser.add_argument("--types", default=",".join(kind.name for kind in cases.TYPES))
    parser.add_argument("--shapes", default=",".join(cases.TARGET_SHAPES))
    args = parser.parse_args()
    args.models = words(args.models, cases.MODELS, "--models", parser)
    args.types = words(args.types, [kind.name for kind in cases.TYPES], "--types", parser)
    args.shapes = words(args.shapes, list(checkpoint.SHAPES), "--shapes", parser)
    return args


class Programs:
    """The programs that are running, so that all of them end when this script does."""

    def __init__(self):
        self.lock, self.running, self.stopped = threading.Lock(), set(), False

    def run(self, command):
        """Standard output of what must succeed."""
        command = [str(word) for word in command]
        with self.lock:
            if self.stopped:
                sys.exit("gpu-check: stopped")
            program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.running.add(program)
        out, err = program.communicate()
        with self.lock:
            self.running.remove(program)
        if program.returncode != 0:
            sys.exit(f"gpu-check: {' '.join(command)}\n{err}")
        return out

    def stop(self):
        """Ends them; none begins after this."""
        with self.lock:
            self.stopped = True
            for program in self.running:
                program.terminate()


PROGRAMS = Programs()
run = PROGRAMS.run


def nvrtc():
    """The folder of the NVRTC to compile with: QWENC_NVRTC, or that version, fetched once."""
    if os.environ.get("QWENC_NVRTC"):
        return os.environ["QWENC_NVRTC"]
    place = ROOT / f"target/nvrtc-{NVRTC}"
    library = place / "nvidia/cu13/lib"
    if not library.is_dir():
        print(f"gpu-check: installing nvidia-cuda-nvrtc {NVRTC} into {place}", file=sys.stderr, flush=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
        part = place.with_name(place.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        run([*pip, part, f"nvidia-cuda-nvrtc=={NVRTC}"])
        part.rename(place)
    return str(library)


class Packer:
    """The folder that becomes the archive, and what the manifest says of it."""

    def __init__(self, args, folder):
        self.args, self.folder, self.started = args, folder, time.monotonic()
        self.manifest = {"sm": args.sm, "qwenc": run([args.qwenc, "--version"]).strip(), "models": [], "shapes": []}

    def say(self, what):
        print(f"{time.monotonic() - self.started:6.1f} s  {what}", file=sys.stderr, flush=True)

    def compile(self, model, flags, name):
        """For GPUs, into the folder."""
        self.say(f"compiling {name}")
        output = self.folder / name
        run([self.args.qwenc, "compile", model, "--target", "cuda", "--sm", self.args.sm, "-o", output, *flags])
        return output

    def model(self, model, kind):
        """An executable of a small model, and what it should say."""
        name = f"{model}-{kind.name}"
        source = "sample" if model == "sample" else GOLDENS / model
        flags = ("--quant", kind.quant, *kind.flags)
        self.compile(source, flags, name)
        tokens, transformers = self.prompt(model)
        with tempfile.TemporaryDirectory() as place:
            cpu = pathlib.Path(place) / "cpu"
            run([self.args.qwenc, "compile", source, "--target", "cpu", "-o", cpu, *flags])
            ids = ",".join(str(token) for token in tokens)
            run([cpu, "logits", "--tokens", ids, "--out", self.folder / f"{name}.logits"])
            said = run([cpu, "generate", "--tokens", ids, "--print-tokens", "--ignore-eos", "--temperature", "0",
                        "--max-tokens", str(cases.GENERATE), "--kv-type", "f32"])
        self.manifest["models"].append({
            "name": name,
            "model": model,
            "type": kind.name,
            "tokens": tokens,
            "generated": [int(token) for token in said.strip().split(",")],
            "transformers": transformers,
        })

    def prompt(self, model):
        """Tokens, and the file in the archive with transformers' logits of them, if there is one."""
        if model == "sample":
            longest = max(json.loads(ANSWERS.read_text()), key=lambda answer: len(answer["prompt_ids"]))
            return longest["prompt_ids"], None
        golden = GOLDENS / model / "golden.safetensors"
        return list(tensors.numbers("i", tensors.read(golden)["tokens"][1])), golden_name(model)

    def goldens(self):
        """What transformers computed of the models, into the folder."""
        for model in self.args.models:
            if model != "sample":
                shutil.copy(GOLDENS / model / "golden.safetensors", self.folder / golden_name(model))

    def shape(self, shape, quant):
        """The types of a large model with these weights, which are exported once."""
        with tempfile.TemporaryDirectory(dir=self.args.dir) as place:
            source, model = pathlib.Path(place) / "checkpoint", pathlib.Path(place) / "model.bin"
            checkpoint.write_hollow(shape, source)
            self.say(f"exporting {shape} as {quant}")
            run([self.args.qwenc, "export", source, "-o", model, "--quant", quant])
            for kind in cases.speed_types_of(shape, self.args.types):
                if kind.quant == quant:
                    self.hollow(shape, kind, model)

    def hollow(self, shape, kind, model):
        """An executable of a large model; of its image only what stands behind the weights."""
        name = f"{shape}-{kind.name}"
        output = self.compile(model, (*kind.flags, "--weights", "external"), name)
        weights = output.with_name(f"{name}.weights")
        image, weights_bytes = weights.stat().st_size, behind_weights(weights)
        with open(weights, "rb") as file:
            file.seek(weights_bytes)
            (self.folder / f"{name}.tail").write_bytes(file.read())
        weights.unlink()
        self.say(f"{name}: {weights_bytes / 1e9:.2f} GB of weights left out")
        self.manifest["shapes"].append({
            "name": name,
            "shape": shape,
            "type": kind.name,
            "image_bytes": image,
            # Multiply-adds of a prompt's token: the layers' matrices.
            "multiply_adds": multiply_adds(shape),
        })

    def archive(self):
        """Written under a temporary name first."""
        order = [(model, kind.name) for model in self.args.models for kind in cases.TYPES]
        self.manifest["models"].sort(key=lambda entry: order.index((entry["model"], entry["type"])))
        order = [(shape, kind.name) for shape in self.args.shapes for kind in cases.TYPES]
        self.manifest["shapes"].sort(key=lambda entry: order.index((entry["shape"], entry["type"])))
        (self.folder / "manifest.json").write_text(json.dumps(self.manifest, indent=1))
        self.say("packing")
        part, path = self.args.dir / "check.tar.xz.part", self.args.dir / "check.tar.xz"
        filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": DICTIONARY}]
        with lzma.open(part, "wb", filters=filters) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
            for file in sorted(self.folder.iterdir()):
                tar.add(file, arcname=file.name)
        size = part.stat().st_size
        if size > MOST_BYTES:
            part.unlink()
            sys.exit(f"gpu-check: the archive has {size} bytes, expected at most {MOST_BYTES}; leave models or shapes out")
        part.rename(path)
        self.say(f"{path}: {size / 1e6:.1f} MB, {len(self.manifest['models'])} models, {len(self.manifest['shapes'])} shapes")


def golden_name(model):
    """What transformers computed of a model, in the archive."""
    return f"{model}.golden"


def behind_weights(image):
    """The bytes of the weights, from the image's footer (docs/model-bin.md)."""
    with open(image, "rb") as file:
        file.seek(-FOOTER, 2)
        footer = file.read()
    start, count = (int.from_bytes(footer[at : at + 8], "little") for at in (24, 32))
    if footer[:8] != MAGIC or start != 0:
        sys.exit(f"gpu-check: {image} is no weights image as this script knows it")
    return count


def multiply_adds(shape):
    matrices = ((name, dims) for name, dims in checkpoint.tensors(shape) if len(dims) == 2)
    return sum(dims[0] * dims[1] for name, dims in matrices if name.startswith("model.layers."))


def pack(packer):
    """All models and shapes, on all cores: NVRTC, which takes most of the time, uses one, and large shapes wait for the disk
    besides."""
    args = packer.args

    def shape(name):
        for quant in dict.fromkeys(kind.quant for kind in cases.speed_types_of(name, args.types)):
            packer.shape(name, quant)

    def shapes(names):
        for name in names:
            shape(name)

    with concurrent.futures.ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        # First what takes longest, one after the other because of the disk space.
        large = [name for name in args.shapes if multiply_adds(name) > LARGE]
        jobs = [pool.submit(shapes, large)]
        jobs += [pool.submit(shape, name) for name in args.shapes if name not in large]
        for model in args.models:
            jobs += [pool.submit(packer.model, model, kind) for kind in cases.types_of(model, args.types)]
        try:
            for job in concurrent.futures.as_completed(jobs):
                job.result()
        except BaseException:
            PROGRAMS.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    packer.archive()


def main():
    args = arguments()
    args.dir.mkdir(parents=True, exist_ok=True)
    os.environ["QWENC_NVRTC"] = nvrtc()
    # On the disk of DIR: a large model passes through it.
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        packer = Packer(args, pathlib.Path(folder))
        packer.goldens()
        pack(packer)


if __name__ == "__main__":
    # Temporary folders go also when it is ended from outside.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
