"""dequant_oracle.py -- `qgen dequant` against the gguf Python package, bit for bit

Contract:
- random blocks of every tensor type that qgen reads, extreme scales among them: equal bits
- the real models: of every tensor type they hold the smallest and the largest matrix below 2 million
  weights: equal bits (skipped aloud where the model files are absent)
A NaN equals a NaN, whatever its payload.

usage: dequant_oracle.py QGEN
"""

import os
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


def qgen_dequant(qgen, model, name, folder):
    output = os.path.join(folder, "out.npy")
    subprocess.run([qgen, "dequant", model, name, "-o", output], check=True,
                   stdout=subprocess.DEVNULL)
    return numpy.load(output)


def oracle_dequant(tensor):
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(numpy.float32)
    return values.reshape(-1, int(tensor.shape[0]))


def differing(ours, theirs):
    """How many of the values have other bits."""
    if ours.shape != theirs.shape:
        return ours.size
    same = ours.view(numpy.uint32) == theirs.view(numpy.uint32)
    return int((~(same | (numpy.isnan(ours) & numpy.isnan(theirs)))).sum())


def compare(qgen, path, tensors, folder):
    failures = 0
    for tensor in tensors:
        ours, theirs = qgen_dequant(qgen, path, tensor.name, folder), oracle_dequant(tensor)
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


def chosen(reader):
    """Of each type the smallest and the largest matrix."""
    picked = {}
    for kind in {t.tensor_type for t in reader.tensors}:
        sized = sorted((int(t.n_elements), t.name, t) for t in reader.tensors
                       if t.tensor_type == kind and t.n_elements < LARGEST)
        for _, name, tensor in sized[:1] + sized[-1:]:
            picked[name] = tensor
    return [picked[name] for name in sorted(picked)]


def main(qgen):
    numpy.seterr(all="ignore")  # random scales overflow
    models = os.environ.get("QGEN_MODELS", ".deps/models")
    with tempfile.TemporaryDirectory() as folder:
        synthetic = os.path.join(folder, "synthetic.gguf")
        write_synthetic(synthetic)
        failures = compare(qgen, synthetic, gguf.GGUFReader(synthetic).tensors, folder)
        for name in MODELS:
            path = os.path.join(models, name)
            if os.path.exists(path):
                print(name)
                failures += compare(qgen, path, chosen(gguf.GGUFReader(path)), folder)
            else:
                print(f"SKIPPED: {path} is absent; ./build.sh test fetches it where PyPI answers")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
