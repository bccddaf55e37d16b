"""peers.py -- linears of qgen beside other people's, in one process, on one stream, on the same weights

    python3 peers.py --library build/libqgen_linear.so [--out peers.json] [--budget 480] [--quick]

Peers: cuBLAS through PyTorch (bf16, f16, int8, fp8), PyTorch's int4 weight-only matmul, a plain
Triton matmul as a sanity check, Marlin, DeepGEMM and gemlite where their modules can be imported; a
device-to-device copy and a large bf16 product measure the ceilings.
Method: every candidate of a row (shape, M) is captured as a CUDA graph of several launches that walk
through copies of its weight, together larger than three second-level caches; graphs are replayed in
turn (a b c a b c ...), each between two events; a figure is the median over the rounds, per launch.
16-bit results are compared with a float32 product of what the packed codes mean: a row whose error is
above one percent is not timed.  Rows go by importance and stop when the budget is spent.
"""
import argparse
import ctypes
import importlib
import json
import statistics
import subprocess
import sys
import time
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_uint64, c_void_p

import torch

ROWS = (1, 2, 4, 8, 16, 17, 32, 64, 128, 256, 1024, 4096)
# Linears of Llama-3-8B and 70B, then shapes others have published figures for.
SHAPES = {
    "8B down": (4096, 14336), "8B gate_up": (28672, 4096), "8B qkv": (6144, 4096), "8B o": (4096, 4096),
    "70B gate_up": (57344, 8192), "70B down": (8192, 28672), "70B qkv": (10240, 8192), "70B o": (8192, 8192),
    "DeepSeek 24576x7168": (24576, 7168), "DeepSeek 7168x16384": (7168, 16384), "DeepSeek 2112x7168": (2112, 7168),
}
CACHES = 3  # copies of a weight together are this many second-level caches
ERROR = 0.01


class Linear:
    """A request of qgen on the GPU."""

    def __init__(self, path, request, stream):
        self.lib = ctypes.CDLL(path)
        self.lib.gl_message.restype = self.lib.gl_kernel.restype = c_char_p
        self.lib.gl_weight.argtypes = [c_void_p, c_int, c_int, c_uint64, c_int, c_void_p, POINTER(c_void_p)]
        self.lib.gl_run.argtypes = [c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_void_p, c_int, c_int64, c_int64]
        self.lib.gl_stream.argtypes = [c_void_p, c_void_p]
        self.lib.gl_kernel.argtypes = [c_void_p, c_void_p, c_int]
        self.lib.gl_weight_free.argtypes = [c_void_p, c_void_p]
        self.lib.gl_bytes_per_copy.argtypes = [c_void_p, c_int, c_int, POINTER(c_int64)]
        self.handle, self.weight = c_void_p(), c_void_p()
        self.call("gl_open", request.encode(), b"cuda:0", byref(self.handle))
        self.call("gl_stream", self.handle, c_void_p(stream.cuda_stream))

    def call(self, name, *arguments):
        if getattr(self.lib, name)(*arguments):
            raise RuntimeError(f"{name}: {self.lib.gl_message().decode(errors='replace')}")

    def bytes(self, n, k):
        out = c_int64()
        self.call("gl_bytes_per_copy", self.handle, n, k, byref(out))
        return out.value

    def set_weight(self, n, k, copies, wants_values):
        """Random weights; their float32 values on the CPU, or None."""
        self.lib.gl_weight_free(self.handle, self.weight)
        self.weight = c_void_p()
        values = torch.empty(n, k) if wants_values else None
        self.call("gl_weight", self.handle, n, k, 1, copies, values.data_ptr() if wants_values else None,
                  byref(self.weight))
        return values

    def run(self, copy, x, x_scale, y, m):
        self.call("gl_run", self.handle, self.weight, copy, x.data_ptr(), None if x_scale is None else x_scale.data_ptr(),
                  y.data_ptr(), m, x.stride(0), y.stride(0))

    def kernel(self, m):
        return self.lib.gl_kernel(self.handle, self.weight, m).decode()


