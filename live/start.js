// Start here: a blob on the two moons, carried to e^-U by noise, or by the velocity that needs none.
import {flip, normals, stream, tabulate, targets} from './maths.js';
import {Stage, clamp, fill, fix} from './stage.js';

export const REACH = 3.5, N = 56, CELL = (2 * REACH / N) ** 2, DT = 0.0025, SD = 0.35;
const SIDES = [-1, 1, -N, N];  // to the left, right, lower and upper neighbour
const inside = [i => i % N > 0, i => i % N < N - 1, i => i >= N, i => i < N * (N - 1)];
const bernoulli = x => Math.abs(x) < 1e-12 ? 1 : x / Math.expm1(x);
/** The rates at which a cell passes probability on: they balance exactly at q = e^-L. */
export const rates = L => SIDES.map((d, side) =>
  Float64Array.from(L, (v, i) => inside[side](i) ? bernoulli(L[i + d] - v) / CELL : 0));
/** Steps of the Fokker-Planck equation: what leaves one cell enters another. */
export function spread(q, rate, dt, steps) {
  const stay = q.map((_, i) => 1 - dt * (rate[0][i] + rate[1][i] + rate[2][i] + rate[3][i]));
  let now = q.slice(), after = new Float64Array(q.length);
  for (let k = 0; k < steps; k++) {
    for (let i = 0; i < now.length; i++) after[i] = stay[i] * now[i];
    for (let side = 0; side < 4; side++) {
      const d = SIDES[side], r = rate[side];
      for (let i = 0; i < now.length; i++) if (r[i]) after[i + d] += dt * r[i] * now[i];
    }
    [now, after] = [after, now];
  }
  return now;
}
export function normalized(values) {
  const mass = values.reduce((sum, v) => sum + v, 0) * CELL;
  return values.map(v => v / mass);
}
export const divergence = (q, p) => q.reduce((sum, v, i) => sum + (v > 0 ? v * Math.log(v / p[i]) * CELL : 0), 0);
/** The gradient of U1. */
export function slope([x, y]) {
  const r = Math.max(Math.hypot(x, y), 1e-15), ring = 6.25 * (r - 2) / r;
  return [ring * x - (2 * Math.tanh(x / 0.18) - x) / 0.36, ring * y];
}

