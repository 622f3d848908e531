"""What bench/spectral.ts computed, again with numpy (LAPACK, float64): python lapack.py FOLDER ROWS COLUMNS METHODS

Prints CPU seconds, and relative errors of Braid's results. Threads are limited by the environment that the bench sets.
"""

import sys
import time

import numpy as np

folder, rows, columns, methods = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].split(",")
deltas = [np.fromfile(f"{folder}/delta-{i}.f32", dtype=np.float32).reshape(rows, columns).astype(float) for i in (0, 1)]
spent = time.process_time()


def lap():
    global spent
    before, spent = spent, time.process_time()
    return spent - before


def polar(m):
    u, _, vt = np.linalg.svd(m, full_matrices=False)
    return u @ vt


def error(ours, theirs):
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


svds = []
for i, d in enumerate(deltas if {"star", "tsv"} & set(methods) else deltas[:1]):
    svds.append(np.linalg.svd(d, full_matrices=False))
    if i == 0:
        svd_seconds = lap()
        sigma = np.fromfile(f"{folder}/sigma.f64")
        s = svds[0][1]
        worst = np.abs(sigma - s[: len(sigma)]) / s[: len(sigma)]
        print(
            f"numpy: svd {svd_seconds:.1f} s; σ_min/σ₁ {s[-1] / s[0]:.1e}; of σ: error {np.abs(sigma - s).max() / s[0]:.1e} of σ₁, "
            f"{worst.max():.1e} of itself at worst"
        )
second = lap()
for method in methods:
    extra = 0
    lap()
    if method == "star":
        theirs = 0
        for u, s, vt in svds:
            r = int(np.searchsorted(np.cumsum(s), 0.4 * s.sum())) + 1
            theirs = theirs + (u[:, :r] * (s[:r] * s.sum() / s[:r].sum() / 2)) @ vt[:r]
        extra = svd_seconds + second
    elif method == "tsv":
        k = min(rows, columns) // 2
        u = np.concatenate([u[:, :k] for u, _, _ in svds], 1)
        v = np.concatenate([vt[:k].T for _, _, vt in svds], 1)
        theirs = (polar(u) * np.concatenate([s[:k] for _, s, _ in svds])) @ polar(v).T
        extra = svd_seconds + second
    elif method == "iso_c":
        u, s, vt = np.linalg.svd(deltas[0] + deltas[1], full_matrices=False)
        theirs = s.mean() * (u @ vt)
    else:
        a = np.minimum(np.arange(rows), rows - np.arange(rows))[:, None]
        b = np.minimum(np.arange(columns), columns - np.arange(columns))[None, :]
        keep = np.sqrt(a**2.0 + b**2.0) >= 0.3 * min(rows, columns) / 2
        kept = [np.fft.ifft2(np.fft.fft2(d) * keep).real for d in deltas]
        energies = [np.abs(d).mean() for d in kept]
        theirs = sum(e * d for e, d in zip(energies, kept)) / sum(energies)
    seconds = lap() + extra
    ours = np.fromfile(f"{folder}/{method}.f32", dtype=np.float32).reshape(rows, columns)
    print(f"numpy: {method} {seconds:.1f} s; error {error(ours, theirs):.1e}", flush=True)
    lap()
