// What the live figures share on the page: a box of its own style, panels, handles, controls, motion.
export function el(parent, tag, attributes = {}, text = '') {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.textContent = text;
  return parent.appendChild(node);
}
export const fix = (v, digits = 2) => v.toFixed(digits).replace(/^-(0\.?0*)$/, '$1').replace('-', '−');
/** A sentence with a value in the place of {}. */
export const fill = (text, value) => text.replace('{}', value);
/** Points around a circle, or around what f makes of it. */
export const circle = f => Array.from({length: 73}, (_, i) => f(Math.cos(i * Math.PI / 36), Math.sin(i * Math.PI / 36)));
export const clamp = (v, low, high) => Math.max(low, Math.min(high, v));
const bytes = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
const ROLES = ['base', 'flow', 'target', 'jac', 'fold', 'ink', 'soft', 'paper', 'line', 'wash'];

/** One live figure: s.say its words, s.ask() for a new drawing, s.end() to take it away. */
export class Stage {
  constructor({model, el: host}, draw) {
    const {words, style, lang, options = {}, data = {}} = model.get('config');
    Object.assign(this, {say: words, options, data});
    // a shadow keeps the styles of page, theme and Jupyter out; Jupyter's shortcuts stay off
    this.shell = el(host, 'div', {class: 'nflib-live', 'data-lm-suppress-shortcuts': 'true', lang});
    const root = this.shell.attachShadow({mode: 'open'});
    el(root, 'style', {}, style);
    this.box = el(root, 'div', {class: 'box', role: 'group', 'aria-label': this.say.title});
    this.how = el(this.box, 'p', {class: 'how'});
    el(this.how, 'b', {}, this.say.title); this.how.append(this.say.how);
    this.panes = el(this.box, 'div', {class: 'panes'});
    this.panels = []; this.syncs = []; this.off = []; this.draw = draw; this.frames = 0;
    this.still = matchMedia('(prefers-reduced-motion: reduce)');
    this.shell.stage = this;
  }
  start() {  // what the page does to a figure: resize, change its theme; then the first drawing
    this.speech = el(this.box, 'p', {class: 'hidden', 'aria-live': 'polite'});
    const ask = () => { this.colours = null; this.ask(); };
    const size = new ResizeObserver(ask), theme = new MutationObserver(ask);
    size.observe(this.box);
    const themes = {attributes: true, attributeFilter: ['data-theme', 'data-jp-theme-light']};
    for (const node of [document.documentElement, document.body]) theme.observe(node, themes);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', ask);
    this.off.push(() => size.disconnect(), () => theme.disconnect(), () => scheme.removeEventListener('change', ask));
    this.paint();
    return () => this.end();
  }
  end() {
    this.off.forEach(f => f()); cancelAnimationFrame(this.asked); clearTimeout(this.resting);
    clearTimeout(this.speaking);
    this.playing = null; this.shell.remove();
  }
  ask() { this.asked ||= requestAnimationFrame(() => this.paint()); }
  paint() {
    const start = performance.now();
    this.asked = 0; this.frames++;
    if (!this.colours) this.palette();
    this.panels.forEach(p => p.fit()); this.draw(); this.panels.forEach(p => p.place()); this.syncs.forEach(f => f());
    this.spent = performance.now() - start;
  }
  /** Coarse while a hand moves, fine when it rests: true while resting. */
  get rests() { return !this.moving; }
  moved() {
    this.moving = true; clearTimeout(this.resting);
    this.resting = setTimeout(() => { this.moving = false; this.ask(); }, 160);
    this.ask();
  }
  palette() {  // dark follows the ground of the page, whoever sets it: al-folio, JupyterLab, the system
    delete this.box.dataset.dark;
    const theme = document.documentElement.dataset.theme || document.body.dataset.jpThemeLight;
    const dark = theme === 'dark' || theme === 'false' ||
      (theme !== 'light' && theme !== 'true' && matchMedia('(prefers-color-scheme: dark)').matches);
    if (dark) this.box.dataset.dark = '';
    const style = getComputedStyle(this.box), ramps = {};
    this.colours = Object.fromEntries(ROLES.map(role => [role, style.getPropertyValue('--' + role).trim()]));
    /** 256 steps from the paper through a colour to its deep (light) or bright (dark) end. */
    this.ramp = (role, to) => ramps[role + to] ??= Uint32Array.from({length: 256}, (_, i) => {
      const a = bytes(this.colours.paper), b = bytes(this.colours[role]), t = i / 255;
      const [r, g, bl] = a.map((v, j) => Math.round(to ? v + (b[j] - v) * t * to : t < 0.6 ? v + (b[j] - v) * t / 0.6
        : b[j] + ((dark ? b[j] + (255 - b[j]) * 0.75 : b[j] * 0.3) - b[j]) * (t - 0.6) / 0.4));
      return (255 << 24 | bl << 16 | g << 8 | r) >>> 0;
    });
  }
  panel(options, parent = el(this.panes, 'div', {class: 'pane'})) {
    const panel = new Panel(this, parent, options);
    this.panels.push(panel);
    return panel;
  }
  row() { return el(this.box, 'div', {class: 'row'}); }
  range(row, {name, min, max, step = 1, get, set, show = String, grow = false}) {
    const label = el(row, 'label', grow ? {class: 'grow'} : {}, name);
    const input = el(label, 'input', {type: 'range', min, max, step});
    const out = el(label, 'output', {'aria-hidden': true});
    input.oninput = () => { set(+input.value); this.moved(); };
    this.syncs.push(() => { input.value = get(); input.setAttribute('aria-valuetext', out.textContent = show(get())); });
    return input;
  }
  check(row, name, get, set) {
    const label = el(row, 'label'), input = el(label, 'input', {type: 'checkbox'});
    label.append(name);
    input.onchange = () => { set(input.checked); this.ask(); };
    this.syncs.push(() => { input.checked = get(); });
    return input;
  }
  choice(row, name, options, get, set) {
    const group = el(row, 'fieldset'), id = `r${Math.random()}`;
    el(group, 'legend', {}, name);
    const inputs = Object.entries(options).map(([value, text]) => {
      const label = el(group, 'label'), input = el(label, 'input', {type: 'radio', name: id, value});
      el(label, 'span', {}, text);
      input.onchange = () => { set(value); this.ask(); };
      return input;
    });
    this.syncs.push(() => inputs.forEach(input => { input.checked = input.value === get(); }));
  }
  button(row, name, f) {
    const node = el(row, 'button', {type: 'button'}, name);
    node.onclick = () => { f(); this.ask(); };
    return node;
  }
  /** Play and pause; where the reader wants no motion, one jump a press. `step` returns false at the end. */
  player(row, step, jump = step) {
    const node = el(row, 'button', {type: 'button'});
    const loop = () => {
      if (this.playing !== loop) return;
      if (step() === false) this.playing = null;
      this.ask(); requestAnimationFrame(loop);
    };
    node.onclick = () => {
      if (this.still.matches) jump();
      else if ((this.playing = this.playing ? null : loop)) loop();
      this.ask();
    };
    this.syncs.push(() => {
      node.textContent = this.still.matches ? this.say.step : this.playing ? this.say.pause : this.say.play;
    });
  }
  readouts(names) {
    const list = el(this.box, 'dl'), nodes = {};
    for (const [key, name] of Object.entries(names)) {
      const div = el(list, 'div');
      el(div, 'dt', {}, name); nodes[key] = el(div, 'dd', {'data-key': key}, '–');
    }
    return (key, text, alarm = false) => { nodes[key].textContent = text; nodes[key].classList.toggle('alarm', alarm); };
  }
  speak(text) {  // after the hand has come to rest, so that a screen reader is not flooded
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => { if (this.speech.textContent !== text) this.speech.textContent = text; }, 500);
  }
}

