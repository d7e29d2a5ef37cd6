// Run the live figures' mathematics on vectors of nflib_min (JSON, first argument): the largest errors.
import {readFileSync} from 'node:fs';
import * as M from '../../live/maths.js';
import * as bound from '../../live/bound.js';
import * as cobweb from '../../live/cobweb.js';
import * as depth from '../../live/depth.js';
import * as mass from '../../live/mass.js';
import * as planar from '../../live/planar.js';
import * as start from '../../live/start.js';

const V = JSON.parse(readFileSync(process.argv[2])), worst = {};
function near(key, got, want, relative = false) {
  const flat = v => [v].flat(9), a = flat(Array.isArray(got) || typeof got === 'number' ? got : Array.from(got)), b = flat(want);
  if (a.length !== b.length) throw new Error(`${key}: ${b.length} numbers expected, got ${a.length}`);
  const error = Math.max(...a.map((v, i) => Math.abs(v - b[i]) / (relative ? 1 + Math.abs(b[i]) : 1)));
  worst[key] = Number.isNaN(error) ? 'NaN' : Math.max(worst[key] ?? 0, error);
}
const layersOf = {
  planar: ({u, w, b}) => u.map((_, k) => M.planar({u: u[k], w: w[k], b: b[k]})),
  radial: ({z_ref, log_alpha, beta}) => z_ref.map((z, k) => M.radial({z, alpha: Math.exp(log_alpha[k]), s: M.softplus(beta[k])})),
  ode: (params, steps) => [M.ode(params, 0, 1, steps)],
};
for (const {kind, params, steps, z0, zK, log_det, y, back, log_q} of V.flows) {
  const layers = layersOf[kind](params, steps), there = z0.map(z => M.forward(layers, ...z)), home = y.map(z => M.inverse(layers, ...z));
  near(`${kind} forward`, there.map(p => p.slice(0, 2)), zK); near(`${kind} ln|det|`, there.map(p => p[2]), log_det);
  near(`${kind} inverse`, home.map(p => p.slice(0, 2)), back); near(`${kind} density`, home.map(p => M.normal(p[0], p[1]) + p[2]), log_q);
}
for (const {u, w, b, z, out, log_det} of V.layers) {
  const there = z.map(p => M.forward([M.planar({u, w, b}, false)], ...p));
  near('unconstrained layer', there.map(p => p.slice(0, 2)), out); near('unconstrained ln|det|', there.map(p => p[2]), log_det);
}
for (const [name, {z, log_density, logZ}] of Object.entries(V.targets)) {
  near(`${name} ln p`, z.map(p => M.targets[name].log(...p)), log_density, true); near(`${name} ln Z`, M.targets[name].logZ, logZ);
}
for (const {target, q, elbo, kl, forward, log_q, eps, log_w, L} of V.bounds) {
  const {log, logZ} = M.targets[target], got = bound.divergences(q, M.tabulate(log, bound.REACH, bound.POINTS), logZ), density = M.gaussian(q);
  near('ELBO', got.elbo, elbo); near('KL(q||p)', got.kl, kl); near('KL(p||q)', got.forward, forward, true);
  const z = eps.map(e => bound.place(q, e)), weights = z.map(p => log(...p) - density(...p));
  near('gaussian', z.map(p => density(...p)), log_q); near('ln w', weights, log_w, true);
  for (const [k, value] of Object.entries(L)) near('L_k', bound.L(+k, weights), value, true);
}
for (const [kind, {params, z0, zK, log_det}] of Object.entries(V.depth)) {
  const paths = z0.map(z => depth.travel(depth.steps(kind, params), z));
  near(`depth ${kind}`, paths.map(path => path.at(-1).slice(0, 2)), zK); near(`depth ${kind} ln|det|`, paths.map(path => path.at(-1)[2]), log_det);
}
for (const {y, z, f, slope, at, q1} of V.curves) {
  const map = mass.curve(mass.KNOTS, y);
  near('curve', z.map(x => map(x)[0]), f); near('curve slope', z.map(x => map(x)[1]), slope); near('pushed density', at.map(v => mass.pushed(map, v)), q1, true);
}
for (const {y, mass: want, one} of V.walks) {
  const got = mass.walk(mass.curve(mass.KNOTS, y), 320);
  near('mass of a bent line', got.total, want); near('mass by one preimage', got.one, one);
}
{
  const {q, dt, steps, after, kl, z, gradient} = V.fokker_planck, log_p = M.tabulate(M.targets.U1.log, start.REACH, start.N);
  const got = start.spread(Float64Array.from(q), start.rates(log_p.map(v => -v)), dt, steps);
  near('Fokker-Planck', got, after); near('Fokker-Planck KL', start.divergence(got, start.normalized(log_p.map(Math.exp))), kl); near('gradient of U1', z.map(start.slope), gradient, true);
}
for (const {c, b, t, fixed, root} of V.roots) {
  near('fixed point', t.map(v => cobweb.iterate(c, b, v, 60).at(-1)), fixed);
  if (c > -1) near('root', t.map(v => M.root(c, b, v)), root);
}
// total mass on screen: area of the image times density, for maps of the lab, folded or not
worst.masses = V.labs.map(({layers, keep, lie}) => {
  const flow = layers.map(l => l.z ? M.radial(l) : M.planar(l, keep)), mesh = new M.Mesh(100, 4.4);
  if (lie) {  // a determinant taken at the layer's output
    const {step} = flow[0];
    flow[0].step = p => { const log = p[2]; step(p); p[2] = log + Math.log(Math.abs(flow[0].det(p[0], p[1]))); };
  }
  mesh.carry(flow);
  let masses = planar.refine(mesh, flow, null);
  while (!masses.sure && !lie) masses = planar.refine(mesh, flow, masses);
  return masses;
});
console.log(JSON.stringify(worst));
