// Whose mass? A map of the line by its control points: a band of the base and its image hold the same mass.
import {Stage, clamp, fill, fix} from './stage.js';

const READ = ['area', 'image', 'slope', 'q1', 'roots', 'mass', 'one'];
export const KNOTS = [-4, -2, -1, 0, 1, 2, 4];
const density = x => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
/** The monotone cubic of Fritsch and Carlson (scipy's PCHIP): it rises wherever its dots rise. */
export function curve(x, y) {
  const n = x.length, h = x.slice(1).map((v, i) => v - x[i]), d = h.map((v, i) => (y[i + 1] - y[i]) / v);
  const edge = (h0, h1, d0, d1) => {
    const v = ((2 * h0 + h1) * d0 - h0 * d1) / (h0 + h1);
    return v * d0 <= 0 ? 0 : d0 * d1 < 0 && Math.abs(v) > 3 * Math.abs(d0) ? 3 * d0 : v;
  };
  const m = x.map((_, i) => {
    if (i === 0) return edge(h[0], h[1], d[0], d[1]);
    if (i === n - 1) return edge(h[n - 2], h[n - 3], d[n - 2], d[n - 3]);
    const a = 2 * h[i] + h[i - 1], b = h[i] + 2 * h[i - 1];
    return d[i - 1] * d[i] <= 0 ? 0 : (a + b) / (a / d[i - 1] + b / d[i]);
  });
  /** f and f' at z. */
  return z => {
    let i = 0;
    while (i < n - 2 && z > x[i + 1]) i++;
    const t = (z - x[i]) / h[i], u = 1 - t;
    return [u * u * (1 + 2 * t) * y[i] + t * t * (3 - 2 * t) * y[i + 1] + h[i] * t * u * (u * m[i] - t * m[i + 1]),
      6 * t * u * d[i] + u * (1 - 3 * t) * m[i] + t * (3 * t - 2) * m[i + 1]];
  };
}
/** All z of [-4, 4] with f(z) = y, by bisection between the steps of a fine walk. */
export function preimages(f, y, n = 800) {
  const found = [];
  for (let i = 0, a = KNOTS[0], fa = f(a)[0]; i < n; i++) {
    const b = KNOTS[0] + (i + 1) * 8 / n, fb = f(b)[0];
    if (fa < y !== fb < y) {
      let [low, high] = [a, b];
      for (let j = 0; j < 50; j++) { const c = (low + high) / 2; if (f(c)[0] < y === fa < y) low = c; else high = c; }
      found.push((low + high) / 2);
    }
    a = b; fa = fb;
  }
  return found;
}
/** q_1 at y: every preimage brings q_0 / |f'|. */
export const pushed = (f, y) => preimages(f, y).reduce((sum, z) => sum + density(z) / Math.abs(f(z)[1]), 0);
/** Walk the line: the mass of the image by q_0 / |f'| times the height of each step; the mass left if
 *  of several preimages the first alone is counted; q_1 in bins of the window. */
export function walk(f, bins, n = 8000) {
  const out = new Float64Array(bins);
  let total = 0, one = 0, top = -Infinity;
  for (let i = 0, [y] = f(KNOTS[0]); i < n; i++) {
    const z = KNOTS[0] + (i + 0.5) * 8 / n, [next] = f(z + 4 / n), slope = Math.abs(f(z)[1]);
    const low = Math.min(y, next), high = Math.max(y, next);
    const mass = slope > 1e-6 ? density(z) / slope * (high - low) : density(z) * 8 / n;
    total += mass;
    if (high > top) { one += mass; top = high; }
    const a = (low + 4) / 8 * bins, b = (high + 4) / 8 * bins;
    for (let j = Math.max(0, Math.floor(a)); j < Math.min(bins, b); j++) {
      const part = b > a ? (Math.min(b, j + 1) - Math.max(a, j)) / (b - a) : 1;
      out[j] += mass * part / (8 / bins);
    }
    y = next;
  }
  return {total, one, bins: out};
}

