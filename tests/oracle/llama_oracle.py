"""llama_oracle.py -- the real models on qgen's runtime against llama.cpp, same files, same machine

Contract, for each model:
- text to tokens: equal ids for a corpus of awkward texts and bytes, with control tokens as text and
  as tokens, and for every character of Unicode; equal bytes for every token
- logits of 256 given tokens, exact: with float32 activations against llama.cpp on the same weights
  dequantized to float32: the same arg-max in at least 99 % of positions, mean KL divergence below
  1e-5
- logits, 8 bits: as both run by default, on the same file: at least 97 % and below 5e-3, or as near
  as llama.cpp is to itself when it takes 16 tokens at a time instead of all.  It rounds activations
  to 8 bits, and its kernels for many rows do so otherwise than those for few: on small models this
  alone costs about 5 % of the arg-maxes.
- perplexity of a public text within 0.5 %
- speed of prefill and decode, interleaved, as ratios: printed, not judged
Skips aloud (exit code 77) without xllamacpp or without the model files.

usage: llama_oracle.py QGEN [tokens] [logits] [perplexity] [speed]     (all but speed, when none is
named: a test has no clock)
"""
import json
import math
import os
import random
import subprocess
import sys
import tempfile
import time

import numpy as np

MODELS = ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"]
TEXT = "/usr/share/common-licenses/GPL-3"  # on every Debian
THREADS = min(2, os.cpu_count())
CONTEXT, CHUNKS = 512, 10
LOGIT_TOKENS, SAME_ARGMAX, KL_LIMIT = 256, 0.97, 5e-3
OWN_SAME_MARGIN, OWN_KL_MARGIN = 0.02, 1.25  # five positions of 256
EXACT_SAME, EXACT_KL = 0.99, 1e-5
PERPLEXITY_LIMIT = 0.005
PROMPT, GENERATED, ROUNDS = 256, 64, 3


class Case:
    """One model, open on both sides."""

    def __init__(self, qgen, model, folder):
        from llama_binding import Llama
        from qrt_binding import Model
        self.qgen, self.model, self.folder = qgen, model, folder
        self.name = os.path.basename(model)[:24]
        self.packed = os.path.join(folder, "model.qm")
        self.run_qgen("pack", model, "-o", self.packed)
        library = os.path.join(os.path.dirname(qgen), "libqrt.so")
        self.ours, self.llama = Model(library, self.packed), Llama(model, CONTEXT, THREADS)

    def run_qgen(self, *arguments):
        done = subprocess.run([self.qgen, *arguments, "--quiet", "--format", "json"], check=False,
                              capture_output=True)
        if done.returncode:
            raise RuntimeError(f"qgen {' '.join(arguments)}: {done.stderr.decode().strip()}")
        return json.loads(done.stdout)

    def text_tokens(self, count):
        with open(TEXT, "rb") as file:
            ids = self.llama.tokenize(file.read(), False)
        start = [self.llama.bos] if self.llama.add_bos else []
        return (start + ids)[:count]

    def write_ids(self, ids):
        path = os.path.join(self.folder, "ids.txt")
        with open(path, "w", encoding="ascii") as file:
            file.write(" ".join(map(str, ids)))
        return path

    def close(self):
        self.llama.close()


# ---- text to tokens ----

FIXED = [
    b"", b" ", b"  ", b"\n", b"\n\n\n", b" \n ", b"\t\t x", b"a\0b", b"   leading", b"trailing   ",
    b"Hello, world! It's 12345 o'clock.", b"we'll they'Ve I'M don'T 'S 's' 'll", b"x" * 1000,
    b" " * 1000, b"\n" * 100 + b"a", b"1234567890" * 20, b"<0x41><0x0A>",
    "αβγ ΔΕΖ été naïve Straße ﬁ".encode(), "日本語テキスト、漢字かな交じり文。".encode(),
    "👩‍👩‍👧‍👦👍🏽🇩🇪 e\u0301 a\u200bb \u00a0\u3000x\u2028y\u0085z".encode(), "مرحبا ١٢٣ שלום".encode(),
    "หนึ่งสองสาม".encode(), "Ⅳ ½ ² ٣ 𝟘𝟙 ①".encode(), "▁▁x▁ ▁".encode(),
    b"<|im_start|>user\nHi<|im_end|>\n<|im_start|>", b"<start_of_turn>user\n\n\nx<end_of_turn>  <bos>",
    b"[multimodal]<unused99><table><tr><td>", b"<|im_start|>" * 40, b"<|im_<|im_start|>start|>",
    b"\xff\xfe", b"\xc0\xbc|", b"\xed\xa0\x80", b"\xe2\x96", b"\xe2\x28\xa1", b"\xf0\x9f\x92",
    b"\xf0 xy", b"abc\x80def", b"\xf8\x88\x80\x80\x80", b"\xe2\x96\x81\x96\x81",
]
LETTERS = ("abcXYZ019 \n\t\r'\".,;:!?$+<=>^~|-_#%&*()[]{}/\\@`éßΩжא中日한あ\u0301\u200d😀½²Ⅷ"
           "\u00a0\u3000\u2028\u2581\u2019\0\x7f")
