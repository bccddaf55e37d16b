"""qrt_binding.py -- the part of libqrt.so that oracles need, by ctypes: models and their tokenizers"""
import ctypes
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_void_p


class Model:
    """A packed model."""

    def __init__(self, library, path):
        self.lib = ctypes.CDLL(library)
        self.lib.qrt_message.restype = c_char_p
        signatures = {
            "qrt_open": [c_void_p, POINTER(c_void_p)],
            "qrt_model_open": [c_void_p, c_char_p, POINTER(c_void_p)],
            "qrt_tokenize": [c_void_p, c_char_p, c_size_t, c_int, POINTER(c_int), c_size_t,
                             POINTER(c_size_t)],
            "qrt_token_bytes": [c_void_p, c_int, POINTER(c_void_p), POINTER(c_size_t)],
        }
        for name, arguments in signatures.items():
            getattr(self.lib, name).argtypes = arguments
        self.runtime, self.model = c_void_p(), c_void_p()
        self.call("qrt_open", None, byref(self.runtime))
        self.call("qrt_model_open", self.runtime, os.fsencode(path), byref(self.model))

    def call(self, name, *arguments):
        if getattr(self.lib, name)(*arguments):
            raise RuntimeError(f"{name}: {self.lib.qrt_message().decode(errors='replace')}")

    def tokenize(self, text, special):
        capacity = 3 * len(text) + 16
        ids, count = (c_int * capacity)(), c_size_t()
        self.call("qrt_tokenize", self.model, text, len(text), special, ids, capacity, byref(count))
        return ids[:count.value]

    def piece(self, token):
        data, count = c_void_p(), c_size_t()
        self.call("qrt_token_bytes", self.model, token, byref(data), byref(count))
        return ctypes.string_at(data, count.value)
