"""llama_binding.py -- llama.cpp's C interface as the wheel `xllamacpp` carries it, by ctypes

Why not the wheel's Python classes: they offer a server, not the logits of every position.  The
shared object exports the whole llama.h, which does.  Parameter structs are passed by value and
differ between versions: the library fills them (llama_*_default_params) into a block that is larger
than any version's, and only the first three fields of the context's (n_ctx, n_batch, n_ubatch) are
changed, after checking that they hold the defaults known for them.
"""
import ctypes
import os
from ctypes import POINTER, c_bool, c_char_p, c_float, c_int8, c_int32, c_uint32, c_void_p

import numpy as np
import xllamacpp


class Params(ctypes.Structure):
    _fields_ = [("word", c_uint32 * 128)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", c_int32), ("token", POINTER(c_int32)), ("embd", POINTER(c_float)),
                ("pos", POINTER(c_int32)), ("n_seq_id", POINTER(c_int32)),
                ("seq_id", POINTER(POINTER(c_int32))), ("logits", POINTER(c_int8)),
                ("room", c_uint32 * 16)]  # for fields that later versions append


LOG = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)


@LOG
def silent(level, text, user):
    pass


def load_library():
    folder = os.path.dirname(xllamacpp.__file__)
    lib = ctypes.CDLL(os.path.join(folder, "xllamacpp.abi3.so"))
    signatures = {
        "llama_model_default_params": (Params, []),
        "llama_context_default_params": (Params, []),
        "llama_model_load_from_file": (c_void_p, [c_char_p, Params]),
        "llama_model_get_vocab": (c_void_p, [c_void_p]),
        "llama_init_from_model": (c_void_p, [c_void_p, Params]),
        "llama_set_n_threads": (None, [c_void_p, c_int32, c_int32]),
        "llama_get_memory": (c_void_p, [c_void_p]),
        "llama_memory_clear": (None, [c_void_p, c_bool]),
        "llama_vocab_n_tokens": (c_int32, [c_void_p]),
        "llama_vocab_bos": (c_int32, [c_void_p]),
        "llama_vocab_get_add_bos": (c_bool, [c_void_p]),
        "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32,
                                     c_bool, c_bool]),
        "llama_token_to_piece": (c_int32, [c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool]),
        "llama_batch_init": (Batch, [c_int32, c_int32, c_int32]),
        "llama_batch_free": (None, [Batch]),
        "llama_decode": (c_int32, [c_void_p, Batch]),
        "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
        "llama_free": (None, [c_void_p]),
        "llama_model_free": (None, [c_void_p]),
        "llama_log_set": (None, [LOG, c_void_p]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    if not os.environ.get("LLAMA_LOG"):
        lib.llama_log_set(silent, None)
    return lib


class Llama:
    """A model file and one context over it."""

    def __init__(self, path, context=0, threads=2):
        self.lib = load_library()
        self.model = self.lib.llama_model_load_from_file(os.fsencode(path),
                                                         self.lib.llama_model_default_params())
        if not self.model:
            raise RuntimeError(f"llama.cpp cannot load {path}")
        self.vocab = self.lib.llama_model_get_vocab(self.model)
        self.n_vocab = self.lib.llama_vocab_n_tokens(self.vocab)
        self.bos = self.lib.llama_vocab_bos(self.vocab)
        self.add_bos = self.lib.llama_vocab_get_add_bos(self.vocab)
        self.context = self.open_context(context, threads) if context else None

    def open_context(self, context, threads):
        params = self.lib.llama_context_default_params()
        if list(params.word[0:3]) != [512, 2048, 512]:
            raise RuntimeError("this llama.cpp has other context parameters than those known here")
        params.word[0] = context
        params.word[1] = max(context, 512)
        handle = self.lib.llama_init_from_model(self.model, params)
        if not handle:
            raise RuntimeError("llama.cpp cannot make a context")
        self.lib.llama_set_n_threads(handle, threads, threads)
        return handle

    def close(self):
        if self.context:
            self.lib.llama_free(self.context)
        self.lib.llama_model_free(self.model)

    def tokenize(self, text, special, add_special=False):
        """Token ids of `text` (bytes)."""
        capacity = 2 * len(text) + 16
        ids = (c_int32 * capacity)()
        count = self.lib.llama_tokenize(self.vocab, text, len(text), ids, capacity, add_special,
                                        special)
        if count < 0:
            raise RuntimeError(f"llama_tokenize gave {count}")
        return ids[:count]

    def piece(self, token, special=False):
        """The bytes of one token."""
        buffer = ctypes.create_string_buffer(1024)
        count = self.lib.llama_token_to_piece(self.vocab, token, buffer, 1024, 0, special)
        return buffer.raw[:max(count, 0)]

    def clear(self):
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self.context), True)

    def decode(self, ids, position, rows):
        """Append `ids` at `position`; return the logits [rows, vocab] of the last `rows`."""
        n = len(ids)
        batch = self.lib.llama_batch_init(n, 0, 1)
        batch.n_tokens = n
        for i, token in enumerate(ids):
            batch.token[i] = token
            batch.pos[i] = position + i
            batch.n_seq_id[i] = 1
            batch.seq_id[i][0] = 0
            batch.logits[i] = i >= n - rows
        status = self.lib.llama_decode(self.context, batch)
        self.lib.llama_batch_free(batch)
        if status:
            raise RuntimeError(f"llama_decode gave {status}")
        out = np.empty((rows, self.n_vocab), np.float32)
        for i in range(rows):
            row = self.lib.llama_get_logits_ith(self.context, n - rows + i)
            out[i] = np.ctypeslib.as_array(row, (self.n_vocab,))
        return out
