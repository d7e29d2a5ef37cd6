// Which check sees it? The fixed-point inverse of a planar layer, a <- t - c tanh(a), against the root.
import {normals, root} from './maths.js';
import {Stage, fix} from './stage.js';

/** The path a_0 = t, a_1, ... of the fixed-point iteration, as published inverses run it. */
export function iterate(c, b, t, steps) {
  const path = [t];
  for (let i = 0; i < steps; i++) path.push(t - c * Math.tanh(path[i] + b));
  return path;
}
/** The share of draws a of N(0, 1) whose image a + c tanh(a) is brought back to 1e-6 in 60 steps. */
export function share(c, draws) {
  const back = draws.filter(a => Math.abs(iterate(c, 0, a + c * Math.tanh(a), 60).at(-1) - a) < 1e-6);
  return back.length / draws.length;
}

export function render(context) {
  const s = new Stage(context, draw), {say} = s, draws = normals(200, 11).flat();
  const curve = Array.from({length: 131}, (_, i) => [-1.5 + i * 0.05, share(-1.5 + i * 0.05, draws)]);
  let c = s.options.c ?? 2, t = s.options.t ?? 0.7, steps = 40;
  const web = s.panel({x: [-3, 3], head: say.web});
  const shares = s.panel({x: [-1.5, 5], y: [-0.18, 1.15], ratio: 1.001, head: say.share});
  web.handle({name: say.t, letter: 't', axis: 'x', role: 'base', get: () => [t, t],
    set: p => { t = p[0]; }, text: () => fix(t)});
  shares.handle({name: say.c, letter: 'c', axis: 'x', role: 'jac', get: () => [c, 0],
    set: p => { c = p[0]; }, text: () => fix(c)});
  const row = s.row();
  s.range(row, {name: say.steps, min: 1, max: 60, grow: true, get: () => steps, set: v => { steps = v; }});
  const write = s.readouts({c: 'c', slope: say.slope, error: say.error, back: say.back});

  function draw() {
    const {colours} = s, path = iterate(c, 0, t, steps), folds = c <= -1, now = share(c, draws);
    const a = folds ? NaN : root(c, 0, t), slope = -c * (1 - Math.tanh(a) ** 2);
    web.segments([-2, -1, 0, 1, 2].flatMap(v => [[[v, -3], [v, 3]], [[-3, v], [3, v]]]), colours.line, {width: 1});
    web.path([[-3, -3], [3, 3]], colours.soft, {width: 1.5});
    const line = Array.from({length: 121}, (_, i) => -3 + i / 20).map(x => [x, t - c * Math.tanh(x)]);
    web.path(line, colours.flow, {width: 3});
    for (let i = 0; i < steps; i++) {
      const [from, to] = path.slice(i, i + 2);
      web.path([[from, from], [from, to], [to, to]], colours.jac, {width: 1.8, alpha: 0.35 + 0.65 * i / steps});
    }
    web.dot([path.at(-1), path.at(-1)], colours.jac, 6);
    if (!folds) { web.dot([a, a], colours.target, 7); web.text('a', a, a, {colour: colours.target, dx: 10, dy: 18}); }
    shares.block(-1.5, -1, -0.18, 1.15, colours.fold, {alpha: 0.2});
    shares.segments([[[-2, 0], [6, 0]]], colours.soft, {width: 1});
    for (const v of [-1, 0, 1, 2, 3, 4]) {
      shares.segments([[[v, 0], [v, 1.15]]], colours.line, {width: 1});
      shares.text(fix(v, 0), v, -0.18, {colour: colours.soft, align: 'center', dy: -4});
    }
    shares.path([[-1, 1], [5, 1]], colours.target, {width: 2, dash: [6, 4]});
    shares.text(say.newton, 4.9, 1, {colour: colours.target, align: 'right', dy: -7});
    shares.path(curve, colours.jac, {width: 3});
    shares.segments([[[c, 0], [c, 1.15]]], colours.jac, {width: 1.5, dash: [4, 4]});
    shares.dot([c, now], colours.jac, 6);
    const off = Math.abs(path.at(-1) - a), small = off.toExponential(0).replace('-', '−');
    const error = folds ? '–' : off < 1e-3 ? small : fix(off);
    write('c', folds ? `${fix(c)}: ${say.fold}` : fix(c), folds);
    write('slope', folds ? '–' : fix(slope), Math.abs(slope) > 1); write('error', error, off > 1e-3);
    write('back', fix(now), now < 1);
    const words = `c ${fix(c)}${folds ? `: ${say.fold}` : ''}, ${say.error} ${error}, ${say.back} ${fix(now)}`;
    web.label(`${say.web}. ${words}`); shares.label(say.share); s.speak(words);
  }
  return s.start();
}
