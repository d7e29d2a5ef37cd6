// The library's mathematics for the live figures, without a page: Node runs it against nflib_min.
// A layer moves a point p = [z_1, z_2, ln|det| so far, sign of det] in place: step, and back.
const SHIFT = Math.log(Math.E - 1), P = 1 - 1 / Math.E;
export const LN2PI = Math.log(2 * Math.PI);
export const softplus = x => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
export const logaddexp = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));
export const m = a => Math.log1p(P * Math.expm1(Math.min(a, 0))) +
  Math.max(a, 0) + Math.log1p(Math.expm1(-Math.max(a, 0)) / Math.E);

function record(p, det, way = 1) {
  p[2] += way * Math.log(Math.abs(det));
  if (det < 0) p[3] = -p[3];
}
/** (10) to (12); keep moves u along w until c = w.u > -1. 1 + c is held apart, as c may round to -1. */
export function planar({u, w, b}, keep = true) {
  const a = w[0] * u[0] + w[1] * u[1], square = w[0] * w[0] + w[1] * w[1];
  let c = a, c1 = 1 + a, [u1, u2] = u;
  if (keep) {
    const s = square > 1e-150 ? (m(a) - a) / square : 0;
    c = m(a); c1 = softplus(a + SHIFT); u1 += s * w[0]; u2 += s * w[1];
  }
  const det = h => c > 0 ? 1 + c * (1 - h * h) : c1 - c * h * h;
  return {c, u: [u1, u2], det: (x, y) => det(Math.tanh(w[0] * x + w[1] * y + b)),
    step(p) {
      const h = Math.tanh(w[0] * p[0] + w[1] * p[1] + b);
      record(p, det(h)); p[0] += u1 * h; p[1] += u2 * h;
    },
    back(p) {
      const h = Math.tanh(root(c, b, w[0] * p[0] + w[1] * p[1]) + b);
      record(p, det(h), -1); p[0] -= u1 * h; p[1] -= u2 * h;
    }};
}
/** The root a of a + c tanh(a + b) = t, by Newton's steps from the side where they cannot pass it. */
export function root(c, b, t) {
  const sign = t + b < 0 ? -1 : 1, s = Math.abs(t + b);
  let x = c < 0 ? (s < 0.2 ? Math.cbrt(5 * s) : s + 1) : s / (1 + c);
  for (let i = 0; i < 100; i++) {
    const h = Math.tanh(x), rest = x + c * h - s;
    if (Math.abs(rest) <= 4.440892098500626e-16 * (x + Math.abs(c) * h + s)) break;
    x -= rest / (c > 0 ? 1 + c * (1 - h * h) : 1 + c - c * h * h);
  }
  return sign * x - b;
}
/** (14): the radius r about z becomes r (r + s) / (r + alpha), with s = alpha + beta. */
export function radial({z, alpha, s}) {
  const det = r => (r + s) / (r + alpha) * (r * r + 2 * alpha * r + alpha * s) / (r + alpha) ** 2;
  return {det: (x, y) => det(Math.hypot(x - z[0], y - z[1])),
    step(p) {
      const x = p[0] - z[0], y = p[1] - z[1], r = Math.hypot(x, y), k = (r + s) / (r + alpha);
      record(p, det(r)); p[0] = z[0] + k * x; p[1] = z[1] + k * y;
    },
    back(p) {  // the positive root of r^2 + (s - R) r - alpha R = 0, without cancellation
      const x = p[0] - z[0], y = p[1] - z[1], R = Math.hypot(x, y), B = s - R;
      const D = Math.sqrt(B * B + 4 * alpha * R), r = B > 0 ? 2 * alpha * R / (D + B) : (D - B) / 2;
      const k = (r + alpha) / (r + s);
      record(p, det(r), -1); p[0] = z[0] + k * x; p[1] = z[1] + k * y;
    }};
}
export const affine = ({mean, log_scale}) => {
  const [a, b] = log_scale.map(Math.exp), log = log_scale[0] + log_scale[1];
  return {step(p) { p[0] = mean[0] + a * p[0]; p[1] = mean[1] + b * p[1]; p[2] += log; },
    back(p) { p[0] = (p[0] - mean[0]) / a; p[1] = (p[1] - mean[1]) / b; p[2] -= log; }};
};
/** dz/dt = sum_m u_m tanh(w_m.z + b_m + a_m t) from t = start to end in n steps of RK4, with its trace. */
export function ode(params, start, end, n = 1) {
  const column = (rows, i) => Float64Array.from(rows, v => v[i]);
  const [u1, u2, w1, w2] = [params.u, params.w].flatMap(rows => [column(rows, 0), column(rows, 1)]);
  const [b, a] = [params.b, params.a].map(v => Float64Array.from(v));
  const c = u1.map((v, i) => v * w1[i] + u2[i] * w2[i]);
  const rate = (x, y, t, k) => {
    k[0] = k[1] = k[2] = 0;
    for (let i = 0; i < b.length; i++) {
      const h = Math.tanh(w1[i] * x + w2[i] * y + b[i] + a[i] * t);
      k[0] += u1[i] * h; k[1] += u2[i] * h; k[2] += c[i] * (1 - h * h);
    }
  };
  const run = (p, from, dt) => {
    const [k1, k2, k3, k4] = [0, 0, 0, 0].map(() => [0, 0, 0]);
    for (let i = 0; i < n; i++) {
      const t = from + i * dt;
      rate(p[0], p[1], t, k1);
      rate(p[0] + dt / 2 * k1[0], p[1] + dt / 2 * k1[1], t + dt / 2, k2);
      rate(p[0] + dt / 2 * k2[0], p[1] + dt / 2 * k2[1], t + dt / 2, k3);
      rate(p[0] + dt * k3[0], p[1] + dt * k3[1], t + dt, k4);
      for (const j of [0, 1, 2]) p[j] += dt / 6 * (k1[j] + 2 * k2[j] + 2 * k3[j] + k4[j]);
    }
  };
  return {step: p => run(p, start, (end - start) / n), back: p => run(p, end, (start - end) / n)};
}
export const point = (x, y) => [x, y, 0, 1];
export function forward(layers, x, y) {
  const p = point(x, y);
  for (const layer of layers) layer.step(p);
  return p;
}
export function inverse(layers, x, y) {
  const p = point(x, y);
  for (let k = layers.length - 1; k >= 0; k--) layers[k].back(p);
  return p;
}

