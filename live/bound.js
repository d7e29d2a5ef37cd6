// Hold the bound: whatever Gaussian q is drawn over the target, ELBO + KL adds up to ln Z.
import {gaussian, tabulate, targets} from './maths.js';
import {Stage} from './stage.js';

const WORDS = {
  en: {title: 'Hold the bound.', how: 'Move and stretch q. The two pieces of the bar trade nats, and their sum never moves.', plane: 'target (orange) and q (green)', bar: 'nats', log_w: 'ln w of 4,096 draws of q',
    target: 'target', clock: 'clock', U1: 'two moons', tilt: 'q may tilt', k: 'draws k in L_k', reverse: 'best for KL(q‖p)', forward: 'best for KL(p‖q)',
    mean: 'centre of q', first: 'first radius and tilt of q', second: 'second radius of q', sum: 'ELBO + KL', below: 'the rest lies below'},
  ko: {title: '하한 붙잡기.', how: 'q를 옮기고 늘려 본다. 막대의 두 조각은 내트를 주고받지만 그 합은 움직이지 않는다.', plane: '목표(주황)와 q(초록)', bar: '내트', log_w: 'q에서 뽑은 표본 4,096개의 ln w',
    target: '목표', clock: '시계', U1: '두 초승달', tilt: 'q를 기울일 수 있음', k: 'L_k의 표본 수 k', reverse: 'KL(q‖p)의 최적', forward: 'KL(p‖q)의 최적',
    mean: 'q의 중심', first: 'q의 첫째 반지름과 기울기', second: 'q의 둘째 반지름', sum: 'ELBO + KL', below: '나머지는 아래에 있다'},
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
function normals(n, seed = 1) {  // mulberry32 and Box-Muller: the same draws at every visit
  const uniform = () => {
    let t = seed += 0x6D2B79F5;
    t = Math.imul(t ^ t >>> 15, t | 1); t ^= t + Math.imul(t ^ t >>> 7, t | 61);
    return ((t ^ t >>> 14) >>> 0) / 4294967296;
  };
  return Array.from({length: n}, () => { const r = Math.sqrt(-2 * Math.log(1 - uniform())), a = 2 * Math.PI * uniform(); return [r * Math.cos(a), r * Math.sin(a)]; });
}

export function render(context) {
  const s = new Stage(context, WORDS, draw), {say} = s, eps = normals(4096), tables = {};
  const start = {clock: {mean: [0.2, 1.7], sd: [0.7, 0.45], tilt: 0}, U1: {mean: [0.4, 0.2], sd: [1.2, 1], tilt: 0}};
  let name = s.options.target ?? 'clock', q = {...start[name]}, tilted = false, power = 0;
  s.panes.style.setProperty('--split', '1.15fr 1fr');
  const plane = s.panel({head: say.plane}), side = plane.box.parentNode.parentNode.appendChild(document.createElement('div'));
  side.className = 'pane';
  const bar = s.panel({x: [0, 1], y: [-1, 1], ratio: 1.75, head: say.bar}, side), histogram = s.panel({x: [-1, 1], y: [0, 1], ratio: 1.75, head: say.log_w}, side);
  const clip = r => Math.max(0.15, Math.min(1.9, r)), away = p => [p[0] - q.mean[0], p[1] - q.mean[1]], inner = v => Math.max(-3, Math.min(3, v));
  plane.handle({name: say.mean, letter: 'μ', role: 'flow', get: () => q.mean, set: p => { q.mean = p.map(inner); }});
  plane.handle({name: say.first, small: true, role: 'flow', get: () => place(q, [1, 0]), text: () => `${q.sd[0].toFixed(2)}, ${(q.tilt * 180 / Math.PI).toFixed(0)}°`,
    set: p => { const [x, y] = away(p); q.sd = [clip(tilted ? Math.hypot(x, y) : Math.abs(x)), q.sd[1]]; if (tilted) q.tilt = Math.atan2(y, x); }});
  plane.handle({name: say.second, small: true, role: 'flow', get: () => place(q, [0, 1]), text: () => q.sd[1].toFixed(2),
    set: p => { const [x, y] = away(p); q.sd = [q.sd[0], clip(Math.abs(Math.cos(q.tilt) * y - Math.sin(q.tilt) * x))]; }});
  const row = s.row(), best = which => () => { q = structuredClone(s.data[name][which][tilted ? 'tilted' : 'straight']); };
  s.choice(row, say.target, {clock: say.clock, U1: say.U1}, () => name, value => { name = value; q = {...start[name]}; });
  s.check(row, say.tilt, () => tilted, on => { tilted = on; if (!on) q.tilt = 0; });
  s.range(row, {name: say.k, min: 0, max: 8, get: () => power, set: v => { power = v; }, show: v => String(2 ** v)});
  if (s.data[name]) { s.button(row, say.reverse, best('reverse')); s.button(row, say.forward, best('forward')); }
  const write = s.readouts({elbo: 'ELBO', kl: 'KL(q‖p)', sum: say.sum, forward: 'KL(p‖q)', L: 'L_k'});

  function draw() {
    const {log, logZ} = targets[name], {colours} = s;
    const table = tables[name] ??= {log_p: tabulate(log, REACH, POINTS), seen: tabulate(log, 4, 100)};
    const {elbo, kl, forward} = divergences(q, table.log_p, logZ), log_q = gaussian(q);
    const log_w = eps.map(e => { const z = place(q, e); return log(...z) - log_q(...z); }), k = 2 ** power, bound = L(k, log_w);
    const flipped = Float64Array.from({length: 1e4}, (_, i) => Math.exp(table.seen[(99 - (i / 100 | 0)) * 100 + i % 100] - logZ));
    plane.field(flipped, 100, 0.12, s.ramp('target', 0.75));
    for (const [r, style] of [[2, {width: 1.5, alpha: 0.7}], [1, {width: 3}]]) {
      plane.path(Array.from({length: 73}, (_, i) => place(q, [r * Math.cos(i * Math.PI / 36), r * Math.sin(i * Math.PI / 36)])), colours.flow, style);
    }
    // the bar: a window of six nats under ln Z
    const low = logZ - 6, top = logZ + 0.9, down = Math.max(elbo, low);
    bar.y = [low, top];
    bar.path([[0.28, low], [0.62, low], [0.62, down], [0.28, down]], colours.flow, {fill: true});
    const pairs = [];
    for (let v = down; v < logZ; v += 0.18) pairs.push([[0.28, v], [0.62, Math.min(v + 0.5, logZ)]]);
    bar.segments(pairs, colours.soft, {alpha: 0.6, width: 1});
    bar.path([[0.28, down], [0.62, down], [0.62, logZ], [0.28, logZ]], colours.soft, {close: true, width: 1.2});
    bar.path([[0, logZ], [1, logZ]], colours.target, {width: 2, dash: [6, 4]});
    bar.text(`ln Z = ${logZ.toFixed(2)}`, 0.65, logZ + 0.15, colours.target);
    bar.text(`KL ${kl.toFixed(2)}`, 0.65, (Math.max(down, low + 0.5) + logZ) / 2 - 0.1);
    bar.text(elbo > low ? `ELBO ${elbo.toFixed(2)}` : `↓ ELBO ${elbo.toFixed(2)}: ${say.below}`, elbo > low ? 0.65 : 0.03, Math.max(down - 0.6, low + 0.25), colours.flow);
    if (power) { bar.path([[0.22, bound], [0.68, bound]], colours.base, {width: 3}); bar.text(`L${k} ${bound.toFixed(2)}`, 0.2, bound - 0.1, colours.base, 'right'); }
    // the weights, on a window that ends above ln Z
    const right = logZ + 4, left = right - 14, bins = new Float64Array(56);
    for (const v of log_w) bins[Math.max(0, Math.min(55, (v - left) * 4 | 0))]++;
    const most = Math.max(...bins) * 1.15;
    histogram.x = [left, right];
    bins.forEach((count, i) => histogram.path([[left + i / 4, 0], [left + i / 4 + 0.23, 0], [left + i / 4 + 0.23, count / most], [left + i / 4, count / most]], colours.soft, {fill: true, alpha: i ? 0.55 : 0.9}));
    for (const [v, colour, dash] of [[elbo, colours.flow, []], [power ? bound : NaN, colours.base, []], [logZ, colours.target, [6, 4]]]) if (v > left) histogram.path([[v, 0], [v, 1]], colour, {width: 2.5, dash});
    if (bins[0] > most / 20) histogram.text('←', left + 0.3, 0.08);
    write('elbo', elbo.toFixed(2)); write('kl', kl.toFixed(2)); write('sum', (elbo + kl).toFixed(2)); write('forward', forward.toFixed(2)); write('L', bound.toFixed(2));
    const words = `ELBO ${elbo.toFixed(2)} + KL ${kl.toFixed(2)} = ${(elbo + kl).toFixed(2)}, ln Z ${logZ.toFixed(2)}`;
    plane.label(say.plane); bar.label(words); histogram.label(`${say.log_w}: ${Math.min(...log_w).toFixed(1)} … ${Math.max(...log_w).toFixed(1)}`);
    s.speak(words);
  }
  return s.start();
}