export function render(context) {
  const s = new Stage(context, draw), {say} = s, HALF = 0.3, BINS = 320, TALL = 3.2;
  let y, at;
  const reset = () => { y = s.options.heights ?? [-3.5, -2.4, -1.9, 0.1, 2, 2.5, 3.6]; y = [...y]; at = -0.5; };
  reset();
  s.panes.style.setProperty('--split', 'minmax(0, 560px)'); s.panes.style.justifyContent = 'center';
  const plane = s.panel({head: say.plane});
  KNOTS.slice(1, -1).forEach((x, i) => plane.handle({name: fill(say.dot, i + 1), axis: 'y', small: true, role: 'ink',
    get: () => [x, y[i + 1]], set: p => { y[i + 1] = clamp(p[1], -3.6, 3.6); }, text: () => fix(y[i + 1])}));
  plane.handle({name: say.band, letter: 'z', axis: 'x', role: 'base',
    get: () => [at, -3.6], set: p => { at = clamp(p[0], -3.2, 3.2); }, text: () => fix(at)});
  s.button(s.row(), say.reset, reset);
  const write = s.readouts(Object.fromEntries(READ.map(key => [key, say[key]])));

  function draw() {
    const {colours} = s, f = curve(KNOTS, y), {total, one, bins} = walk(f, BINS);
    const [height, slope] = f(at), found = preimages(f, height);
    const strip = (a, b, n = 24) => Array.from({length: n + 1}, (_, i) => a + (b - a) * i / n);
    const floor = x => -4 + TALL * density(x), q1 = j => -4 + Math.min(TALL * bins[clamp(j, 0, BINS - 1)], 3.4);
    const grid = [-3, -2, -1, 0, 1, 2, 3].flatMap(v => [[[v, -4], [v, 4]], [[-4, v], [4, v]]]);
    plane.segments(grid, colours.line, {width: 1});
    // the base, seen from below, and its image, seen from the left
    plane.path([[-4, -4], ...strip(-4, 4, 160).map(x => [x, floor(x)]), [4, -4]], colours.base, {fill: true, alpha: 0.22});
    plane.path(strip(-4, 4, 160).map(x => [x, floor(x)]), colours.base);
    const side = Array.from(bins, (_, j) => [q1(j), -4 + (j + 0.5) * 8 / BINS]);
    plane.path([[-4, -4], ...side, [-4, 4]], colours.flow, {fill: true, alpha: 0.22}); plane.path(side, colours.flow);
    // the band and what becomes of it; other places with the same height in red
    for (const z of found) {
      const mine = Math.abs(z - at) < 1e-6, colour = mine ? colours.base : colours.fold;
      plane.segments([[[z, mine ? -4 : floor(z)], [z, height]]], colour, {width: 1.5, dash: [5, 4]});
    }
    const xs = strip(at - HALF, at + HALF), heights = xs.map(x => f(x)[0]);
    const low = Math.min(...heights), high = Math.max(...heights), curved = xs.map((x, i) => [x, heights[i]]);
    const pale = {fill: true, alpha: 0.13};
    plane.path([[at - HALF, -4], ...xs.map(x => [x, floor(x)]), [at + HALF, -4]], colours.base, {fill: true, alpha: 0.75});
    plane.path([...curved, [-4, heights.at(-1)], [-4, heights[0]]], colours.jac, pale);
    plane.path([[at - HALF, floor(at - HALF)], ...curved, [at + HALF, floor(at + HALF)]], colours.jac, pale);
    const rows = strip(low, high).map(v => [q1(Math.floor((v + 4) / 8 * BINS)), v]);
    plane.path([[-4, low], ...rows, [-4, high]], colours.flow, {fill: true, alpha: 0.75});
    plane.segments([[[-4, height], [Math.max(at, ...found), height]]], colours.flow, {width: 1.5, dash: [5, 4]});
    plane.path(strip(-4, 4, 240).map(x => [x, f(x)[0]]), colours.paper, {width: 5});
    plane.path(strip(-4, 4, 240).map(x => [x, f(x)[0]]), colours.ink, {width: 2.4});
    for (const z of found) plane.dot([z, height], Math.abs(z - at) < 1e-6 ? colours.base : colours.fold, 5);
    plane.text('q₀', 3.4, -3.7, {colour: colours.base}); plane.text('q₁', -3.6, 3.5, {colour: colours.flow});
    // the band's mass in the base, and by q_0 / |f'| over its image
    let area = 0, image = 0;
    strip(at - HALF, at + HALF, 200).slice(0, -1).forEach(x => {
      const mid = x + HALF / 200, step = Math.abs(f(x + HALF / 100)[0] - f(x)[0]), d = Math.abs(f(mid)[1]);
      area += density(mid) * HALF / 100; image += d > 1e-6 ? density(mid) / d * step : density(mid) * HALF / 100;
    });
    const level = found.reduce((sum, z) => sum + density(z) / Math.abs(f(z)[1]), 0);
    write('area', fix(area, 3)); write('image', fix(image, 3)); write('slope', fix(slope), slope < 0);
    write('q1', level > 99 ? '∞' : fix(level));
    write('roots', String(found.length), found.length > 1); write('mass', fix(total));
    write('one', fix(one), one < 0.995);
    const told = {area: fix(area, 3), image: fix(image, 3), roots: found.length, mass: fix(total), one: fix(one)};
    const words = Object.entries(told).map(([key, value]) => `${say[key]} ${value}`).join(', ');
    plane.label(`${say.plane}. ${words}`); s.speak(words);
  }
  return s.start();
}