// ---- densities, all as logarithms
export const normal = (x, y) => -(x * x + y * y) / 2 - LN2PI;
export const gaussian = ({mean, sd: [a, b], tilt = 0}) => {
  const c = Math.cos(tilt), s = Math.sin(tilt), norm = LN2PI + Math.log(a * b);
  return (x, y) => {
    const dx = x - mean[0], dy = y - mean[1];
    return -(((c * dx + s * dy) / a) ** 2 + ((c * dy - s * dx) / b) ** 2) / 2 - norm;
  };
};
const square = x => x * x, w1 = x => Math.sin(Math.PI / 2 * x);
const wall = x => square(Math.max(Math.abs(x) - 4, 0)) * 2;
const ridges = (x, y, shift, first) => logaddexp(-square((y - w1(x)) / first) / 2,
  -square((y - w1(x) + shift) / 0.35) / 2) - wall(x);
/** ln p~ and ln Z: table 1's energies with their walls, and the clock of notebook 01, joint with x = 2. */
export const targets = {
  clock: {log: (x, y) => -square((2 - x - y) / 0.5) / 2 - Math.log(0.5) - LN2PI / 2 + normal(x, y),
    logZ: -square(2) / 2 / 2.25 - Math.log(2.25) / 2 - LN2PI / 2},
  U1: {log: (x, y) => logaddexp(-square((x - 2) / 0.6) / 2, -square((x + 2) / 0.6) / 2) -
    square((Math.hypot(x, y) - 2) / 0.4) / 2, logZ: 1.8775016261097},
  U2: {log: (x, y) => -square((y - w1(x)) / 0.4) / 2 - wall(x), logZ: ridgeZ(0.4)},
  U3: {log: (x, y) => ridges(x, y, 3 * Math.exp(-square((x - 1) / 0.6) / 2), 0.35), logZ: ridgeZ(0.7)},
  U4: {log: (x, y) => ridges(x, y, 1.5 * (1 + Math.tanh((x - 1) / 0.6)), 0.4), logZ: ridgeZ(0.75)},
};
function ridgeZ(widths) { return Math.log(widths * Math.sqrt(2 * Math.PI) * (8 + 0.5 * Math.sqrt(2 * Math.PI))); }
/** f at the midpoints of n x n cells of a square window; the first coordinate runs fastest. */
export function tabulate(f, reach, n) {
  const out = new Float64Array(n * n), h = 2 * reach / n;
  return out.map((_, i) => f(-reach + h * (i % n + 0.5), -reach + h * ((i / n | 0) + 0.5)));
}
/** The same values with row 0 on top, as pictures have them. */
export const flip = (values, n) => values.map((_, i) => values[(n - 1 - (i / n | 0)) * n + i % n]);

/** A stream of pairs of normal draws by mulberry32 and Box-Muller: the same at every visit. */
export function stream(seed) {
  const uniform = () => {
    let t = seed += 0x6D2B79F5;
    t = Math.imul(t ^ t >>> 15, t | 1); t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return ((t ^ t >>> 14) >>> 0) / 4294967296;
  };
  return () => {
    const r = Math.sqrt(-2 * Math.log(1 - uniform())), a = 2 * Math.PI * uniform();
    return [r * Math.cos(a), r * Math.sin(a)];
  };
}
export const normals = (n, seed = 1) => Array.from({length: n}, stream(seed));

