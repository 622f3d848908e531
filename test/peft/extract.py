"""What numpy and PEFT say of extracted adapters.

python test/peft/extract.py record          writes test/peft/extract.json: singular values and best approximations of small
                                            matrices by numpy.linalg.svd, the oracle of test/kernel/factor.test.ts
python test/peft/extract.py check BASE MODEL ADAPTER [TOLERANCE]
                                            loads an adapter with PEFT, folds it, and compares with the fine-tune

peft 0.21.2, transformers 5.23.0, torch 2.15.0, numpy 2.
"""
import json, sys
import numpy as np


def matrix(rows, columns, rank, seed):
    """Whole numbers, so that they are the same in f32 everywhere; a product of the given rank."""
    state = seed
    def draw(n, m):
        nonlocal state
        out = np.empty((n, m))
        for i in range(n):
            for j in range(m):
                state = (state * 1103515245 + 12345) % 2**31
                out[i, j] = state // 65536 % 9 - 4
        return out
    return draw(rows, rank) @ draw(rank, columns)


def record():
    cases = []
    for seed, (rows, columns, true, ranks) in enumerate([(7, 5, 5, [1, 2, 5]), (5, 9, 5, [3]), (12, 12, 4, [2, 4, 6]), (1, 6, 1, [1]), (6, 1, 1, [2]), (30, 17, 17, [8])], 1):
        m = matrix(rows, columns, true, seed)
        u, s, v = np.linalg.svd(m, full_matrices=False)
        cases.append(dict(
            rows=rows, columns=columns, matrix=m.astype(int).ravel().tolist(), sigma=s.tolist(),
            best=[dict(rank=r, values=((u[:, :r] * s[:r]) @ v[:r]).ravel().tolist()) for r in ranks]))
    with open("test/peft/extract.json", "w") as f:
        json.dump(dict(made_by="numpy " + np.__version__ + " linalg.svd in f64", cases=cases), f)
        f.write("\n")


def check(base, model, adapter, tolerance=1e-5):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    load = lambda path: AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    want = load(model).state_dict()
    before = load(base).state_dict()
    got = PeftModel.from_pretrained(load(base), adapter).merge_and_unload().state_dict()
    assert set(got) == set(want), set(got) ^ set(want)
    worst = 0.0
    for name, w in want.items():
        delta = (w - before[name]).norm().item()
        lost = (w - got[name]).norm().item()
        if delta > 0:
            worst = max(worst, lost / delta)
            if lost / delta > float(tolerance):
                print("lost", name, lost / delta)
        elif lost > 0:
            print("changed", name, lost)
    print("worst", worst)


if __name__ == "__main__":
    record() if sys.argv[1] == "record" else check(*sys.argv[2:])
