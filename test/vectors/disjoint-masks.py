"""Disjoint masks and masks of lines by docs/mask.md, in plain integers: writes disjoint-masks.json. Python 3, no packages."""

import hashlib
import json
import math
import os

M32 = 2**32


def philox(counter, key):
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b // M32) ^ c[1] ^ k0, b % M32, (a // M32) ^ c[3] ^ k1, a % M32]
        k0, k1 = (k0 + 0x9E3779B9) % M32, (k1 + 0xBB67AE85) % M32
    return c


def key_of(seed, model, tensor):
    digest = hashlib.sha256(f"braid-mask-v1\0{seed}\0{model}\0{tensor}".encode()).digest()
    return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")


def draw(key, i):
    """The 32 bits of element i."""
    b, j = divmod(i, 16)
    lo, hi = b % M32, b // M32
    word = philox((lo, hi, 0, 0), key)[j // 4]
    byte = (word >> (8 * (j % 4))) & 255
    return byte << 24 | philox((lo, hi, 1, j // 4), key)[j % 4] >> 8


def threshold(p):
    return min(math.floor(p * M32 + 0.5), M32 - 1)


def disjoint(seed, name, densities, indices):
    """For each model, 1 where it keeps what is drawn at each of the indices."""
    key = key_of(seed, -1, name)
    bits = {i: draw(key, i) for i in set(indices)}
    masks, start = [], 0
    for d in densities:
        length = M32 - threshold(1 - d)
        masks.append([int((bits[i] - start) % M32 < length) for i in indices])
        start += length
    return masks


def text(mask):
    return "".join(map(str, mask))


cases = []
for seed, tensor, densities, first, count in [
    (42, "model.layers.0.mlp.down_proj.weight", [0.25, 0.5, 0.25], 0, 300),
    (42, "model.layers.0.mlp.down_proj.weight", [0.1, 0.1], 4093, 300),
    (0, "w", [1 / 3, 1 / 3, 1 / 3], 16 * (2**32 - 3), 200),
    (7, "w", [0.7, 0.6, 0.002, 0.9995], 5, 1000),
]:
    masks = disjoint(seed, tensor, densities, range(first, first + count))
    cases.append({"seed": seed, "tensor": tensor, "densities": densities, "first": first, "masks": [text(m) for m in masks]})

lines = []
for seed, tensor, model, p, shape in [(42, "w", 0, 0.5, [9, 7]), (3, "w", 1, 0.4, [33, 50])]:
    rows, columns = shape
    case = {"seed": seed, "tensor": tensor, "model": model, "p": p, "shape": shape}
    for by, n in [("row", rows), ("column", columns)]:
        key = key_of(seed, model, f"{tensor}\0{by}s")
        case[by] = text(int(draw(key, j) >= threshold(p)) for j in range(n))
    lines.append(case)

with open(os.path.join(os.path.dirname(__file__), "disjoint-masks.json"), "w") as f:
    json.dump({"disjoint": cases, "lines": lines}, f, indent=1)
    f.write("\n")
