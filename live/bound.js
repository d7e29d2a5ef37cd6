// Hold the bound: whatever Gaussian q is drawn over the target, ELBO + KL adds up to ln Z.
import {flip, gaussian, normals, tabulate, targets} from './maths.js';
import {Stage, circle, clamp, el, fix} from './stage.js';

export const REACH = 8, POINTS = 160, CELL = (2 * REACH / POINTS) ** 2;
/** Both divergences by the midpoint rule on the library's grid; log_p holds ln p~ at its points. */
export function divergences(q, log_p, logZ) {
  const log_q = tabulate(gaussian(q), REACH, POINTS);
  let elbo = 0, kl = 0, forward = 0;
  for (let i = 0; i < log_q.length; i++) {
    const density = Math.exp(log_q[i]) * CELL, gap = log_q[i] - log_p[i];
    elbo -= density * gap; kl += density * (gap + logZ);
    forward -= Math.exp(log_p[i] - logZ) * CELL * (gap + logZ);
  }
  return {elbo, kl, forward};
}
export function place(q, [a, b]) {
  const c = Math.cos(q.tilt), s = Math.sin(q.tilt), x = q.sd[0] * a, y = q.sd[1] * b;
  return [q.mean[0] + c * x - s * y, q.mean[1] + s * x + c * y];
}
/** L_k from log weights: the mean over groups of k of the log of their mean weight. */
export function L(k, log_w) {
  let sum = 0;
  for (let i = 0; i < log_w.length; i += k) {
    const group = log_w.slice(i, i + k), top = Math.max(...group);
    sum += top + Math.log(group.reduce((t, v) => t + Math.exp(v - top), 0) / k);
  }
  return sum * k / log_w.length;
}

