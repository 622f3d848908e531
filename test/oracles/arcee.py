"""Arcee Fusion of two example models in numpy, in f64, for test/golden.test.ts: mergekit's own run in f32 falls on the other side of
a threshold in some elements.

    python test/oracles/arcee.py > test/oracles/arcee.json      # numpy 2.x, nothing else
"""

import hashlib
import json
import pathlib

import numpy as np

root = pathlib.Path(__file__).resolve().parents[2] / "examples" / "models"


def read(folder):
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    out = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        start, end = info["data_offsets"]
        bits = np.frombuffer(data[8 + size + start : 8 + size + end], "<u2").astype("<u4") << 16
        out[name] = bits.view("<f4").astype("f8").reshape(info["shape"])
    return out


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True) + 1e-8


base, other = read(root / "base"), read(root / "ft-sort")
sha, taken = hashlib.sha256(), 0
for name in sorted(base):
    x, y = other[name], base[name]
    p, q = softmax(x), softmax(y)
    importance = np.abs(x - y) * (p * np.log(p / q)).sum(axis=-1, keepdims=True)
    ranked = np.sort(importance.reshape(-1))
    low, middle, high = (ranked[int(k * (ranked.size - 1))] for k in (0.25, 0.5, 0.75))
    mask = importance >= middle + 1.5 * (high - low)
    taken += int(mask.sum())
    sha.update(np.where(mask, x, y).astype("<f4").tobytes())
print(json.dumps({"models": ["base", "ft-sort"], "numpy": np.__version__, "taken": taken, "sha256": sha.hexdigest()}, indent=1))
