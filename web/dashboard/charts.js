// The last five minutes as four small line charts with one common time axis.
import { $, el, setAttribute, setText, svg } from './dom.js';
import { clock, duration, percent, rate } from './format.js';

const longestMs = 5 * 60_000, shortestMs = 60_000;
// Two polls further apart than this leave a gap: nobody looked.
const gapMs = 16_000;
const height = 72, top = 6, bottom = 2;

const kinds = [
  { key: 'requests', name: 'Requests', unit: 'per second', format: rate, floor: 10 },
  { key: 'hitRatio', name: 'Hit ratio', unit: 'served at once', format: percent, fixedTop: 1 },
  { key: 'waitP99', name: 'Wait, p99', unit: 'for a connection', format: duration, floor: 1 },
  { key: 'evictions', name: 'Evictions', unit: 'per second', format: rate, floor: 1 },
];

let points = []; // {at: ms, requests, hitRatio, waitP99, evictions}; values may be null
let looking = null; // the moment that the pointer or the arrow keys chose
let charts = [];

export function clearCharts() {
  points = [];
  looking = null;
  draw();
}

// addPoint takes the growth between two polls, or null where it is unknown.
export function addPoint(at, growth) {
  points.push({ at, requests: null, hitRatio: null, waitP99: null, evictions: null, ...growth });
  const oldest = at - longestMs - gapMs;
  if (points[0].at < oldest) points = points.filter((point) => point.at >= oldest);
  draw();
}

export function buildCharts() {
  charts = kinds.map((kind) => {
    const value = el('span', { class: 'big' }, '–');
    const unit = el('span', { class: 'quiet' }, kind.unit);
    const topLabel = el('span', { class: 'axis-top' });
    const axisStart = el('span');
    const area = svg('path', { class: 'area' });
    const line = svg('path', { class: 'line' });
    const cursor = svg('line', { class: 'cursor', y1: 0, y2: height });
    const dot = svg('circle', { class: 'dot', r: 3.5 });
    const drawing = svg('svg', { class: 'chart', height, role: 'img', tabindex: '0', focusable: 'true', 'aria-label': kind.name },
      svg('line', { class: 'base', x1: 0, x2: '100%', y1: height - bottom, y2: height - bottom }),
      svg('line', { class: 'grid', x1: 0, x2: '100%', y1: top, y2: top }), area, line, cursor, dot);
    const chart = { kind, value, unit, topLabel, axisStart, area, line, cursor, dot, drawing, width: 0 };
    drawing.addEventListener('pointermove', (event) => lookAt(momentAt(chart, event)));
    drawing.addEventListener('pointerleave', () => lookAt(null));
    drawing.addEventListener('blur', () => lookAt(null));
    drawing.addEventListener('keydown', (event) => onKey(event));
    $('charts').append(el('section', { class: 'card chart-card', 'data-chart': kind.key, 'aria-label': kind.name },
      el('h2', {}, kind.name), el('p', { class: 'chart-value' }, value, ' ', unit),
      el('div', { class: 'chart-box' }, topLabel, drawing),
      el('p', { class: 'axis', 'aria-hidden': 'true' }, axisStart, el('span', {}, 'now'))));
    return chart;
  });
  const resized = new ResizeObserver(() => {
    for (const chart of charts) chart.width = chart.drawing.getBoundingClientRect().width;
    draw();
  });
  for (const chart of charts) resized.observe(chart.drawing);
}

// The axis grows with what is known, from one minute to five.
const spanMs = () => (points.length ? Math.min(longestMs, Math.max(shortestMs, end() - points[0].at)) : longestMs);
const end = () => points.at(-1)?.at ?? Date.now();

function momentAt(chart, event) {
  const box = chart.drawing.getBoundingClientRect();
  return end() - spanMs() * (1 - (event.clientX - box.left) / box.width);
}

function onKey(event) {
  const step = { ArrowLeft: -5000, ArrowRight: 5000 }[event.key];
  if (event.key === 'Escape') lookAt(null);
  if (!step) return;
  event.preventDefault();
  lookAt(Math.min(end(), Math.max(end() - spanMs(), (looking ?? end()) + step)));
}

function lookAt(moment) {
  looking = moment;
  draw();
}

function draw() {
  const last = points.at(-1);
  let shown = last;
  if (looking !== null) {
    for (const point of points) if (Math.abs(point.at - looking) < Math.abs(shown.at - looking)) shown = point;
  }
  for (const chart of charts) drawOne(chart, shown, looking !== null && shown);
}

function drawOne(chart, shown, chosen) {
  const { kind, width } = chart;
  const values = points.map((point) => point[kind.key]).filter((value) => value !== null);
  const highest = kind.fixedTop ?? niceTop(Math.max(kind.floor, ...values));
  const span = spanMs();
  const x = (at) => width * Math.max(0, 1 - (end() - at) / span);
  const y = (value) => height - bottom - (height - top - bottom) * Math.min(1, value / highest);

  let line = '', area = '', from = null, before = null;
  const closeArea = () => { if (from) area += `L${before} ${height - bottom}L${from} ${height - bottom}Z`; };
  let lastAt = -Infinity;
  for (const point of points) {
    const value = point[kind.key];
    if (value === null) continue;
    const px = x(point.at).toFixed(1), py = y(value).toFixed(1);
    const starts = point.at - lastAt > gapMs;
    if (starts) {
      closeArea();
      from = px;
    }
    line += `${starts ? 'M' : 'L'}${px} ${py}`;
    area += `${starts ? 'M' : 'L'}${px} ${py}`;
    before = px;
    lastAt = point.at;
  }
  closeArea();
  setAttribute(chart.line, 'd', line);
  setAttribute(chart.area, 'd', area);

  const value = shown ? shown[kind.key] : null;
  setText(chart.value, kind.format(value));
  setText(chart.unit, chosen ? `at ${clock(new Date(shown.at))}` : kind.unit);
  setText(chart.axisStart, `${duration(Math.round(span / 1000) * 1000)} ago`);
  setText(chart.topLabel, values.length ? kind.format(highest) : '');
  const visible = shown && value !== null;
  chart.dot.classList.toggle('hidden', !visible);
  chart.cursor.classList.toggle('hidden', !chosen);
  if (visible) {
    setAttribute(chart.dot, 'cx', x(shown.at).toFixed(1));
    setAttribute(chart.dot, 'cy', y(value).toFixed(1));
  }
  if (chosen) {
    setAttribute(chart.cursor, 'x1', x(shown.at).toFixed(1));
    setAttribute(chart.cursor, 'x2', x(shown.at).toFixed(1));
  }
  setAttribute(chart.drawing, 'aria-label', values.length
    ? `${kind.name} ${kind.unit}: now ${kind.format(points.at(-1)[kind.key])}, between ${kind.format(Math.min(...values))} and ${kind.format(Math.max(...values))} in this time`
    : `${kind.name}: no figures yet`);
}

// niceTop is the next of 1, 2, 2.5, 5, 10, ... so that the scale rarely moves.
function niceTop(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 6, 8, 10].find((step) => step * power >= value) * power;
}
