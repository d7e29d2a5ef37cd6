// The planar lab: bend the plane by hand. Left z before the layer in hand, right the image of all layers.
import {Mesh, forward, planar, point, radial} from './maths.js';
import {Stage, circle, fill, fix} from './stage.js';

const start = () => [
  [[1.9, 1.1], [1.7, -0.5], 0], [[-1, 0.9], [0.3, 1.6], 0.5], [[0.5, -1.3], [-1.4, 0.9], -0.8],
  [[0.8, 0.3], [0.6, -1.7], 1], [[-0.5, 1], [1.5, 1.1], 0.2], [[0.9, -0.3], [-0.3, 1.9], -1.2],
  [[-0.9, -0.5], [1.6, 0.3], 1], [[0.4, 0.8], [-1, -1.4], 0.3]]
  .map(([u, w, b]) => ({kind: 'planar', u, w, b, z: [-0.5, 0.2], alpha: 1.2, s: 4}));
export const make = (layer, keep) => layer.kind === 'planar' ? planar(layer, keep) : radial(layer);
const TRACK = Array.from({length: 81}, (_, i) => -4 + i / 10);

/** The masses once more, cut one step finer than the last ones, until their total stands still. */
export function refine(mesh, flow, last) {
  const depth = last ? last.depth + 1 : 2, masses = mesh.masses(flow, depth);
  return {...masses, depth, sure: depth > 5 || (last ? Math.abs(masses.total - last.total) < 0.003 : flow.length < 3)};
}

