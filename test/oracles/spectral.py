"""Reference results of the methods on whole matrices, from their formulas with numpy's SVD and FFT in float64.

    python test/oracles/spectral.py > test/oracles/spectral.json

Inputs are made of whole numbers by the same generator as in test/kernel/matrix.test.ts, so only a sample of each result is kept:
every element of small matrices, 200 spread over larger ones, and the Frobenius norm. Signs of singular vectors cancel in all of
them. Made with numpy 2.4.6.
"""

import json

import numpy as np


class Numbers:
    """x ← (1103515245·x + 12345) mod 2³¹; the upper bits as a whole number in [−128, 127]."""

    def __init__(self, seed):
        self.x = seed

    def next(self):
        self.x = (self.x * 1103515245 + 12345) % 2**31
        return (self.x >> 23) - 128


def delta(seed, rows, columns, ranks, floor):
    """Σ_p 2^(−2p) a_p b_pᵀ over `ranks` terms, and noise of size `floor`, cut to multiples of 2⁻²⁶: sums of these are exact in f32."""
    numbers = Numbers(seed)
    total = np.zeros((rows, columns))
    for p in range(ranks):
        a = np.array([numbers.next() for _ in range(rows)], dtype=float)
        b = np.array([numbers.next() for _ in range(columns)], dtype=float)
        total += np.outer(a, b) * 2.0 ** (-2 * p - 20)
    if floor:
        noise = np.array([numbers.next() for _ in range(rows * columns)], dtype=float)
        total += noise.reshape(rows, columns) * floor
    return np.floor(total * 2.0**26) / 2.0**26


def star(deltas, eta):
    result, ranks = 0, []
    for d in deltas:
        u, s, vt = np.linalg.svd(d, full_matrices=False)
        r = int(np.searchsorted(np.cumsum(s), eta * s.sum() * (1 - 1e-12))) + 1
        ranks.append(r)
        result = result + (u[:, :r] * (s[:r] * s.sum() / s[:r].sum())) @ vt[:r] / len(deltas)
    return result, ranks


def polar(m):
    u, _, vt = np.linalg.svd(m, full_matrices=False)
    return u @ vt


def tsv(deltas):
    k = max(1, min(deltas[0].shape) // len(deltas))
    us, ss, vs = [], [], []
    for d in deltas:
        u, s, vt = np.linalg.svd(d, full_matrices=False)
        us.append(u[:, :k])
        ss.append(s[:k])
        vs.append(vt[:k].T)
    u, s, v = np.concatenate(us, 1), np.concatenate(ss), np.concatenate(vs, 1)
    one = np.eye(len(s))
    interference = np.abs((u.T @ u - one) @ np.diag(s) @ (v.T @ v - one)).sum()
    return (polar(u) * s) @ polar(v).T, interference


def iso_c(deltas):
    u, s, vt = np.linalg.svd(sum(deltas), full_matrices=False)
    return s.mean() * (u @ vt)


def iso_cts(deltas, fraction=0.8):
    r, n = min(deltas[0].shape), len(deltas)
    specific = round((r - int(r * fraction)) / n)
    common = r - n * specific
    uw, sw, vw = np.linalg.svd(sum(deltas), full_matrices=False)
    uc = uw[:, :common]
    us, ss, vs = [], [], []
    for d in deltas:
        u, s, vt = np.linalg.svd(d - uc @ (uc.T @ d), full_matrices=False)
        us.append(u[:, :specific])
        ss.append(s[:specific])
        vs.append(vt[:specific].T)
    u = np.concatenate([*us, uc], 1)
    v = np.concatenate([*vs, vw[:common].T], 1)
    s = np.concatenate([*ss, sw[:common]])
    return s.mean() * (polar(u) @ polar(v).T), common, specific


def high_pass(d, cutoff):
    h, w = d.shape
    a, b = np.minimum(np.arange(h), h - np.arange(h)), np.minimum(np.arange(w), w - np.arange(w))
    keep = np.sqrt(a[:, None] ** 2.0 + b[None, :] ** 2.0) >= cutoff * min(h, w) / 2
    return np.fft.ifft2(np.fft.fft2(d) * keep).real


def free(deltas, cutoff):
    kept = [high_pass(d, cutoff) for d in deltas]
    energies = [np.abs(d).mean() for d in kept]
    removed = [1 - (k**2).sum() / (d**2).sum() for k, d in zip(kept, deltas)]
    return sum(e * d for e, d in zip(energies, kept)) / sum(energies), removed


def sample(m):
    flat = m.reshape(-1)
    step = max(1, len(flat) // 200)
    return {"step": step, "norm": float(np.linalg.norm(flat)), "values": [float(f"{x:.12g}") for x in flat[::step]]}


cases = []
for index, (rows, columns, models, ranks) in enumerate(
    [
        (6, 9, 2, 3),
        (9, 6, 2, 3),
        (7, 7, 3, 2),
        (13, 11, 2, 5),
        (1, 5, 1, 1),
        (5, 1, 1, 1),
        (2, 67, 2, 1),
        (40, 24, 3, 6),
        (90, 67, 2, 6),
        (67, 90, 2, 6),
        (101, 103, 3, 7),
    ]
):
    deltas = [delta(1000 * index + m + 1, rows, columns, ranks, 2.0**-20) for m in range(models)]
    case = {"rows": rows, "columns": columns, "models": models, "ranks": ranks, "seed": 1000 * index + 1}
    case["singularValues"] = np.linalg.svd(deltas[0], compute_uv=False)[:40].tolist()
    for eta in (0.4, 0.9):
        result, kept = star(deltas, eta)
        case[f"star {eta}"] = {**sample(result), "rank": kept}
    if models * max(1, min(rows, columns) // models) <= min(rows, columns):
        result, interference = tsv(deltas)
        case["tsv"] = {**sample(result), "interference": float(interference)}
    sums = np.linalg.svd(sum(deltas), compute_uv=False)
    case["smallest"] = float(sums[-1] / sums[0])
    case["iso_c"] = sample(iso_c(deltas))
    result, common, specific = iso_cts(deltas)
    if specific > 0:
        case["iso_cts"] = {**sample(result), "common": common, "specific": specific}
    for cutoff in (0.3, 1):
        result, removed = free(deltas, cutoff)
        case[f"free {cutoff}"] = {**sample(result), "removed": removed}
    cases.append(case)
print(json.dumps({"numpy": np.__version__, "cases": cases}))
