"""dequant_oracle.py -- `qgen dequant` against the gguf Python package, bit for bit

Contract:
- random blocks of every tensor type that qgen reads, extreme scales among them: equal bits
- the real models: of every tensor type they hold the smallest tensor, and the largest below 2 million
  weights: equal bits (skipped aloud where the model files are absent)
A NaN equals a NaN, whatever its payload.

usage: dequant_oracle.py QGEN
"""

import os
import struct
import subprocess
import sys
import tempfile

import gguf
import numpy
from gguf import GGMLQuantizationType as Type

TYPES = [Type.F32, Type.F16, Type.BF16, Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0,
         Type.Q2_K, Type.Q3_K, Type.Q4_K, Type.Q5_K, Type.Q6_K]
ROWS, COLUMNS = 37, 768
MODELS = ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"]
LARGEST = 2_000_000


class Tensor:
    """A tensor of a file: the package decodes it, its place is found by the reader below."""

    def __init__(self, name, shape, kind, offset):
        self.name, self.shape, self.tensor_type, self.offset = name, shape, kind, offset
        self.n_elements = int(numpy.prod(shape))

    def dequantized(self, path):
        block, size = gguf.GGML_QUANT_SIZES[self.tensor_type]
        start, count = self.offset, self.n_elements // block * size
        data = numpy.fromfile(path, numpy.uint8, count, offset=start).reshape(-1, size)
        plain = {Type.F32: numpy.float32, Type.F16: numpy.float16}
        if self.tensor_type in plain:
            values = data.view(plain[self.tensor_type]).astype(numpy.float32)
        else:
            values = gguf.quants.dequantize(data, self.tensor_type)
        return values.astype(numpy.float32).reshape(-1, self.shape[0])


def read_tensors(path):
    """The tensors of a sound GGUF file.  Why not GGUFReader: half a minute for 262144 tokens."""
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    data, at = memoryview(open(path, "rb").read(64 << 20)), 0

    def take(form):
        nonlocal at
        (value,) = struct.unpack_from("<" + form, data, at)
        at += struct.calcsize(form)
        return value

    def text():
        nonlocal at
        count = take("Q")
        at += count
        return bytes(data[at - count:at])

    def skip(kind):
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            element, count = take("I"), take("Q")
            for _ in range(count):
                skip(element)
        else:
            at += sizes[kind]

    at = 8
    count, keys = take("Q"), take("Q")
    for _ in range(keys):
        text()
        skip(take("I"))
    tensors = [Tensor(text().decode(), [take("Q") for _ in range(take("I"))], Type(take("I")),
                      take("Q")) for _ in range(count)]
    start = (at + 31) // 32 * 32
    for tensor in tensors:
        tensor.offset += start
    return tensors


def qgen_dequant(qgen, model, name, folder):
    output = os.path.join(folder, "out.npy")
    subprocess.run([qgen, "dequant", model, name, "-o", output], check=True,
                   stdout=subprocess.DEVNULL)
    return numpy.load(output)


def differing(ours, theirs):
    """How many of the values have other bits."""
    if ours.shape != theirs.shape:
        return ours.size
    same = ours.view(numpy.uint32) == theirs.view(numpy.uint32)
    return int((~(same | (numpy.isnan(ours) & numpy.isnan(theirs)))).sum())


def compare(qgen, path, tensors, folder):
    failures = 0
    for tensor in tensors:
        ours, theirs = qgen_dequant(qgen, path, tensor.name, folder), tensor.dequantized(path)
        wrong = differing(ours, theirs)
        failures += wrong > 0
        print(f"{'FAIL' if wrong else 'ok':4}  {tensor.tensor_type.name:5} {tensor.name:28} "
              f"{ours.shape[0]} x {ours.shape[1]}: {wrong} of {theirs.size} differ")
    return failures


def write_synthetic(path):
    random = numpy.random.default_rng(20240)
    writer = gguf.GGUFWriter(path, "synthetic")
    for kind in TYPES:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        data = random.integers(0, 256, (ROWS, COLUMNS // block * size), dtype=numpy.uint8)
        if kind == Type.F32:
            data = data.view(numpy.float32)
        elif kind == Type.F16:
            data = data.view(numpy.float16)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def chosen(tensors):
    """Of each type the smallest tensor, and the largest below LARGEST."""
    picked = {}
    for kind in {t.tensor_type for t in tensors}:
        sized = sorted((t for t in tensors if t.tensor_type == kind),
                       key=lambda t: (t.n_elements, t.name))
        for tensor in sized[:1] + [t for t in sized if t.n_elements < LARGEST][-1:]:
            picked[tensor.name] = tensor
    return [picked[name] for name in sorted(picked)]


def main(qgen):
    numpy.seterr(all="ignore")  # random scales overflow
    models = os.environ.get("QGEN_MODELS", ".deps/models")
    with tempfile.TemporaryDirectory() as folder:
        synthetic = os.path.join(folder, "synthetic.gguf")
        write_synthetic(synthetic)
        failures = compare(qgen, synthetic, read_tensors(synthetic), folder)
        for name in MODELS:
            path = os.path.join(models, name)
            if os.path.exists(path):
                print(name)
                failures += compare(qgen, path, chosen(read_tensors(path)), folder)
            else:
                print(f"SKIPPED: {path} is absent; ./build.sh test fetches it where PyPI answers")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