WORDS = ["don't", "it's", "we'll", " the", "  ", "\n", "\n\n", "   \n  ", " 123", "4567", "é", "--",
         "...", "<|im_end|>", "<end_of_turn>", "'s", "'Re", "'LL", " '", "\r\n", "\t", "😀", "中文",
         " $", "€", "_x"]
# No lead byte above F4 8F: llama.cpp ends the process on a value over U+10FFFF.
BYTES = b"\x00\x20\x41\x61\x80\x81\x96\xa0\xbf\xc2\xc3\xe2\xe4\xed\xf0\x9f\x98\xff\xfe\x0a"


def corpus(llama):
    pick = random.Random(7)
    pieces = [llama.piece(i, True) for i in range(0, llama.n_vocab, 37)]
    texts = list(FIXED)
    for _ in range(400):
        texts.append(b"".join(pick.choices(pieces, k=pick.randint(1, 40))))
    for _ in range(1000):
        texts.append("".join(pick.choices(LETTERS, k=pick.randint(1, 60))).encode())
        texts.append("".join(pick.choices(WORDS, k=pick.randint(1, 30))).encode())
        texts.append(bytes(pick.choices(BYTES, k=pick.randint(1, 30))))
    with open(TEXT, "rb") as file:
        texts.append(file.read())
    return texts


def compare_corpus(case):
    texts = corpus(case.llama)
    wrong = []
    for text in texts:
        for special in (False, True):
            if case.ours.tokenize(text, special) != case.llama.tokenize(text, special):
                wrong.append(text)
    yield not wrong, f"ids of {len(texts)} texts", f"{len(wrong)} differ {wrong[:2] or ''}"


def tokenized_alike(case, codes):
    text = "".join(f"a {chr(code)}b {chr(code)}1" for code in codes).encode()
    return case.ours.tokenize(text, False) == case.llama.tokenize(text, False)


def compare_characters(case):
    wrong = []
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    for start in range(0, len(codes), 128):  # one by one only where a block differs
        block = codes[start:start + 128]
        if not tokenized_alike(case, block):
            wrong += [hex(code) for code in block if not tokenized_alike(case, [code])] or [block]
    yield not wrong, "ids of every character", f"{len(wrong)} differ {wrong[:8] or ''}"


def compare_pieces(case):
    """llama.cpp takes some ordinary tokens ("</s>") for control tokens by their text: their bytes
    count as equal when they are that text."""
    wrong = [i for i in range(case.llama.n_vocab)
             if case.ours.piece(i) not in (case.llama.piece(i), case.llama.piece(i, True))]
    hidden = [i for i in range(case.llama.n_vocab)
              if case.ours.piece(i) != case.llama.piece(i)]
    yield (not wrong and len(hidden) < 10, f"bytes of {case.llama.n_vocab} tokens",
           f"{len(wrong)} differ, {len(hidden)} that llama.cpp hides")


def check_tokens(case):
    yield from compare_corpus(case)
    yield from compare_characters(case)
    yield from compare_pieces(case)


# ---- logits ----

def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def distance(reference, logits):
    """Share of positions with the same arg-max, and the mean Kullback-Leibler divergence."""
    same = float((reference.argmax(axis=1) == logits.argmax(axis=1)).mean())
    divergence = 0.0
    for row in range(len(reference)):  # row by row: a vocabulary can be large
        p, q = log_softmax(reference[row:row + 1]), log_softmax(logits[row:row + 1])
        divergence += float((np.exp(p) * (p - q)).sum())
    return same, divergence / len(reference)


def our_logits(case, ids, *options):
    path = os.path.join(case.folder, "logits.npy")
    case.run_qgen("eval", case.packed, "--logits", path, "--tokens", case.write_ids(ids), *options)
    return np.load(path)


def llama_logits(llama, ids, step):
    llama.clear()
    return np.concatenate([llama.decode(ids[i:i + step], i, len(ids[i:i + step]))
                           for i in range(0, len(ids), step)])


def check_exact_logits(case, ids):
    from gguf_f32 import write_f32
    from llama_binding import Llama
    path = os.path.join(case.folder, "f32.gguf")
    write_f32(case.model, path)
    llama = Llama(path, CONTEXT, THREADS)
    same, kl = distance(llama_logits(llama, ids, len(ids)), our_logits(case, ids, "--exact"))
    llama.close()
    os.unlink(path)
    yield same >= EXACT_SAME, "exact: same arg-max", f"{100 * same:.2f} % of {len(ids)} positions"
    yield kl < EXACT_KL, "exact: mean KL divergence", f"{kl:.1e}"