class Bench:
    """Times candidates in turn."""

    def __init__(self, seconds_a_row):
        self.stream = torch.cuda.Stream()
        self.seconds = seconds_a_row
        self.cache = torch.cuda.get_device_properties(0).L2_cache_size

    def copies(self, nbytes):
        return max(1, min(64, -(-CACHES * self.cache // nbytes)))

    def capture(self, launch, launches):
        """A graph of `launches` calls launch(i)."""
        with torch.cuda.stream(self.stream):
            for i in range(3):
                launch(i)
        self.stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="relaxed"):
            for i in range(launches):
                launch(i)
        return graph

    def replay(self, graph):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        with torch.cuda.stream(self.stream):
            start.record()
            graph.replay()
            end.record()
        end.synchronize()
        return start.elapsed_time(end) * 1e-3

    def compare(self, candidates):
        """{name: (median, low, high)} in seconds a launch; `candidates`: {name: (launch, copies)}."""
        graphs = {}
        for name, (launch, copies) in candidates.items():
            try:
                launches = max(copies, 8)
                graphs[name] = self.capture(launch, launches), launches
            except Exception as error:  # a peer that cannot is left out, and said
                print(f"    {name}: {str(error).splitlines()[0][:120]}", file=sys.stderr)
        times = {name: [] for name in graphs}
        for graph, _ in graphs.values():
            self.replay(graph)
        end = time.monotonic() + self.seconds
        while time.monotonic() < end or min(map(len, times.values()), default=9) < 7:
            for name, (graph, launches) in graphs.items():
                times[name].append(self.replay(graph) / launches)
        return {name: (statistics.median(t), min(t), max(t)) for name, t in times.items()}


def device_block():
    query = "name,driver_version,clocks.sm,clocks.mem,clocks.max.sm,power.limit,temperature.gpu"
    answer = subprocess.run(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True)
    block = dict(zip(query.split(","), map(str.strip, answer.stdout.strip().split(","))))
    block.update(torch=torch.__version__, cuda=torch.version.cuda, processors=torch.cuda.get_device_properties(0).multi_processor_count)
    return block


def ceilings(bench):
    """Bytes per second of a copy (read and written), bf16 operations per second of a large product."""
    source = torch.empty(1 << 31, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    c = torch.empty_like(a)
    times = bench.compare({"copy": (lambda i: target.copy_(source), 1), "matmul": (lambda i: torch.mm(a, b, out=c), 1)})
    return {"bytes_per_s": 2 * source.numel() / times["copy"][0], "bf16_ops_per_s": 2 * 8192**3 / times["matmul"][0]}


# ---- peers: (weight values [N, K] float32 on the GPU, copies) -> launch(i, x, y), or None ----

def dense(dtype):
    def prepare(values, copies):
        weights = [values.to(dtype).clone() for _ in range(copies)]
        return lambda i, x, y: torch.mm(x.to(dtype), weights[i % copies].t(), out=y.to(dtype))
    return prepare


def torch_int4(values, copies):
    n, k = values.shape
    if n % 8 or k % 128:
        return None
    codes = torch.randint(0, 256, (n, k // 2), dtype=torch.uint8, device="cuda")
    packed = torch._convert_weight_to_int4pack(codes, 8)
    scales = torch.ones(k // 128, n, 2, dtype=torch.bfloat16, device="cuda")
    weights = [packed.clone() for _ in range(copies)]
    return lambda i, x, y: torch._weight_int4pack_mm(x, weights[i % copies], 128, scales)


def marlin(values, copies):
    module = importlib.import_module("marlin")
    n, k = values.shape
    packed = torch.randint(-2**31, 2**31 - 1, (k // 16, n * 16 // 8), dtype=torch.int32, device="cuda")
    scales = torch.ones(k // 128, n, dtype=torch.float16, device="cuda") * 0.01
    workspace = torch.zeros(n // 128 * 16, dtype=torch.int32, device="cuda")
    weights = [packed.clone() for _ in range(copies)]
    return lambda i, x, y: module.mul(x, weights[i % copies], y, scales, workspace)


def gemlite(values, copies):
    module = importlib.import_module("gemlite")
    n, k = values.shape
    layers = []
    for _ in range(min(copies, 4)):
        layer = module.GemLiteLinear(4, group_size=128, in_features=k, out_features=n,
                                     input_dtype=module.DType.FP16, output_dtype=module.DType.FP16)
        codes = torch.randint(0, 16, (n, k), dtype=torch.uint8, device="cuda")
        layer.pack(codes, torch.ones(n * k // 128, 1, device="cuda").half(), torch.full((n * k // 128, 1), 8.0, device="cuda").half(), None)
        layers.append(layer)
    return lambda i, x, y: layers[i % len(layers)](x)


def torch_int8(values, copies):
    weights = [torch.randint(-127, 128, values.shape, dtype=torch.int8, device="cuda") for _ in range(copies)]
    return lambda i, x, y: torch._int_mm(x, weights[i % copies].t())


def torch_fp8(values, copies):
    n, k = values.shape
    weights = [values.to(torch.float8_e4m3fn).clone() for _ in range(copies)]
    one = torch.ones((), device="cuda")
    return lambda i, x, y: torch._scaled_mm(x, weights[i % copies].t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16)


def deep_gemm(values, copies):
    module = importlib.import_module("deep_gemm")
    n, k = values.shape
    weights = [values.to(torch.float8_e4m3fn).clone() for _ in range(copies)]
    scale = torch.ones(-(-n // 128), -(-k // 128), device="cuda")
    def launch(i, x, y):
        x_scale = torch.ones(x.shape[0], -(-k // 128), device="cuda")
        module.fp8_gemm_nt((x, x_scale), (weights[i % copies], scale), y)
    return launch


def triton_matmul(values, copies):
    import triton
    import triton.language as tl

    @triton.jit
    def kernel(x, w, y, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
        m = tl.program_id(0) * BM + tl.arange(0, BM)
        n = tl.program_id(1) * BN + tl.arange(0, BN)
        total = tl.zeros((BM, BN), dtype=tl.float32)
        for k0 in range(0, K, BK):
            k = k0 + tl.arange(0, BK)
            a = tl.load(x + m[:, None] * K + k[None, :], mask=(m[:, None] < M) & (k[None, :] < K), other=0.0)
            b = tl.load(w + n[None, :] * K + k[:, None], mask=(n[None, :] < N) & (k[:, None] < K), other=0.0)
            total += tl.dot(a, b)
        tl.store(y + m[:, None] * N + n[None, :], total.to(y.dtype.element_ty), mask=(m[:, None] < M) & (n[None, :] < N))

    n, k = values.shape
    weights = [values.half().clone() for _ in range(copies)]

    def launch(i, x, y):
        m = x.shape[0]
        block = 16 if m <= 16 else 64 if m <= 64 else 128
        kernel[(triton.cdiv(m, block), triton.cdiv(n, 128))](x, weights[i % copies], y, m, n, k, block, 128, 64, num_warps=8 if block == 128 else 4)
    return launch


# ---- what is compared: our request, x and y types, peers ----

W16 = {"cublas f16": dense(torch.float16), "torch int4": torch_int4, "marlin": marlin, "gemlite": gemlite, "triton f16": triton_matmul}
GROUPS = [
    ("linear.w4g128.f16.f16", torch.float16, W16),
    ("linear.e4m3gc.f32.e4m3t.bf16", torch.float8_e4m3fn, {"cublas fp8": torch_fp8, "cublas bf16": dense(torch.bfloat16)}),
    ("linear.e4m3g128.f32.e4m3b.bf16", torch.float8_e4m3fn, {"deep_gemm": deep_gemm, "cublas fp8": torch_fp8}),
    ("linear.w8gc.f32.i8t.f16", torch.int8, {"cublas int8": torch_int8, "cublas f16": dense(torch.float16)}),
    *((f"linear.{scheme}.f16.f16", torch.float16, {"cublas f16": dense(torch.float16)})
      for scheme in ("w2g16m.k", "w3g128z", "w4g32m.k", "w5g32m.k", "w6g16.k", "w8g128")),
]


def make_x(kind, m, k):
    if kind == torch.int8:
        return torch.randint(-127, 128, (m, k), dtype=torch.int8, device="cuda")
    return torch.randn(m, k, device="cuda").to(kind)


def as_16bit(x):
    return x if x.dtype in (torch.float16, torch.bfloat16) else torch.randn(*x.shape, device="cuda").half()


def is_right(ours, x, values, y):
    """Only of 16-bit x: codes of 8-bit rows lie permuted, `qgen check` is for them."""
    if x.dtype != torch.float16 or values is None:
        return True
    want = x.float() @ values.t()
    return ((y.float() - want).norm() / want.norm()).item() < ERROR


def bench_row(bench, ours, peers, kind, values, name, n, k, m, copies):
    x = make_x(kind, m, k)
    x16 = as_16bit(x)
    scale = None if kind == torch.float16 else torch.ones(m, -(-k // 128), device="cuda")
    y = torch.full((m, n), float("nan"), dtype=torch.float16 if kind != torch.float8_e4m3fn else torch.bfloat16, device="cuda")
    with torch.cuda.stream(bench.stream):
        ours.run(0, x, scale, y, m)
    bench.stream.synchronize()
    if not is_right(ours, x, values, y):
        return {"what": name, "n": n, "k": k, "m": m, "wrong": True}
    candidates = {"qgen": (lambda i: ours.run(i, x, scale, y, m), copies)}
    for peer, launch in peers.items():
        wants_codes = peer in ("cublas fp8", "deep_gemm", "cublas int8")
        operand = x if wants_codes else x16.bfloat16() if peer in ("cublas bf16", "torch int4") else x16
        out = y if operand.dtype == y.dtype or wants_codes else y.to(operand.dtype)
        candidates[peer] = (lambda i, f=launch, a=operand, b=out: f(i, a, b), copies)
    times = bench.compare(candidates)
    return {"what": name, "n": n, "k": k, "m": m, "kernel": ours.kernel(m), "weight_bytes": ours.bytes(n, k), "ops": 2 * m * n * k,
            "times": {c: {"median": t[0], "low": t[1], "high": t[2]} for c, t in times.items()}}


def print_row(row, ceiling):
    if row.get("wrong"):
        return print(f"{row['what']:<32} {row['n']:>6} x {row['k']:<6} M={row['m']:<5} WRONG")
    mine = row["times"].get("qgen", {"median": float("nan")})["median"]
    share = row["weight_bytes"] / mine / (ceiling["bytes_per_s"])
    rate = row["ops"] / mine * 1e-12
    peers = "  ".join(f"{name} {t['median'] / mine:.2f}x" for name, t in row["times"].items() if name != "qgen")
    print(f"{row['what']:<32} {row['n']:>6} x {row['k']:<6} M={row['m']:<5} {mine * 1e6:8.1f} us  {share:4.0%} of copy  "
          f"{rate:7.1f} T/s   {peers}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--library", required=True)
    parser.add_argument("--out", default="peers.json")
    parser.add_argument("--budget", type=float, default=480, help="seconds")
    parser.add_argument("--seconds", type=float, default=0.15, help="of timing a row")
    parser.add_argument("--quick", action="store_true", help="two shapes, few rows")
    args = parser.parse_args()
    end = time.monotonic() + args.budget
    torch.manual_seed(1)
    bench = Bench(args.seconds)
    result = {"schema": "qgen.peers/1", "device": device_block(), "date": time.strftime("%Y-%m-%d"), "rows": []}
    result["ceilings"] = ceiling = ceilings(bench)
    print(f"copy {ceiling['bytes_per_s'] * 1e-12:.2f} TB/s, bf16 {ceiling['bf16_ops_per_s'] * 1e-12:.0f} T/s")
    shapes = dict(list(SHAPES.items())[:2]) if args.quick else SHAPES
    rows = (1, 16, 64, 1024) if args.quick else ROWS
    for request, kind, peer_makers in GROUPS:
        try:
            ours = Linear(args.library, request, bench.stream)
        except (OSError, RuntimeError) as error:
            print(f"{request}: {error}", file=sys.stderr)
            continue
        for name, (n, k) in shapes.items():
            if time.monotonic() > end:
                break
            copies = bench.copies(ours.bytes(n, k))
            values = ours.set_weight(n, k, copies, True).cuda()
            peers = {}
            for peer, prepare in peer_makers.items():
                try:
                    launch = prepare(values, bench.copies(n * k))
                    if launch:
                        peers[peer] = launch
                except Exception as error:
                    print(f"    {peer}: {str(error).splitlines()[0][:120]}", file=sys.stderr)
            for m in rows:
                if time.monotonic() > end:
                    break
                row = bench_row(bench, ours, peers, kind, values, request, n, k, m, copies)
                row["shape"] = name
                result["rows"].append(row)
                print_row(row, ceiling)
            with open(args.out, "w", encoding="utf-8") as f:
                json.dump(result, f, indent=1)
            del values, peers
            torch.cuda.empty_cache()
    result["device_after"] = device_block()
    with open(args.out, "w", encoding="utf-8") as f:
        json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
