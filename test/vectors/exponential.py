# True values of exp and log for test/kernel/importance.test.ts: mpmath with 200 bits, rounded to f64.
# python exponential.py > exponential.json
import json, random
from mpmath import mp, mpf, exp, log

mp.prec = 200
random.seed(1)
at = [random.uniform(-708, 709) for _ in range(1500)] + [random.uniform(-1, 1) for _ in range(1500)]
at += [random.choice((-1, 1)) * 2.0 ** random.uniform(-60, 0) for _ in range(1000)] + [i / 8 for i in range(-80, 81)]
positive = [2.0 ** random.uniform(-1022, 1023) for _ in range(1500)] + [1 + random.uniform(-0.3, 0.5) for _ in range(1500)]
positive += [1 + random.choice((-1, 1)) * 2.0 ** random.uniform(-52, -2) for _ in range(1000)] + [5e-324, 1e-310, 1.7976931348623157e308]
print(json.dumps({
    "exp": [[x, float(exp(mpf(x)))] for x in at],
    "log": [[x, float(log(mpf(x)))] for x in positive],
}, separators=(",", ":")))
