// The hit ratio at each budget as a line, what the planner has tried as points on or beside
// it, and the present and the recommended budget as marks.
import { $, el, setAttribute, setText, svg } from './dom.js';
import { duration, integer, percent, rate } from './format.js';

const height = 168, top = 22, bottom = 2;

let chart = null; // the parts of the drawing
let shown = null; // the capacity that is drawn
let chosen = null; // the estimate that the pointer or the arrow keys chose

export function buildCurve() {
  const mark = (name, label) => ({ line: svg('line', { class: `mark ${name}`, y1: top - 6, y2: height - bottom }), text: svg('text', { class: `mark-label ${name}`, y: 10 }), label });
  chart = {
    width: 0,
    area: svg('path', { class: 'area' }), line: svg('path', { class: 'line' }), points: svg('g'),
    now: mark('now', 'now'), then: mark('then', 'recommended'), measured: svg('path', { class: 'measured' }), cursor: svg('circle', { class: 'ring hidden', r: 8 }),
    topLabel: el('span', { class: 'axis-top' }), lowLabel: el('span', { class: 'axis-top low' }), end: el('span'),
    start: el('span'), value: el('p', { class: 'chart-value' }), measuredKey: el('li'), otherKey: el('li'),
  };
  chart.drawing = svg('svg', { class: 'chart', height, role: 'img', tabindex: '0', focusable: 'true', 'aria-label': 'Hit ratio by budget: no figures yet' },
    svg('line', { class: 'base', x1: 0, x2: '100%', y1: height - bottom, y2: height - bottom }),
    svg('line', { class: 'grid', x1: 0, x2: '100%', y1: top, y2: top }), svg('line', { class: 'grid', x1: 0, x2: '100%', y1: (top + height - bottom) / 2, y2: (top + height - bottom) / 2 }),
    chart.area, chart.line, chart.now.line, chart.then.line, chart.now.text, chart.then.text, chart.points, chart.measured, chart.cursor);
  chart.drawing.addEventListener('pointermove', (event) => choose(nearest(event.clientX)));
  chart.drawing.addEventListener('pointerleave', () => choose(null));
  chart.drawing.addEventListener('blur', () => choose(null));
  chart.drawing.addEventListener('keydown', onKey);
  const key = (look, text) => el('li', {}, el('span', { class: `key ${look}`, 'aria-hidden': 'true' }), text);
  chart.otherKey.append(el('span', { class: 'key other', 'aria-hidden': 'true' }), el('span'));
  chart.measuredKey.append(el('span', { class: 'key measured', 'aria-hidden': 'true' }), 'measured');
  $('curve').append(chart.value, el('div', { class: 'chart-box' }, chart.topLabel, chart.lowLabel, chart.drawing),
    el('p', { class: 'axis', 'aria-hidden': 'true' }, chart.start, el('span', {}, 'slots of the workspaces'), chart.end),
    el('ul', { class: 'legend keys' }, key('line', 'by distances of reuse'), key('point', 'replayed'), chart.otherKey, chart.measuredKey));
  new ResizeObserver(() => {
    chart.width = chart.drawing.getBoundingClientRect().width;
    draw();
  }).observe(chart.drawing);
}

export function showCurve(capacity) {
  shown = capacity;
  if (chosen) chosen = tried().find((e) => e.budget === chosen.budget && e.perWorkspace === chosen.perWorkspace) ?? null;
  draw();
}

// tried are the estimates from left to right.
const tried = () => [...(shown?.estimates ?? [])].sort((a, b) => a.budget - b.budget || a.perWorkspace - b.perWorkspace);

function nearest(clientX) {
  const { x } = scales();
  const at = clientX - chart.drawing.getBoundingClientRect().left;
  return tried().filter(atCap).reduce((best, e) => (best === null || Math.abs(x(e.budget) - at) < Math.abs(x(best.budget) - at) ? e : best), null);
}

const atCap = (e) => e.perWorkspace === shown.present.perWorkspace;

function onKey(event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === 'Escape') choose(null);
  const all = tried();
  if (!step || all.length === 0) return;
  event.preventDefault();
  const is = all.indexOf(chosen ?? all.find((e) => e.budget === shown.present.budget && atCap(e)));
  choose(all[Math.min(all.length - 1, Math.max(0, is + step))]);
}

function choose(estimate) {
  chosen = estimate;
  draw();
}

// scales has the present budget and all that was tried in sight. The curve may go on to
// budgets that nobody thinks of.
function scales() {
  const budgets = [shown.present.budget, shown.recommendation.budget, ...shown.estimates.map((e) => e.budget)];
  const last = Math.max(...budgets, shown.estimates.length ? 0 : shown.curve.at(-1)?.budget ?? 0, 1) * 1.05;
  const line = clip(shown.curve, last);
  const ratios = [...line, ...shown.estimates].map((p) => p.hitRatio);
  const lowest = ratios.length ? Math.min(0.9, Math.floor(Math.min(...ratios) * 10) / 10) : 0;
  return {
    last, lowest, line,
    x: (budget) => chart.width * Math.min(1, budget / last),
    y: (ratio) => height - bottom - (height - top - bottom) * Math.max(0, (ratio - lowest) / (1 - lowest)),
  };
}

