"""EMR-merging (arXiv 2405.17461) of the example models in numpy, for test/emr.test.ts.

    python test/oracles/emr.py > test/oracles/emr.json      # numpy 2.x, nothing else

Reads safetensors by hand. Tensors run in the order of their names; of each the bytes are hashed as they would lie in a file:
the unified delta, the packed masks (bit i mod 8 of byte i div 8), and every model made again from them.
"""

import hashlib
import json
import pathlib
import sys

import numpy as np

root = pathlib.Path(__file__).resolve().parents[2] / "examples" / "models"
models = ["ft-add", "ft-rev", "ft-sort"]


def read(folder):
    data = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    out = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        assert info["dtype"] == "BF16"
        start, end = info["data_offsets"]
        bits = np.frombuffer(data[8 + size + start : 8 + size + end], "<u2").astype("<u4") << 16
        out[name] = bits.view("<f4")
    return out


def bf16(x):
    """Nearest even, as bits."""
    bits = x.astype("<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def widen(bits):
    return (bits.astype("<u4") << 16).view("<f4")


base = read(root / "base")
tuned = [read(root / m) for m in models]
names = sorted(base)
result = {"models": models, "numpy": np.__version__, "cases": []}
for dtype in ["bfloat16", "float32"]:
    unified_hash = hashlib.sha256()
    mask_hash = [hashlib.sha256() for _ in models]
    top, bottom, kept = [0.0] * 3, [0.0] * 3, [0] * 3
    unified, masks = {}, [{} for _ in models]
    for name in names:
        deltas = [t[name] - base[name] for t in tuned]
        total = np.zeros_like(base[name])
        for d in deltas:
            total = total + d
        sign = np.where(total > 0, np.float32(1), np.float32(-1))
        tau = np.zeros_like(total)
        for d in deltas:
            tau = np.maximum(tau, np.where(sign * d > 0, np.abs(d), np.float32(0)))
        tau = sign * tau
        tau[tau == 0] = 0
        unified[name] = widen(bf16(tau)) if dtype == "bfloat16" else tau
        unified_hash.update(bf16(tau).tobytes() if dtype == "bfloat16" else tau.astype("<f4").tobytes())
        for m, d in enumerate(deltas):
            mask = (np.sign(d) * np.sign(unified[name])) > 0
            masks[m][name] = mask
            mask_hash[m].update(np.packbits(mask, bitorder="little").tobytes())
            top[m] += float(np.abs(d.astype("f8")).sum())
            bottom[m] += float(np.abs(unified[name].astype("f8"))[mask].sum())
            kept[m] += int(mask.sum())
    again = []
    for m in range(3):
        r = np.float32(top[m] / bottom[m])
        sha = hashlib.sha256()
        for name in names:
            x = np.where(masks[m][name], base[name] + r * unified[name], base[name]).astype("<f4")
            sha.update(bf16(x).tobytes())
        again.append(sha.hexdigest())
    result["cases"].append(
        {
            "dtype": dtype,
            "unified": unified_hash.hexdigest(),
            "masks": [h.hexdigest() for h in mask_hash],
            "scales": [t / b for t, b in zip(top, bottom)],
            "kept": kept,
            "again": again,
        }
    )
json.dump(result, sys.stdout, indent=1)
print()