/** A window of the plane on a canvas, with handles of HTML over it. */
export class Panel {
  constructor(stage, parent, {x = [-4, 4], y = x, ratio = 1, label, head}) {
    Object.assign(this, {stage, x, y, handles: []});
    if (head !== undefined) this.head = el(parent, 'span', {class: 'head'}, head);
    this.box = el(parent, 'div', {class: ratio === 1 ? 'panel square' : 'panel'});
    this.box.style.aspectRatio = ratio;
    this.canvas = el(this.box, 'canvas', {role: 'img', 'aria-label': label});
    this.ctx = this.canvas.getContext('2d');
    this.box.onclick = e => {  // a way without dragging: a tap brings the chosen handle here
      const chosen = this.handles.find(h => h.classList.contains('chosen'));
      if (chosen && e.target === this.canvas) { chosen.go(this.at(e)); chosen.focus({preventScroll: true}); }
    };
  }
  fit() {  // device pixels, at most twice as many as CSS pixels
    this.w = this.box.clientWidth || 300; this.h = this.box.clientHeight || 300;
    const dpr = Math.min(window.devicePixelRatio || 1, 2), W = Math.round(this.w * dpr), H = Math.round(this.h * dpr);
    if (this.canvas.width !== W || this.canvas.height !== H) { this.canvas.width = W; this.canvas.height = H; }
    this.ctx.setTransform(dpr, 0, 0, dpr, 0, 0); this.ctx.clearRect(0, 0, this.w, this.h);
    this.ctx.font = '13px system-ui, "Noto Sans", "Noto Sans CJK KR", sans-serif';
  }
  px(x) { return (x - this.x[0]) / (this.x[1] - this.x[0]) * this.w; }
  py(y) { return (this.y[1] - y) / (this.y[1] - this.y[0]) * this.h; }
  at(event) {
    const r = this.box.getBoundingClientRect();
    return [this.x[0] + (event.clientX - r.left) / r.width * (this.x[1] - this.x[0]),
      this.y[1] - (event.clientY - r.top) / r.height * (this.y[1] - this.y[0])];
  }
  /** n x n values, row 0 on top, as smooth colour; sqrt(q / (q + half)) never saturates. */
  field(values, n, half, lut, mark, markLut) {
    if (this.n !== n) { this.n = n; this.off = new OffscreenCanvas(n, n); this.image = new ImageData(n, n); }
    const out = new Uint32Array(this.image.data.buffer);
    for (let i = 0; i < out.length; i++) {
      const v = 255 * Math.sqrt(values[i] / (values[i] + half)) | 0;
      out[i] = (mark && mark[i] > 0.25 * values[i] ? markLut : lut)[v];
    }
    this.off.getContext('2d').putImageData(this.image, 0, 0);
    this.ctx.imageSmoothingQuality = 'high';
    this.ctx.drawImage(this.off, 0, 0, this.w, this.h);
  }
  path(points, colour, {width = 1.5, alpha = 1, dash = [], fill = false, close = false} = {}) {
    const c = this.ctx;
    c.globalAlpha = alpha; c.strokeStyle = c.fillStyle = colour; c.lineWidth = width; c.lineJoin = 'round';
    c.setLineDash(dash); c.beginPath();
    points.forEach(([x, y], i) => c[i ? 'lineTo' : 'moveTo'](this.px(x), this.py(y)));
    if (close || fill) c.closePath();
    if (fill) c.fill(); else c.stroke();
    c.globalAlpha = 1; c.setLineDash([]);
  }
  dot([x, y], colour, r = 4, ring = this.stage.colours.paper) {
    const c = this.ctx;
    c.beginPath(); c.arc(this.px(x), this.py(y), r, 0, 7); c.fillStyle = colour; c.fill();
    if (ring) { c.lineWidth = 1.5; c.strokeStyle = ring; c.stroke(); }
  }
  arrow([x, y], [dx, dy], colour) {
    const tip = [x + dx, y + dy], a = Math.atan2(dy, dx), s = (this.x[1] - this.x[0]) * 0.03;
    for (const [c, width] of [[this.stage.colours.paper, 5.5], [colour, 2.5]]) this.path([[x, y], tip], c, {width});
    const barb = t => [tip[0] - s * Math.cos(a + t), tip[1] - s * Math.sin(a + t)];
    this.path([barb(-0.45), tip, barb(0.45)], colour, {width: 2.5});
  }
  text(text, x, y, {colour = this.stage.colours.ink, align = 'left', dx = 0, dy = 0} = {}) {  // legible on any ground
    const c = this.ctx, at = [this.px(x) + dx, this.py(y) + dy];
    c.textAlign = align; c.lineWidth = 3.5; c.lineJoin = 'round'; c.strokeStyle = this.stage.colours.paper;
    c.fillStyle = colour;
    c.strokeText(text, ...at); c.fillText(text, ...at);
  }
  block(x0, x1, y0, y1, colour, style = {}) {
    this.path([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], colour, {fill: true, close: true, ...style});
  }
  /** Pairs of points as one stroke. */
  segments(pairs, colour, {width = 1.5, alpha = 1, dash = []} = {}) {
    const c = this.ctx;
    c.globalAlpha = alpha; c.strokeStyle = colour; c.lineWidth = width; c.setLineDash(dash); c.beginPath();
    for (const [a, b] of pairs) { c.moveTo(this.px(a[0]), this.py(a[1])); c.lineTo(this.px(b[0]), this.py(b[1])); }
    c.stroke(); c.globalAlpha = 1; c.setLineDash([]);
  }
  /** Where values at n x n midpoints, from below, cross the levels: marching squares, once for the values. */
  contours(values, n, levels, colour, style) {
    if (this.traced?.values !== values) this.traced = {values, pairs: levels.flatMap(level => this.trace(values, n, level))};
    this.segments(this.traced.pairs, colour, style);
  }
  trace(values, n, level) {
    const on = ([low, high], i) => low + (i + 0.5) / n * (high - low), pairs = [];
    for (let j = 0; j + 1 < n; j++) for (let i = 0; i + 1 < n; i++) {
      const p = [[i, j], [i + 1, j], [i + 1, j + 1], [i, j + 1]], v = p.map(([a, b]) => values[b * n + a] - level), cut = [];
      for (let e = 0, f = 1; e < 4; f = (++e + 1) % 4) {
        const t = v[e] / (v[e] - v[f]);
        if ((v[e] < 0) !== (v[f] < 0)) cut.push([0, 1].map(c => on(c ? this.y : this.x, p[e][c] + t * (p[f][c] - p[e][c]))));
      }
      for (let k = 0; k + 1 < cut.length; k += 2) pairs.push([cut[k], cut[k + 1]]);
    }
    return pairs;
  }
  /** A point that mouse, finger, pen and arrow keys move; axis 'x' or 'y' holds it on a line. */
  handle({name, letter = '', role, get, set, text, axis = '', small = false, shown = () => true}) {
    const kind = small ? 'handle small' : 'handle';
    const node = el(this.box, 'div', {class: kind, role: 'slider', tabindex: 0, 'aria-label': name}, letter);
    const [x0, x1] = this.x, [y0, y1] = this.y, [low, high] = axis === 'y' ? this.y : this.x;
    node.setAttribute('aria-valuemin', low); node.setAttribute('aria-valuemax', high);
    if (axis) node.setAttribute('aria-orientation', axis === 'y' ? 'vertical' : 'horizontal');
    node.style.setProperty('--c', `var(--${role})`);
    const clip = (v, a, b) => clamp(v, a + (b - a) * 0.02, b - (b - a) * 0.02);
    node.go = p => { set([clip(p[0], x0, x1), clip(p[1], y0, y1)]); this.stage.moved(); };
    let grip = null;
    node.onfocus = () => { this.handles.forEach(h => h.classList.toggle('chosen', h === node)); };
    node.onpointerdown = e => {
      if (e.button) return;
      e.preventDefault(); node.setPointerCapture(e.pointerId); node.focus({preventScroll: true});
      node.classList.add('on');
      const p = this.at(e), q = get();
      grip = [q[0] - p[0], q[1] - p[1]];
    };
    node.onpointermove = e => { if (grip) { const p = this.at(e); node.go([p[0] + grip[0], p[1] + grip[1]]); } };
    const drop = () => { grip = null; node.classList.remove('on'); };
    node.onpointerup = node.onpointercancel = node.onlostpointercapture = drop;
    node.onkeydown = e => {
      const d = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[e.key];
      if (!d || e.ctrlKey || e.metaKey || e.altKey) return;
      e.preventDefault();
      const q = get(), k = e.shiftKey ? 16 : 80;
      node.go([q[0] + d[0] * (x1 - x0) / k, q[1] + d[1] * (y1 - y0) / k]);
    };
    node.place = () => {
      const [x, y] = get();
      node.hidden = !shown(); node.style.left = this.px(x) + 'px'; node.style.top = this.py(y) + 'px';
      node.setAttribute('aria-valuenow', (axis === 'y' ? y : x).toFixed(2));
      node.setAttribute('aria-valuetext', text ? text() : `${x.toFixed(2)}, ${y.toFixed(2)}`);
    };
    this.handles.push(node);
    return node;
  }
  place() { this.handles.forEach(h => h.place()); }
  label(text) { this.canvas.setAttribute('aria-label', text); }
}

/** Fill the places that the page holds for these figures, and hide the pictures that stood in. */
export function mount(figures, style) {
  for (const place of document.querySelectorAll('[data-live]:not([data-on])')) {
    const render = figures[place.dataset.live];
    if (!render) continue;
    place.dataset.on = '';
    try {
      const config = {style, ...JSON.parse(place.textContent)};
      render({model: {get: () => config}, el: place});
    } catch (error) {  // a browser that cannot: the picture stays
      place.replaceChildren(); console.error(error);
      continue;
    }
    if ('beside' in place.dataset) continue;
    const print = matchMedia('print'), pictures = place.closest('figure')?.querySelectorAll('img, picture') ?? [];
    const show = () => pictures.forEach(({style}) => {
      if (print.matches) style.removeProperty('display'); else style.display = 'none';
    });
    print.addEventListener('change', show); show();
  }
}
