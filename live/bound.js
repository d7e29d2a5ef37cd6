// Hold the bound: whatever Gaussian q is drawn over the target, ELBO + KL adds up to ln Z.
import {gaussian, normals, tabulate, targets} from './maths.js';
import {Stage, el, fix} from './stage.js';

export const WORDS = {
  en: {title: 'Hold the bound.', how: 'Move and stretch q. The two pieces of the bar trade nats, and their sum never moves.', plane: 'target (orange) and q (green)', bar: 'nats', log_w: 'ln w of 4,096 draws',
    target: 'target', clock: 'clock', U1: 'two moons', tilt: 'q may tilt', k: 'draws k in L_k', reverse: 'best for KL(q‖p)', forward: 'best for KL(p‖q)',
    mean: 'centre of q', first: 'first radius and tilt of q', second: 'second radius of q', sum: 'ELBO + KL', L: 'L_k by the draws'},
  ko: {title: '하한 붙잡기.', how: 'q를 옮기고 늘려 본다. 막대의 두 조각은 내트를 주고받지만 그 합은 움직이지 않는다.', plane: '목표(주황)와 q(초록)', bar: '내트', log_w: '표본 4,096개의 ln w',
    target: '목표', clock: '시계', U1: '두 초승달', tilt: 'q를 기울일 수 있음', k: 'L_k의 표본 수 k', reverse: 'KL(q‖p)의 최적', forward: 'KL(p‖q)의 최적',
    mean: 'q의 중심', first: 'q의 첫째 반지름과 기울기', second: 'q의 둘째 반지름', sum: 'ELBO + KL', L: '표본으로 잰 L_k'},
};
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
  const s = new Stage(context, WORDS, draw), {say} = s, eps = normals(4096), tables = {};
  const start = {clock: {mean: [0.2, 1.7], sd: [0.7, 0.45], tilt: 0}, U1: {mean: [0.4, 0.2], sd: [1.2, 1], tilt: 0}};
  let name = s.options.target ?? 'clock', q = {...start[name]}, tilted = false, power = 0;
  s.panes.style.setProperty('--split', '1.15fr 1fr');
  const plane = s.panel({x: [-3.5, 3.5], head: say.plane}), side = el(s.panes, 'div', {class: 'pane pair'});
  const bar = s.panel({x: [0, 1], ratio: 1.75, head: say.bar}, el(side, 'div', {class: 'pane'})), histogram = s.panel({y: [0, 1], ratio: 1.75, head: say.log_w}, el(side, 'div', {class: 'pane'}));
  const clip = r => Math.max(0.15, Math.min(1.9, r)), away = p => [p[0] - q.mean[0], p[1] - q.mean[1]], inner = v => Math.max(-3, Math.min(3, v));
  plane.handle({name: say.mean, letter: 'μ', role: 'flow', get: () => q.mean, set: p => { q.mean = p.map(inner); }});
  // the radii are set on the ellipse of two standard deviations
  plane.handle({name: say.first, small: true, role: 'flow', get: () => place(q, [2, 0]), text: () => `${fix(q.sd[0])}, ${fix(q.tilt * 180 / Math.PI, 0)}°`,
    set: p => { const [x, y] = away(p); q.sd = [clip((tilted ? Math.hypot(x, y) : Math.abs(x)) / 2), q.sd[1]]; if (tilted) q.tilt = Math.atan2(y, x); }});
  plane.handle({name: say.second, small: true, role: 'flow', get: () => place(q, [0, 2]), text: () => fix(q.sd[1]),
    set: p => { const [x, y] = away(p); q.sd = [q.sd[0], clip(Math.abs(Math.cos(q.tilt) * y - Math.sin(q.tilt) * x) / 2)]; }});
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
    const log_w = eps.map(e => { const z = place(q, e); return log(...z) - log_q(...z); }), k = 2 ** power, bound = L(k, log_w);
    const flipped = Float64Array.from({length: 1e4}, (_, i) => Math.exp(table.seen[(99 - (i / 100 | 0)) * 100 + i % 100] - logZ));
    plane.field(flipped, 100, 0.12, s.ramp('target', 0.75));
    for (const [r, style] of [[2, {width: 1.5, alpha: 0.7}], [1, {width: 3}]]) {
      plane.path(Array.from({length: 73}, (_, i) => place(q, [r * Math.cos(i * Math.PI / 36), r * Math.sin(i * Math.PI / 36)])), colours.flow, style);
    }
    // the bar: a window of six nats under ln Z
    const low = logZ - 6, down = Math.max(elbo, low), block = (y0, y1, colour, style) => bar.path([[0.05, y0], [0.36, y0], [0.36, y1], [0.05, y1]], colour, {close: true, ...style});
    bar.y = [low, logZ + 0.9];
    block(low, down, colours.flow, {fill: true}); block(down, logZ, colours.target, {fill: true, alpha: 0.22}); block(down, logZ, colours.target, {width: 1});
    bar.path([[0, logZ], [1, logZ]], colours.target, {width: 2, dash: [6, 4]});
    bar.text(`ln Z = ${fix(logZ)}`, 0.4, logZ, {colour: colours.target, dy: -7});
    if (power) { bar.path([[0.02, bound], [0.39, bound]], colours.base, {width: 3}); bar.text(`L${k === 1 ? '' : k} ${fix(bound)}`, 0.42, Math.min(bound, logZ - 0.25), {colour: colours.base, dy: 5}); }
    else if (logZ - down > 0.5) bar.text(`KL ${fix(kl)}`, 0.4, (down + logZ) / 2, {dy: 5});
    bar.text(elbo > low ? `ELBO ${fix(elbo)}` : `↓ ELBO ${fix(elbo)}`, 0.4, Math.max(down, low + 1), {colour: colours.flow, dy: 18});
    // the weights, on a window that ends above ln Z
    const right = logZ + 4, left = right - 14, bins = new Float64Array(56);
    for (const v of log_w) bins[Math.max(0, Math.min(55, (v - left) * 4 | 0))]++;
    const most = Math.max(...bins) * 1.15;
    histogram.x = [left, right];
    bins.forEach((count, i) => histogram.path([[left + i / 4, 0], [left + i / 4 + 0.23, 0], [left + i / 4 + 0.23, count / most], [left + i / 4, count / most]], colours.soft, {fill: true, alpha: i ? 0.55 : 0.9}));
    for (const [v, colour, dash] of [[elbo, colours.flow, []], [power ? bound : NaN, colours.base, []], [logZ, colours.target, [6, 4]]]) if (v > left) histogram.path([[v, 0], [v, 1]], colour, {width: 2.5, dash});
    if (bins[0] > most / 20) histogram.text('←', left + 0.3, 0, {dy: -8});
    write('elbo', fix(elbo)); write('kl', fix(kl)); write('sum', fix(elbo + kl)); write('forward', fix(forward)); write('L', fix(bound));
    const words = `ELBO ${fix(elbo)} + KL ${fix(kl)} = ${fix(elbo + kl)}, ln Z ${fix(logZ)}`;
    plane.label(say.plane); bar.label(words); histogram.label(`${say.log_w}: ${Math.min(...log_w).toFixed(1)} … ${Math.max(...log_w).toFixed(1)}`);
    s.speak(words);
  }
  return s.start();
}