def check_logits(case):
    ids = case.text_tokens(LOGIT_TOKENS)
    yield from check_exact_logits(case, ids)
    theirs = llama_logits(case.llama, ids, len(ids))
    own_same, own_kl = distance(theirs, llama_logits(case.llama, ids, 16))
    same, kl = distance(theirs, our_logits(case, ids))
    yield (same >= min(SAME_ARGMAX, own_same - OWN_SAME_MARGIN), "8 bits: same arg-max",
           f"{100 * same:.2f} % of {len(ids)} positions; llama.cpp with itself "
           f"{100 * own_same:.2f} %")
    yield (kl < max(KL_LIMIT, OWN_KL_MARGIN * own_kl), "8 bits: mean KL divergence",
           f"{kl:.2e}; llama.cpp with itself {own_kl:.2e}")


# ---- perplexity ----

def llama_perplexity(case):
    ids = case.text_tokens(CONTEXT * CHUNKS)
    total, count, half = 0.0, 0, CONTEXT // 2
    for start in range(0, CONTEXT * CHUNKS, CONTEXT):
        chunk = ids[start:start + CONTEXT]
        if case.llama.add_bos:
            chunk[0] = case.llama.bos
        case.llama.clear()
        logits = case.llama.decode(chunk, 0, CONTEXT - half)
        for i in range(CONTEXT - half - 1):  # float32: a vocabulary of exponentials is slow
            shifted = logits[i] - logits[i].max()
            total += math.log(np.exp(shifted).sum(dtype=np.float64)) - shifted[chunk[half + i + 1]]
            count += 1
    return math.exp(total / count)


def check_perplexity(case):
    ours = case.run_qgen("eval", case.packed, "--text", TEXT, "--ctx", str(CONTEXT), "--chunks",
                         str(CHUNKS))
    theirs = llama_perplexity(case)
    off = ours["perplexity"] / theirs - 1
    yield (abs(off) <= PERPLEXITY_LIMIT, f"perplexity of {TEXT}",
           f"{ours['perplexity']:.4f} against {theirs:.4f}: {100 * off:+.3f} %")


# ---- speed ----

def llama_speed(case, ids):
    case.llama.clear()
    start = time.perf_counter()
    logits = case.llama.decode(ids, 0, 1)
    prefill = len(ids) / (time.perf_counter() - start)
    start = time.perf_counter()
    for i in range(GENERATED - 1):
        logits = case.llama.decode([int(logits[0].argmax())], len(ids) + i, 1)
    return prefill, (GENERATED - 1) / (time.perf_counter() - start)


def our_speed(case, path):
    r = case.run_qgen("run", case.packed, "--tokens", path, "-n", str(GENERATED), "--greedy",
                      "--ignore-eos", "--threads", str(THREADS))
    return r["prefill_tokens_per_s"], r["decode_tokens_per_s"]


def check_speed(case):
    ids = case.text_tokens(PROMPT)
    path = case.write_ids(ids)
    our_speed(case, path), llama_speed(case, ids)  # warm
    rounds = [(our_speed(case, path), llama_speed(case, ids)) for _ in range(ROUNDS)]
    for k, what in enumerate(("prefill", "decode")):
        ours, theirs = (float(np.median([r[side][k] for r in rounds])) for side in (0, 1))
        yield (True, f"{what}, {THREADS} threads",
               f"{ours:.1f} tokens/s, llama.cpp {theirs:.1f}: ratio {ours / theirs:.2f}")


# ---- all of it ----

CHECKS = {"tokens": check_tokens, "logits": check_logits, "perplexity": check_perplexity,
          "speed": check_speed}


def model_files():
    folder = os.environ.get("QGEN_MODELS", ".deps/models")
    return [path for path in (os.path.join(folder, name) for name in MODELS)
            if os.path.exists(path)]


def skip(reason):
    print(f"SKIPPED: {reason}")
    sys.exit(77)


def main():
    qgen, names = os.path.abspath(sys.argv[1]), sys.argv[2:] or list(CHECKS)[:3]
    try:
        import xllamacpp  # noqa: F401
    except ImportError:
        skip("no xllamacpp here; ./build.sh test installs it where PyPI answers")
    models = model_files()
    if not models:
        skip("no model files; ./build.sh test fetches them where PyPI answers")
    failures = 0
    for model in models:
        with tempfile.TemporaryDirectory(dir=os.path.dirname(qgen)) as folder:
            case = Case(qgen, model, folder)
            for name in names:
                for good, what, numbers in CHECKS[name](case):
                    failures += not good
                    print(f"{'ok' if good else 'FAIL':4}  {case.name:24}  {what:28}  {numbers}",
                          flush=True)
            case.close()
    if len(models) < len(MODELS):
        print(f"SKIPPED: {len(MODELS) - len(models)} of {len(MODELS)} model files are absent")
    print(f"{failures} failed")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main())
