// The twins of assembly/exponential.ts and assembly/importance.ts. exp and log have to take the same steps to give the same bits;
// the test holds both against true values.

const ln2High = 0.6931471803691238;
const ln2Low = 1.9082149292705877e-10;

export function roundEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 !== 0) ? down + 1 : down;
}

export function exp(x: number): number {
  if (Number.isNaN(x)) return x;
  if (x > 709.782712893384) return Infinity;
  if (x < -745.1332191019412) return 0;
  const k = roundEven(x * Math.LOG2E);
  const high = x - k * ln2High;
  const low = k * ln2Low;
  const r = high - low;
  const rest = high - r - low;
  let series = 0;
  for (let j = 13; j >= 2; j--) {
    let factorial = 1;
    for (let i = 2; i <= j; i++) factorial *= i;
    series = series * r + 1 / factorial;
  }
  const half = Math.floor(k / 2);
  return (1 + (r + (rest + r * r * series))) * 2 ** half * 2 ** (k - half);
}

export function log(x: number): number {
  if (!(x >= 0)) return NaN;
  if (x === 0) return -Infinity;
  if (x === Infinity) return x;
  let k = 0;
  let m = x;
  for (; m >= 2; k++) m /= 2;
  for (; m < 1; k--) m *= 2;
  if (m > Math.SQRT2) {
    m /= 2;
    k++;
  }
  const f = m - 1;
  const s = f / (2 + f);
  const z = s * s;
  let series = 0;
  for (let j = 11; j >= 1; j--) series = series * z + 2 / (2 * j + 1);
  series *= z;
  const halfSquare = 0.5 * f * f;
  return k * ln2High - (halfSquare - (s * (halfSquare + series) + k * ln2Low) - f);
}

export function importance(x: Float32Array, base: Float32Array, columns: number): Float32Array {
  const out = new Float32Array(x.length);
  for (let row = 0; row < x.length; row += columns) {
    const at = Array.from({ length: columns }, (_, i) => row + i);
    const finite = at.filter((i) => Number.isFinite(x[i]!) && Number.isFinite(base[i]!));
    const softmax = (v: Float32Array) => {
      const top = finite.reduce((most, i) => Math.max(most, v[i]!), -Infinity);
      const powers = finite.map((i) => exp(v[i]! - top));
      const sum = powers.reduce((a, b) => a + b, 0);
      return powers.map((p) => p / sum + 1e-8);
    };
    const [p, q] = [softmax(x), softmax(base)];
    const divergence = Math.fround(
      Math.max(
        0,
        p.reduce((sum, a, i) => sum + a * log(a / q[i]!), 0),
      ),
    );
    for (const i of at) out[i] = Math.fround(Math.abs(Math.fround(x[i]! - base[i]!)) * divergence);
  }
  return out;
}