export function render(context) {
  const s = new Stage(context, draw), {say, data} = s, {log, logZ} = targets.U1, END = 100, FIRST = 0.01;
  const log_p = tabulate(log, REACH, N), rate = rates(log_p.map(v => -v)), p = normalized(log_p.map(Math.exp));
  const outline = tabulate((x, y) => Math.exp(log(x, y) - logZ), REACH, 90);
  let blob = s.options.start ?? data.start, kind = 'noise', ghosts = [data.kl], t, q, dots, run, noise;
  const reset = () => {
    t = 0;
    q = normalized(tabulate((x, y) => Math.exp(-((x - blob[0]) ** 2 + (y - blob[1]) ** 2) / 2 / SD ** 2), REACH, N));
    dots = normals(260, 3).map(([x, y]) => [blob[0] + SD * x, blob[1] + SD * y]); noise = stream(5);
    if (run?.length > 40) ghosts = [...ghosts.slice(-3), run];
    run = [[FIRST, divergence(q, p)]]; s.playing = null;
  };
  /** The velocity without noise, -grad ln(q / p): differences of the same grid, so that it rests where q = p. */
  const quiet = ([x, y]) => {
    const h = 2 * REACH / N, u = (x + REACH) / h - 0.5, v = (y + REACH) / h - 0.5;
    const [i, j] = [u, v].map(c => clamp(Math.floor(c), 1, N - 3)), a = u - i, b = v - j;
    const ratio = (m, n) => { const c = (j + n) * N + i + m; return Math.log(q[c] + 1e-300) - log_p[c]; };
    const d = (m, n) => [(ratio(m - 1, n) - ratio(m + 1, n)) / 2 / h, (ratio(m, n - 1) - ratio(m, n + 1)) / 2 / h];
    const mix = [[d(0, 0), (1 - a) * (1 - b)], [d(1, 0), a * (1 - b)], [d(0, 1), (1 - a) * b], [d(1, 1), a * b]];
    return [0, 1].map(c => mix.reduce((sum, [g, w]) => sum + g[c] * w, 0));
  };
  function advance(factor = 1.022) {
    const steps = Math.max(1, Math.round((Math.max(t, FIRST) * factor - t) / DT)), each = Math.min(steps, 4);
    for (let k = 0; k < steps; k += each) {  // particles take steps of at most 4 DT
      const n = Math.min(each, steps - k), dt = n * DT;
      dots = dots.map(z => {
        if (kind === 'quiet') { const v = quiet(z); return [z[0] + dt * v[0], z[1] + dt * v[1]]; }
        const g = slope(z), e = noise(), size = Math.sqrt(2 * dt);
        return [z[0] - dt * g[0] + size * e[0], z[1] - dt * g[1] + size * e[1]];
      });
      q = spread(q, rate, DT, n);
    }
    t += steps * DT; run.push([t, divergence(q, p)]);
    return t < END;
  }
  reset();
  s.panes.style.setProperty('--split', '1.15fr 1fr');
  const plane = s.panel({x: [-REACH, REACH], head: ''}), span = [Math.log(FIRST) - 0.3, Math.log(END) + 0.3];
  const chart = s.panel({x: span, y: [-0.25, 2.3], ratio: 1.05, head: say.chart});
  plane.handle({name: say.blob, letter: '+', role: 'base', get: () => blob,
    set: z => { blob = z.map(v => clamp(v, -2.6, 2.6)); reset(); }});
  const row = s.row(), replay = f => () => { if (t >= END) reset(); return f(); };
  const leap = () => { const stop = Math.max(t, FIRST) * 2; while (t < stop) advance(1.2); };
  s.player(row, replay(() => advance()), replay(leap));
  s.button(row, say.again, reset);
  s.choice(row, say.kind, {noise: say.noise, quiet: say.quiet}, () => kind, v => { kind = v; reset(); });
  const write = s.readouts({t: 't', kl: say.kl, left: say.left, seen: say.seen});

  function draw() {
    const {colours} = s, kl = run.at(-1)[1], seen = flip(q, N);
    plane.field(seen, N, 0.12, s.ramp('flow', 0.9));
    plane.contours(outline, 90, [0.03, 0.2], colours.target, {width: 1.5});
    for (const z of dots) plane.dot(z, colours.base, 2.4, null);
    plane.head.textContent = fill(say.plane, fix(t));
    const line = points => points.map(([time, v]) => [Math.log(Math.max(time, FIRST)), Math.min(v, 2.5)]);
    chart.segments([[[-9, 0], [9, 0]]], colours.soft, {width: 1});
    for (const time of [0.1, 1, 10]) {
      chart.segments([[[Math.log(time), -0.25], [Math.log(time), 2.3]]], colours.line, {width: 1});
      chart.text(`t = ${time}`, Math.log(time), -0.25, {colour: colours.soft, dx: 4, dy: -4});
    }
    chart.segments([[[-9, Math.LN2], [9, Math.LN2]]], colours.target, {width: 2, dash: [6, 4]});
    chart.text(say.half, Math.log(FIRST), Math.LN2, {colour: colours.target, dy: 17});
    for (const ghost of ghosts) chart.path(line(ghost), colours.soft, {width: 1.5, alpha: 0.6});
    chart.path(line(run), colours.flow, {width: 3}); chart.dot(line(run).at(-1), colours.flow, 6);
    let left = 0;
    for (let i = 0; i < q.length; i++) if (i % N < N / 2) left += q[i] * CELL;
    write('t', fix(t)); write('kl', fix(kl, 3)); write('left', fix(left));
    write('seen', fix(dots.filter(z => z[0] < 0).length / dots.length));
    const words = `t ${fix(t)}, ${say.kl} ${fix(kl, 3)}, ${say.left} ${fix(left)}`;
    plane.label(plane.head.textContent); chart.label(`${say.chart}. ${words}`); if (!s.playing) s.speak(words);
  }
  return s.start();
}
