// Depth and time: a trained flow layer by layer, or its ODE instant by instant, with the books of one particle.
import {Mesh, forward, inverse, normal, normals, ode, planar, tabulate, targets} from './maths.js';
import {Stage, fill, fix} from './stage.js';

export const STEPS = 32;
/** A flow as 32 steps: the planar layers, or 32 steps of RK4 through time. */
export const steps = (kind, {u, w, b, a}) => Array.from({length: STEPS}, (_, k) => kind === 'planar'
  ? planar({u: u[k], w: w[k], b: b[k]}) : ode({u, w, b, a}, k / STEPS, (k + 1) / STEPS));
/** All stations of one point: [z_1, z_2, sum of ln|det|] for k = 0 to 32. */
export function travel(flow, z) {
  const p = forward([], ...z), path = [[...p]];
  for (const layer of flow) { layer.step(p); path.push([...p]); }
  return path;
}

export function render(context) {
  const s = new Stage(context, draw), {say, data} = s;
  let kind = s.options.kind ?? 'planar', k = s.options.k ?? STEPS, z0 = [0.35, 0.9], path, flow, frames, mesh, lines, drawn;
  const n = 220, out = new Float64Array(n * n), fold = new Float64Array(n * n);
  const dots = normals(260, 7), {log, logZ} = targets[data.target];
  const seen = tabulate((x, y) => Math.exp(log(x, y) - logZ), 4, 90);
  const choose = value => {  // what is carried: the corners of the mesh, the particles, the lines of the grid
    kind = value; flow = steps(kind, data[kind]); path = travel(flow, z0);
    mesh = new Mesh(kind === 'planar' ? 110 : 48, 4.2); lines = [];
    const start = Array.from(mesh.X, (_, i) => mesh.corner(i)).concat(dots);
    for (let g = -3; g <= 3; g++) for (const flip of [0, 1]) {
      lines.push([start.length, start.length + 81]);
      for (let i = -40; i <= 40; i++) start.push(flip ? [g, i * 0.075] : [i * 0.075, g]);
    }
    frames = [start.map(z => forward([], ...z))];
  };
  const frame = i => {  // carried only as far as somebody looks
    while (frames.length <= i) {
      const next = frames.at(-1).map(p => [...p]), layer = flow[frames.length - 1];
      next.forEach(layer.step); frames.push(next);
    }
    return frames[i];
  };
  choose(kind);
  /** Part of a planar layer is a planar layer: points and determinants move on straight lines. */
  const between = ([x, y, log], b, t) =>
    [x + t * (b[0] - x), y + t * (b[1] - y), (1 - t) * Math.exp(log) + t * Math.exp(b[2])];
  const now = ([a, b], i) => between(a[i], b[i], k % 1);
  const place = () => between(path[Math.floor(k)], path[Math.ceil(k)], k % 1);
  s.panes.style.setProperty('--split', '1.2fr 1fr');
  const plane = s.panel({head: ''}), books = s.panel({x: [-1, STEPS + 1], y: [-8, 1], ratio: 0.95, head: say.books});
  plane.handle({name: say.z, letter: 'z', role: 'ink', get: () => place().slice(0, 2),
    set: p => { k = Math.round(k); z0 = inverse(flow.slice(0, k), ...p).slice(0, 2); path = travel(flow, z0); }});
  const row = s.row();
  const go = by => { k = k >= STEPS ? 0 : Math.min(STEPS, k + by); return k < STEPS; };
  s.player(row, () => go(0.15), () => go(4));
  const shown = () => kind === 'planar' ? `k = ${Math.round(k)}` : `t = ${fix(k / STEPS)}`;
  const depth = s.range(row, {name: '', min: 0, max: STEPS, grow: true, show: shown,
    get: () => Math.round(k), set: v => { k = v; s.playing = null; }});
  depth.setAttribute('aria-label', `${say.depth}, ${say.time}`);
  s.choice(s.row(), say.kind, {planar: say.planar, ode: say.ode}, () => kind, choose);
  const write = s.readouts({q0: say.q0, sum: say.sum, qk: say.qk, p: say.p});

  function draw() {
    const {colours} = s, pair = [frame(Math.floor(k)), frame(Math.ceil(k))];
    if (drawn !== kind + k) {  // the density does not change while z is dragged
      drawn = kind + k;
      for (let i = 0; i < mesh.X.length; i++) [mesh.X[i], mesh.Y[i], mesh.D[i]] = now(pair, i);
      mesh.raster(n, 4, out, fold);
    }
    plane.field(out, n, 0.12, s.ramp('flow', 0.8));
    plane.contours(seen, 90, [0.02], colours.target, {width: 1.5, alpha: 0.8});
    for (const [from, to] of lines) {
      const line = Array.from({length: to - from}, (_, i) => now(pair, from + i));
      plane.path(line, colours.ink, {width: 0.9, alpha: 0.35});
    }
    dots.forEach(([x, y], i) => {
      const hue = Math.atan2(y, x) * 180 / Math.PI + 200;
      plane.dot(now(pair, mesh.X.length + i), `hsl(${hue} 85% 50%)`, 3.2);
    });
    plane.path(path, colours.ink, {width: 1.3, alpha: 0.6});
    plane.head.textContent = fill(say.view, shown());
    const i = Math.round(k), q0 = normal(...z0), log_q = path.map(p => q0 - p[2]);
    const log_p = path.map(p => log(p[0], p[1]) - logZ);
    books.y = [Math.min(-6, Math.min(...log_q) - 0.7), Math.max(-1, Math.max(...log_q, log_p.at(-1)) + 0.8)];
    books.path([[0, q0], [STEPS, q0]], colours.base, {width: 1.5, dash: [2, 4]});
    books.text('ln q₀', STEPS + 0.5, q0, {colour: colours.base, align: 'right', dy: -6});
    for (let j = 1; j <= i; j++) books.block(j - 0.9, j - 0.1, log_q[j - 1], log_q[j], colours.jac, {alpha: 0.75});
    books.path(log_p.map((v, j) => [j, v]), colours.target, {width: 1.3, dash: [4, 4], alpha: 0.6});
    books.path(log_q.slice(0, i + 1).map((v, j) => [j, v]), colours.flow, {width: 2.5});
    books.dot([i, log_q[i]], colours.flow, 6); books.dot([i, log_p[i]], colours.target, 5);
    const told = {q0: fix(q0), sum: fix(path[i][2]), qk: fix(log_q[i]), p: fix(log_p[i])};
    Object.entries(told).forEach(([key, value]) => write(key, value));
    const words = [shown(), ...Object.entries(told).map(([key, value]) => `${say[key]} ${value}`)].join(', ');
    plane.label(plane.head.textContent); books.label(`${say.books}. ${words}`); if (!s.playing) s.speak(words);
  }
  return s.start();
}