// clip is the part of the curve up to a budget.
function clip(points, last) {
  const beyond = points.findIndex((p) => p.budget > last);
  if (beyond < 1) return beyond === 0 ? [] : points;
  const before = points[beyond - 1], after = points[beyond];
  const part = (last - before.budget) / (after.budget - before.budget);
  return [...points.slice(0, beyond), { budget: last, hitRatio: before.hitRatio + part * (after.hitRatio - before.hitRatio) }];
}

function draw() {
  if (!shown || !chart) return;
  const { last, lowest, line, x, y } = scales();
  const path = line.map((p, i) => `${i ? 'L' : 'M'}${x(p.budget).toFixed(1)} ${y(p.hitRatio).toFixed(1)}`).join('');
  setAttribute(chart.line, 'd', path);
  setAttribute(chart.area, 'd', path && `${path}L${x(line.at(-1).budget).toFixed(1)} ${height - bottom}L${x(line[0].budget).toFixed(1)} ${height - bottom}Z`);
  const estimates = tried();
  const behind = [...estimates].sort((a, b) => atCap(a) - atCap(b)); // the others as rings around
  chart.points.replaceChildren(...behind.map((e) => svg('circle', { class: atCap(e) ? 'dot' : 'dot other', r: atCap(e) ? 4 : 6.5, cx: x(e.budget).toFixed(1), cy: y(e.hitRatio).toFixed(1) })));
  drawMarks(x, y);
  chart.cursor.classList.toggle('hidden', !chosen);
  if (chosen) {
    setAttribute(chart.cursor, 'cx', x(chosen.budget).toFixed(1));
    setAttribute(chart.cursor, 'cy', y(chosen.hitRatio).toFixed(1));
  }
  setText(chart.topLabel, '100 %');
  setText(chart.lowLabel, percent(lowest));
  setText(chart.start, '0');
  setText(chart.end, integer(Math.floor(last)));
  const others = estimates.find((e) => !atCap(e));
  chart.otherKey.hidden = !others;
  if (others) setText(chart.otherKey.lastChild, `with ${integer(others.perWorkspace)} per workspace`);
  setText(chart.value, chosen ? say(chosen) : sayNow());
  setAttribute(chart.drawing, 'aria-label', spoken(line));
}

function drawMarks(x, y) {
  const now = shown.present.budget, then = shown.recommendation.budget;
  drawMark(chart.now, x(now), now, then > now);
  const other = then > 0 && then !== now;
  chart.then.line.classList.toggle('hidden', !other);
  chart.then.text.classList.toggle('hidden', !other);
  if (other) drawMark(chart.then, x(then), then, then < now);
  const measured = shown.measured.budget > 0 && shown.estimates.length > 0;
  chart.measured.classList.toggle('hidden', !measured);
  chart.measuredKey.hidden = !measured;
  if (measured) setAttribute(chart.measured, 'd', `M${(x(now) - 6).toFixed(1)} ${y(shown.measured.hitRatio).toFixed(1)}h12`);
}

// drawMark has the words on the side where the other mark is not, and left of the axis' label.
function drawMark(mark, x, budget, leftwards) {
  setAttribute(mark.line, 'x1', x.toFixed(1));
  setAttribute(mark.line, 'x2', x.toFixed(1));
  setText(mark.text, `${mark.label} ${integer(budget)}`);
  const wide = mark.text.getComputedTextLength?.() ?? 0;
  const left = leftwards ? x - wide / 2 - 14 : x - wide / 2 + 14;
  setAttribute(mark.text, 'x', Math.max(0, Math.min(chart.width - wide - 44, leftwards ? Math.min(left, x - wide + 4) : Math.max(left, x - 4))).toFixed(1));
}

const sayNow = () => (shown.estimates.length === 0 ? 'No estimates yet'
  : `Estimate for now ${percent(shown.present.hitRatio)}, measured ${percent(shown.measured.hitRatio)}`);

const say = (e) => [`${integer(e.budget)} slots${atCap(e) ? '' : `, ${integer(e.perWorkspace)} per workspace`}: ${percent(e.hitRatio)} hits`,
  `p99 wait ${duration(e.waitP99Ms)}`, `${rate(e.dialsPerSecond)} dials a second`, ...(e.refused > 0 ? [`${percent(e.refused)} refused`] : [])].join(' · ');

function spoken(line) {
  const { present, recommendation } = shown;
  const points = shown.estimates.filter(atCap).map((e) => `${percent(e.hitRatio)} at ${integer(e.budget)}`);
  if (points.length === 0 && line.length > 1) points.push(...[line[0], line.at(-1)].map((p) => `${percent(p.hitRatio)} at ${integer(Math.floor(p.budget))}`));
  if (points.length === 0) return 'Hit ratio by budget: no figures yet';
  return `Hit ratio by budget: ${points.join(', ')}. There are ${integer(present.budget)} slots now${recommendation.budget && recommendation.budget !== present.budget ? `, ${integer(recommendation.budget)} are recommended` : ''}.`;
}