// ---- a mesh over the base, carried along: where each corner went, q there, det
export class Mesh {
  constructor(cells, extent) {
    this.cells = cells; this.extent = extent; this.h = 2 * extent / cells;
    const n = (cells + 1) ** 2;
    for (const name of ['X', 'Y', 'Q', 'D']) this[name] = new Float64Array(n);
    for (let i = 0; i < n; i++) this.Q[i] = Math.exp(normal(...this.corner(i)));
  }
  corner(i) { const r = this.cells + 1; return [-this.extent + i % r * this.h, -this.extent + (i / r | 0) * this.h]; }
  carry(layers) {
    for (let i = 0; i < this.X.length; i++) {
      const p = forward(layers, ...this.corner(i));
      this.X[i] = p[0]; this.Y[i] = p[1]; this.D[i] = p[3] * Math.exp(p[2]);
    }
    return this;
  }
  triangles(f) {
    const r = this.cells + 1;
    for (let j = 0; j < this.cells; j++) for (let k = 0; k < this.cells; k++) {
      const a = j * r + k;
      f(a, a + 1, a + r); f(a + r + 1, a + r, a + 1);
    }
  }
  /** Area of the image times density, summed over its sheets, and the part on sheets turned over.
   *  The density is q_0 / |det|; a triangle on which det varies much is cut in four, `depth` times.
   *  One that is uneven even then, or lies across the fold, counts as much as it did in the base. */
  masses(layers, depth = 0) {
    const {X, Y, Q, D, h} = this;
    const corner = i => { const [x, y] = this.corner(i); return {x, y, X: X[i], Y: Y[i], Q: Q[i], D: D[i]}; };
    let total = 0, turned = 0, least = Infinity;
    const middle = (a, b) => {
      const x = (a.x + b.x) / 2, y = (a.y + b.y) / 2, [X, Y, log, sign] = forward(layers, x, y);
      return {x, y, X, Y, Q: Math.exp(normal(x, y)), D: sign * Math.exp(log)};
    };
    const add = (a, b, c, base, left) => {
      const q = (a.Q + b.Q + c.Q) / 3, low = Math.min(a.D, b.D, c.D), high = Math.max(a.D, b.D, c.D);
      const area = Math.abs((b.X - a.X) * (c.Y - a.Y) - (c.X - a.X) * (b.Y - a.Y)) / 2, det = (a.D + b.D + c.D) / 3;
      const uneven = (high - low) / Math.abs(high + low);
      if (left && q * base > 1e-7 && (uneven > 0.15 || Math.abs(area / base / Math.abs(det) - 1) > 0.1)) {
        const ab = middle(a, b), bc = middle(b, c), ca = middle(c, a);
        for (const t of [[a, ab, ca], [ab, b, bc], [ca, bc, c], [bc, ca, ab]]) add(...t, base / 4, left - 1);
        return;
      }
      total += q * (uneven > 0.2 ? base : area / Math.abs(det));
      if (det < 0) turned += q * base;
      least = Math.min(least, low);
    };
    this.triangles((a, b, c) => add(corner(a), corner(b), corner(c), h * h / 2, depth));
    return {total, turned, least};
  }
  /** The density on an n x n window, row 0 on top: sheets add up in out, those turned over in fold. */
  raster(n, reach, out, fold) {
    const {X, Y, Q, D, h} = this, k = n / (2 * reach), folded = D.some(d => d < 0);
    out.fill(0); fold.fill(0);
    const px = x => (x + reach) * k - 0.5, py = y => (reach - y) * k - 0.5;
    this.triangles((a, b, c) => {
      const ax = px(X[a]), ay = py(Y[a]), bx = px(X[b]), by = py(Y[b]), cx = px(X[c]), cy = py(Y[c]);
      const area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay);
      if (Math.abs(area) < 1e-12) return;
      const y0 = Math.max(0, Math.ceil(Math.min(ay, by, cy))), y1 = Math.min(n - 1, Math.floor(Math.max(ay, by, cy)));
      // between the corners of a fold the density runs to infinity: there the triangle's mass decides
      const flat = folded ? (Q[a] + Q[b] + Q[c]) / 3 * h * h * k * k / Math.abs(area) : 0;
      const A = folded ? flat : Q[a] / D[a], B = folded ? flat : Q[b] / D[b], C = folded ? flat : Q[c] / D[c];
      const minus = D[a] + D[b] + D[c] < 0;
      for (let y = y0; y <= y1; y++) {  // spans are half open, so that neighbours share no pixel
        let lo = Infinity, hi = -Infinity;
        const edge = (px, py, qx, qy) => {
          if ((py <= y) === (qy <= y)) return;
          const x = px + (y - py) / (qy - py) * (qx - px);
          lo = Math.min(lo, x); hi = Math.max(hi, x);
        };
        edge(ax, ay, bx, by); edge(bx, by, cx, cy); edge(cx, cy, ax, ay);
        for (let x = Math.max(0, Math.ceil(lo)), end = Math.min(n, Math.ceil(hi)); x < end; x++) {
          const s = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / area;
          const t = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / area;
          const d = A + s * (B - A) + t * (C - A);
          out[y * n + x] += d;
          if (minus) fold[y * n + x] += d;
        }
      }
    });
  }
}
