"""compare.py -- what a GPU computed beside ref, the virtual GPU, or the CPU

    compare.py DIR                  DIR/here.npy, ref.npy, virtual.npy: logits [T, V] of the same tokens
    compare.py DIR RUN CPU          DIR/RUN.json, CPU.json of `qgen run --greedy --format json`
Exit code 1 when logits are further from ref than 16-bit activations explain, or tokens differ.
"""
import json
import sys

import numpy

LIMIT = 0.02  # rms of the difference over rms of the logits


def distance(a, b):
    return float(numpy.sqrt(numpy.mean((a - b) ** 2) / numpy.mean(b**2)))


def compare_logits(folder):
    here, ref, virtual = (numpy.load(f"{folder}/{name}.npy") for name in ("here", "ref", "virtual"))
    result = {
        "gpu_to_ref": distance(here, ref),
        "virtual_to_ref": distance(virtual, ref),
        "gpu_to_virtual": distance(here, virtual),
        "equal_bits": float(numpy.mean(here == virtual)),
        "same_best_token": float(numpy.mean(here.argmax(1) == ref.argmax(1))),
    }
    print(json.dumps(result))
    return max(result["gpu_to_ref"], result["gpu_to_virtual"]) > LIMIT


def compare_tokens(folder, run, cpu):
    a, b = (json.load(open(f"{folder}/{name}.json", encoding="utf-8"))["tokens"] for name in (run, cpu))
    first = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), None)
    print(json.dumps({"tokens": len(a), "first_difference": first}))
    return first is not None or len(a) != len(b)


sys.exit(compare_tokens(*sys.argv[1:]) if len(sys.argv) == 4 else compare_logits(sys.argv[1]))