export function render(context) {
  const s = new Stage(context, draw), {say} = s, eps = normals(4096), tables = {};
  const start = {clock: {mean: [0.2, 1.7], sd: [0.7, 0.45], tilt: 0}, U1: {mean: [0.4, 0.2], sd: [1.2, 1], tilt: 0}};
  let name = s.options.target ?? 'clock', q = {...start[name]}, tilted = false, power = 0;
  s.panes.style.setProperty('--split', '1.15fr 1fr');
  const plane = s.panel({x: [-3.5, 3.5], head: say.plane}), side = el(s.panes, 'div', {class: 'pane pair'});
  const half = options => s.panel({ratio: 1.75, ...options}, el(side, 'div', {class: 'pane'}));
  const bar = half({x: [0, 1], head: say.bar}), histogram = half({y: [0, 1], head: say.log_w});
  const radius = r => clamp(r / 2, 0.15, 1.9), away = p => [p[0] - q.mean[0], p[1] - q.mean[1]];
  plane.handle({name: say.mean, letter: 'μ', role: 'flow', get: () => q.mean, set: p => { q.mean = p.map(v => clamp(v, -3, 3)); }});
  // the radii are set on the ellipse of two standard deviations
  plane.handle({name: say.first, small: true, role: 'flow', get: () => place(q, [2, 0]),
    text: () => `${fix(q.sd[0])}, ${fix(q.tilt * 180 / Math.PI, 0)}°`,
    set: p => {
      const [x, y] = away(p);
      q.sd = [radius(tilted ? Math.hypot(x, y) : Math.abs(x)), q.sd[1]];
      if (tilted) q.tilt = Math.atan2(y, x);
    }});
  plane.handle({name: say.second, small: true, role: 'flow', get: () => place(q, [0, 2]), text: () => fix(q.sd[1]),
    set: p => {
      const [x, y] = away(p);
      q.sd = [q.sd[0], radius(Math.abs(Math.cos(q.tilt) * y - Math.sin(q.tilt) * x))];
    }});
  const row = s.row(), best = which => () => { q = structuredClone(s.data[name][which][tilted ? 'tilted' : 'straight']); };
  s.choice(row, say.target, {clock: say.clock, U1: say.U1}, () => name, value => { name = value; q = {...start[name]}; });
  s.check(row, say.tilt, () => tilted, on => { tilted = on; if (!on) q.tilt = 0; });
  s.range(row, {name: say.k, min: 0, max: 8, get: () => power, set: v => { power = v; }, show: v => String(2 ** v)});
  if (s.data[name]) { s.button(row, say.reverse, best('reverse')); s.button(row, say.forward, best('forward')); }
  const write = s.readouts({elbo: 'ELBO', kl: 'KL(q‖p)', sum: say.sum, forward: 'KL(p‖q)', L: say.L});

  function draw() {
    const {log, logZ} = targets[name], {colours} = s;
    const table = tables[name] ??= {log_p: tabulate(log, REACH, POINTS), seen: tabulate(log, 3.5, 100)};
    const {elbo, kl, forward} = divergences(q, table.log_p, logZ), log_q = gaussian(q);
    const log_w = eps.map(e => { const z = place(q, e); return log(...z) - log_q(...z); });
    const k = 2 ** power, bound = L(k, log_w);
    plane.field(flip(table.seen, 100).map(v => Math.exp(v - logZ)), 100, 0.12, s.ramp('target', 0.75));
    for (const [r, style] of [[2, {width: 1.5, alpha: 0.7}], [1, {width: 3}]]) {
      plane.path(circle((x, y) => place(q, [r * x, r * y])), colours.flow, style);
    }
    // the bar: a window of six nats under ln Z
    const low = logZ - 6, down = Math.max(elbo, low);
    const block = (...args) => bar.block(0.05, 0.36, ...args);
    bar.y = [low, logZ + 0.9];
    block(low, down, colours.flow); block(down, logZ, colours.target, {alpha: 0.22});
    block(down, logZ, colours.target, {fill: false, width: 1});
    bar.path([[0, logZ], [1, logZ]], colours.target, {width: 2, dash: [6, 4]});
    bar.text(`ln Z = ${fix(logZ)}`, 0.4, logZ, {colour: colours.target, dy: -7});
    if (power) {
      bar.path([[0.02, bound], [0.39, bound]], colours.base, {width: 3});
      bar.text(`L${k} ${fix(bound)}`, 0.42, Math.min(bound, logZ - 0.25), {colour: colours.base, dy: 5});
    } else if (logZ - down > 0.5) bar.text(`KL ${fix(kl)}`, 0.4, (down + logZ) / 2, {dy: 5});
    const label = `${elbo > low ? '' : '↓ '}ELBO ${fix(elbo)}`;
    bar.text(label, 0.4, Math.max(down, low + 1), {colour: colours.flow, dy: 18});
    // the weights, on a window that ends above ln Z
    const right = logZ + 4, left = right - 14, bins = new Float64Array(56);
    for (const v of log_w) bins[Math.max(0, Math.min(55, (v - left) * 4 | 0))]++;
    const most = Math.max(...bins) * 1.15;
    histogram.x = [left, right];
    bins.forEach((count, i) => {
      const v = left + i / 4;
      histogram.block(v, v + 0.23, 0, count / most, colours.soft, {alpha: i ? 0.55 : 0.9});
    });
    const line = (v, colour, dash = []) => histogram.path([[v, 0], [v, 1]], colour, {width: 2.5, dash});
    line(elbo, colours.flow); line(logZ, colours.target, [6, 4]);
    if (power) line(bound, colours.base);
    if (bins[0] > most / 20) histogram.text('←', left + 0.3, 0, {dy: -8});
    write('elbo', fix(elbo)); write('kl', fix(kl)); write('sum', fix(elbo + kl)); write('forward', fix(forward));
    write('L', fix(bound));
    const words = `ELBO ${fix(elbo)} + KL ${fix(kl)} = ${fix(elbo + kl)}, ln Z ${fix(logZ)}`;
    plane.label(say.plane); bar.label(words);
    histogram.label(`${say.log_w}: ${Math.min(...log_w).toFixed(1)} … ${Math.max(...log_w).toFixed(1)}`);
    s.speak(words);
  }
  return s.start();
}