export function render(context) {
  const s = new Stage(context, draw), {say} = s;
  let layers, K, k, keep, heat, z, known = {};
  const reset = () => {
    [layers, K, k, keep, heat, z] = [start(), s.options.layers ?? 1, 1, true, false, [-1.4, 0.9]];
    layers[0].kind = s.options.kind ?? 'planar';
  };
  reset();
  const left = s.panel({head: ''}), right = s.panel({head: ''}), layer = () => layers[k - 1];
  const size = w => w[0] * w[0] + w[1] * w[1], tell = p => p.map(v => fix(v)).join(', ');
  const foot = () => { const {w, b} = layer(), q = size(w); return [-b * w[0] / q, -b * w[1] / q]; };
  const short = (v, limit) => { const r = Math.hypot(...v); return r > limit ? v.map(x => x * limit / r) : v; };
  const only = kind => ({shown: () => layer().kind === kind});
  left.handle({...only('planar'), name: say.b, letter: 'b', role: 'base', get: foot, text: () => fix(layer().b),
    set: p => { layer().b = -(p[0] * layer().w[0] + p[1] * layer().w[1]); }});
  left.handle({...only('planar'), name: say.w, letter: 'w', role: 'jac',
    text: () => tell(layer().w), get: () => foot().map((v, i) => v + layer().w[i]),
    set: p => {  // the line turns about its foot, so that b follows w
      const f = foot(), w = short([p[0] - f[0], p[1] - f[1]], 3);
      if (size(w) > 0.02) Object.assign(layer(), {w, b: -(f[0] * w[0] + f[1] * w[1])});
    }});
  left.handle({...only('planar'), name: say.u, letter: 'u', role: 'flow',
    text: () => tell(layer().u), get: () => foot().map((v, i) => v + layer().u[i]),
    set: p => { const f = foot(); layer().u = short([p[0] - f[0], p[1] - f[1]], 3.5); }});
  left.handle({...only('radial'), name: say.centre, role: 'base', get: () => layer().z, set: p => { layer().z = p; }});
  left.handle({...only('radial'), name: say.alpha, letter: 'α', role: 'jac', text: () => fix(layer().alpha),
    get: () => [layer().z[0] + layer().alpha, layer().z[1]],
    set: p => { layer().alpha = Math.max(0.2, Math.abs(p[0] - layer().z[0])); hold(); }});
  left.handle({...only('radial'), name: say.beta, letter: 'β', role: 'flow', text: () => fix(layer().s - layer().alpha),
    get: () => [layer().z[0], layer().z[1] + (layer().alpha + layer().s) / 2],
    set: p => { layer().s = 2 * (p[1] - layer().z[1]) - layer().alpha; hold(); }});
  left.handle({name: say.z, letter: 'z', role: 'ink', small: true, get: () => z, set: p => { z = p; }});
  const hold = () => layers.forEach(l => { if (keep) l.s = Math.max(l.s, 0.05); });
  const row = s.row();
  s.choice(row, say.kind, {planar: say.planar, radial: say.radial}, () => layer().kind, kind => { layer().kind = kind; });
  s.range(row, {name: say.layers, min: 1, max: 8, get: () => K, set: v => { k = K = v; }});
  const hand = s.range(row, {name: say.hand, min: 1, max: 8, get: () => k, set: v => { k = Math.min(v, K); }});
  s.syncs.push(() => { hand.max = K; hand.parentNode.hidden = K < 2; hand.value = k; });
  s.check(row, say.keep, () => keep, on => { keep = on; hold(); });
  s.check(row, say.heat, () => heat, on => { heat = on; });
  s.button(row, say.reset, reset);
  const write = s.readouts({c: 'c = w·u', least: say.least, mass: say.mass, turned: say.turned, here: say.here});

  // coarse while a hand moves, fine when it rests; each pane has its own
  const tools = [left, right].map(() => [[60, 200], [100, 360]].map(([cells, n]) => (
    {mesh: new Mesh(cells, 4.4), n, out: new Float64Array(n * n), fold: new Float64Array(n * n), key: ''})));
  /** The density after the first layers, with the grid that they bend; made again only if they changed. */
  function show(panel, flow, role) {
    const tool = tools[+(panel === right)][+s.rests], {mesh, n, out, fold} = tool;
    const key = JSON.stringify([layers.slice(0, flow.length), keep]);
    if (tool.key !== key) mesh.carry(flow).raster(n, 4, out, fold);
    tool.key = key;
    panel.field(out, n, 0.12, s.ramp(role), fold, s.ramp('fold'));
    grid(panel, flow);
    return mesh;
  }
  function grid(panel, flow) {
    for (let g = -4; g <= 4; g++) for (const line of [TRACK.map(t => [t, g]), TRACK.map(t => [g, t])]) {
      panel.path(line.map(p => forward(flow, ...p)), s.colours.ink, {width: g ? 0.8 : 1.4, alpha: g ? 0.25 : 0.45});
    }
  }
  function draw() {
    const flow = layers.slice(0, K).map(l => make(l, keep)), mine = flow[k - 1];
    const {kind, w, b, z: centre, alpha, s: scale} = layer();
    const {colours} = s;
    left.head.textContent = heat ? say.det : fill(say.before, k);
    right.head.textContent = K === 1 ? say.once : fill(say.after, K);
    if (heat) {  // stretched in the colour of the determinant, squeezed in grey
      const n = 100, mark = new Float64Array(n * n), value = Float64Array.from(mark, (_, i) => {
        const log = Math.log(Math.abs(mine.det(-4 + (i % n + 0.5) * 0.08, 4 - ((i / n | 0) + 0.5) * 0.08)));
        mark[i] = log < 0 ? 1e9 : 0;
        return Math.abs(log);
      });
      left.field(value, n, 0.8, s.ramp('jac'), mark, s.ramp('soft')); grid(left, []);
    } else show(left, flow.slice(0, k - 1), 'base');
    const mesh = show(right, flow, 'flow');
    const key = JSON.stringify([layers, K, keep]);
    if (!s.rests) known = {...mesh.masses(flow, 0), sure: K < 3};
    else if (known.key !== key || !known.sure) {
      known = {key, ...refine(mesh, flow, known.key === key ? known : null)};
      if (!known.sure) s.ask();  // a finer one in the next frame
    }
    const ring = (r, colour, style) => left.path(circle((x, y) => [centre[0] + r * x, centre[1] + r * y]), colour, style);
    const c = kind === 'planar' ? mine.c : scale / alpha - 1;
    if (kind === 'planar') {
      const length = Math.sqrt(size(w)), f = foot();
      const along = d => [-9, 9].map(r => [f[0] + (d * w[0] - r * w[1]) / length, f[1] + (d * w[1] + r * w[0]) / length]);
      if (c < -1) {  // det < 0 where |w.z + b| < artanh(sqrt(1 + 1/c))
        const d = Math.atanh(Math.sqrt(1 + 1 / c)) / length;
        left.path([...along(-d), ...along(d).reverse()], colours.fold, {fill: true, alpha: 0.3});
      }
      left.path(along(0), colours.paper, {width: 5}); left.path(along(0), colours.base, {width: 2.2});
      left.arrow(f, w, colours.jac);
      const to = mine.u, bent = Math.hypot(to[0] - layer().u[0], to[1] - layer().u[1]) > 0.03;
      if (bent) left.path([f, f.map((v, i) => v + layer().u[i])], colours.flow, {dash: [4, 4]});
      left.arrow(f, to, colours.flow);  // where the constraint has moved u to
    } else {
      if (c < -1) {
        const [r1, r2] = [-scale, Math.sqrt(alpha * alpha - alpha * scale) - alpha];
        ring((r1 + r2) / 2, colours.fold, {width: Math.abs(r1 - r2) / 8 * left.w, alpha: 0.3});
      }
      ring(alpha, colours.paper, {width: 5}); ring(alpha, colours.jac, {width: 2, dash: [6, 4]});
      ring(Math.abs(alpha + scale) / 2, colours.paper, {width: 5});
      ring(Math.abs(alpha + scale) / 2, colours.flow, {width: 2.2});
    }
    const p = point(...z);
    flow.slice(k - 1).forEach(f => f.step(p));
    right.dot(p, colours.ink, 7);
    const least = K === 1 && kind === 'planar' ? Math.min(1, 1 + c) : known.least;
    s.box.querySelector('dt').textContent = kind === 'planar' ? 'c = w·u' : 'β / α';
    write('c', fix(c), c < -1); write('least', fix(least), least < 0);
    write('mass', known.sure ? fix(known.total) : '…');
    write('turned', fix(known.turned), known.turned > 0.005); write('here', fix(p[2]));
    const told = {least, mass: known.total, turned: known.turned}, name = kind === 'planar' ? 'c' : 'β / α';
    const words = [`${name} ${fix(c)}`, ...Object.entries(told).map(([key, v]) => `${say[key]} ${fix(v)}`)].join(', ');
    left.label(left.head.textContent); right.label(`${right.head.textContent}: ${words}`); s.speak(words);
  }
  return s.start();
}
