"""Reference results of an analysis of examples/models, from the formulas with numpy in float64.

    python test/oracles/analysis.py > test/oracles/analysis.json

Two tensors and all of them, of the base and three fine-tunes. δ is taken in float32, sums and everything else in float64.
Made with numpy 2.4.6; there is no randomness in it.
"""

import itertools
import json
import math
import os
import struct

import numpy as np

ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "models")
MODELS = ["ft-add", "ft-rev", "ft-sort"]
TENSORS = ["model.layers.3.mlp.down_proj.weight", "model.norm.weight"]
QUANTILES = {"p01": 0.01, "p05": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}
TOP = 0.2


def load(name):
    """Every tensor of a bf16 checkpoint as float32, flat."""
    with open(os.path.join(ROOT, name, "model.safetensors"), "rb") as f:
        (length,) = struct.unpack("<Q", f.read(8))
        header = json.loads(f.read(length))
        data = f.read()
    out = {}
    for tensor, info in header.items():
        if tensor == "__metadata__":
            continue
        assert info["dtype"] == "BF16"
        start, end = info["data_offsets"]
        bits = np.frombuffer(data[start:end], dtype="<u2").astype(np.uint32) << 16
        out[tensor] = bits.view(np.float32)
    return out


def top_mask(delta):
    """The 20 % largest, and all that are equal to the smallest of them; zeros never."""
    size = np.abs(delta)
    k = max(1, math.floor(TOP * delta.size + 0.5))
    limit = np.sort(size)[::-1][k - 1]
    return (size >= limit) & (size > 0)


def stats(delta, base):
    size = np.abs(delta.astype(np.float64))
    ordered = np.sort(size)
    n = size.size
    threshold = np.float32(0.01 * size.max())
    exponents = np.floor(np.log2(size[size > 0])).astype(int)
    first = int(exponents.min())
    norm = math.sqrt((size**2).sum())
    return {
        "count": n,
        "zeros": int((size == 0).sum()),
        "mean": size.mean(),
        "max": size.max(),
        "std": size.std(ddof=1),
        "norm": norm,
        "rms": norm / math.sqrt(n),
        "ratio": norm / math.sqrt((base.astype(np.float64) ** 2).sum()),
        "nearZero": float((np.abs(delta) < threshold).mean()),
        "quantiles": {k: ordered[min(math.floor(n * q), n - 1)] for k, q in QUANTILES.items()},
        "magnitudes": {"first": first, "counts": np.bincount(exponents - first).tolist()},
    }


def pair(a, b, masks):
    x, y = a.astype(np.float64), b.astype(np.float64)
    both = (x != 0) & (y != 0)
    cosine = float((x * y).sum() / math.sqrt((x * x).sum() * (y * y).sum()))
    shared = int((masks[0] & masks[1]).sum())
    either = int((masks[0] | masks[1]).sum())
    return {
        "cosine": cosine,
        "bothChange": int(both.sum()),
        "conflict": float(((x * y) < 0).sum() / both.sum()),
        "conflictExpected": math.acos(cosine) / math.pi,
        "overlap": shared / either,
        "topShares": [float(masks[0].mean()), float(masks[1].mean())],
    }


def together(deltas):
    d = np.stack(deltas).astype(np.float64)
    up, down = (d > 0).sum(0), (d < 0).sum(0)
    moved = up + down
    agreement = np.where(moved == 0, 1, np.abs(up - down) / np.maximum(moved, 1))
    return {
        "changedBy": np.bincount(moved, minlength=len(deltas) + 1).tolist(),
        "signAgreement": float(agreement.mean()),
        "mixed": float(((up > 0) & (down > 0)).mean()),
        "massAgreement": float(np.abs(d.sum(0)).sum() / np.abs(d).sum()),
    }


def modelcypher(layers):
    """ModelCypher's SparsityAnalysis at its defaults, from the description of its code."""
    size = np.sort(np.abs(np.concatenate(layers)).astype(np.float64))
    n = size.size
    at = lambda q: size[min(math.floor(n * q), n - 1)]
    threshold = max(size.max() * 0.01, at(0.95))
    return {
        "effectiveSparsity": float((size <= threshold).mean()),
        "standardDeviation": size.std(),
        "median": size[n // 2],
        "minNonZero": size[size > 0].min(),
        "nonZeroParameters": int((size > 0).sum()),
    }


def group(deltas, base, masks):
    pairs = itertools.combinations(range(len(deltas)), 2)
    return {
        "base": {"norm": math.sqrt((base.astype(np.float64) ** 2).sum()), "mean": float(np.abs(base.astype(np.float64)).mean())},
        "models": [stats(d, base) for d in deltas],
        "pairs": [{"a": a, "b": b, **pair(deltas[a], deltas[b], (masks[a], masks[b]))} for a, b in pairs],
        "together": together(deltas),
    }


base = load("base")
models = [load(name) for name in MODELS]
deltas = {t: [m[t] - base[t] for m in models] for t in base}
masks = {t: [top_mask(d) for d in deltas[t]] for t in base}
whole = [np.concatenate([deltas[t][m] for t in base]) for m in range(len(models))]
whole_masks = [np.concatenate([masks[t][m] for t in base]) for m in range(len(models))]
result = {
    "numpy": np.__version__,
    "tensors": {t: group(deltas[t], base[t], masks[t]) for t in TENSORS},
    "whole": group(whole, np.concatenate([base[t] for t in base]), whole_masks),
    "modelCypher": [modelcypher([w]) for w in whole],
}
print(json.dumps(result, indent=1, default=float))
