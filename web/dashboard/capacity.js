// Which budget the traffic needs, by the planner: the curve, the recommendation, how far the
// estimate for now is from what was measured; and how much of the budget was in use.
import { buildCurve, showCurve } from './curve.js';
import { $, el, setAttribute, setText } from './dom.js';
import { age, clock, duration, integer, percent, plural, rate } from './format.js';

const seenWords = (c) => `${plural(c.acquires, 'request')} in ${duration(c.windowMs)}${c.sampledOneIn > 1 ? `, of one in ${integer(c.sampledOneIn)} workspaces` : ''}, until ${clock(new Date(c.at))}`;
const columns = [ // after that of the rows' names
  ['Slots', (e) => integer(e.budget)], ['Per workspace', (e) => integer(e.perWorkspace)], ['Hits', (e) => percent(e.hitRatio)],
  ['p99 wait', (e) => duration(e.waitP99Ms)], ['Refused', (e) => percent(e.refused)], ['Dials/s', (e) => rate(e.dialsPerSecond)],
];
const minutes = new Map(); // the rows of the utilisation, by their length

let built = false;

function build() {
  built = true;
  buildCurve();
  $('estimate-head').append(el('td', { role: 'cell' }), ...columns.map(([name]) => el('th', { scope: 'col', role: 'columnheader', class: 'number' }, name)));
}

export function hideCapacity() {
  $('capacity').hidden = true;
}

// showCapacity shows what the planner said last, or null; problem says why it says nothing
// now, off that it is turned off.
export function showCapacity(stats, capacity, problem, off) {
  if (!built) build();
  $('capacity').hidden = false;
  showUsage(stats);
  $('capacity-off').hidden = !off;
  setText($('capacity-off'), off);
  $('capacity-problem').hidden = !problem;
  setText($('capacity-problem'), problem ? `${problem.replace(/[.\s]*$/, '')}.${capacity ? ` The figures below are of ${clock(new Date(capacity.at))}.` : ''}` : '');
  $('capacity-figures').hidden = !capacity || (capacity.estimates.length === 0 && capacity.curve.length < 2);
  $('capacity-text').hidden = !capacity;
  setText($('capacity-seen'), capacity ? seenWords(capacity) : '');
  if (!capacity) return;
  const { recommendation } = capacity;
  setText($('capacity-text'), recommendation.text);
  $('capacity-text').classList.toggle('alarm', recommendation.verdict === 'server_is_full');
  $('capacity').dataset.verdict = recommendation.verdict;
  showCurve(capacity);
  showEstimates(capacity);
}

// showEstimates has the present limits among them, and the other order of eviction.
function showEstimates(c) {
  $('estimates').hidden = c.estimates.length === 0;
  const rows = c.estimates.map((e) => row(e, e.budget === c.present.budget && e.perWorkspace === c.present.perWorkspace ? 'now'
    : e.budget === c.recommendation.budget && e.perWorkspace === c.recommendation.perWorkspace ? 'recommended' : ''));
  if (c.estimates.length) rows.push(row(c.measured, 'measured'));
  if (c.otherEviction) rows.push(row(c.otherEviction, `by ${c.otherEviction.eviction}`));
  $('estimate-rows').replaceChildren(...rows);
}

const row = (e, name) => el('tr', { role: 'row', class: name === 'now' || name === 'recommended' ? name : null },
  el('th', { scope: 'row', role: 'rowheader' }, name), ...columns.map(([, of]) => el('td', { role: 'cell', class: 'number' }, of(e))));

function showUsage(stats) {
  const { utilisation, autoBudget } = stats;
  $('usage').hidden = !utilisation;
  $('auto-budget').hidden = !autoBudget;
  if (autoBudget) setText($('auto-budget'), autoWords(stats, autoBudget));
  if (!utilisation) return;
  const { level } = utilisation;
  setText($('usage-level'), level);
  setAttribute($('usage-level'), 'class', `badge ${{ normal: 'calm', high: 'warn', critical: 'bad' }[level] ?? ''}`);
  let seen = -1;
  for (const window of utilisation.windows) {
    // Of a young process the longer windows are the same as a shorter one.
    showWindow(window, window.seenMs > 0 && window.seenMs <= seen);
    seen = window.seenMs;
  }
  setText($('usage-forecast'), forecast(stats));
  $('usage-forecast').classList.toggle('soon', Boolean(utilisation.fullAt));
}

function showWindow(window, hidden) {
  let view = minutes.get(window.overMs);
  if (!view) {
    view = { over: el('th', { scope: 'row', role: 'rowheader' }), mean: el('i'), peak: el('b'), busy: el('td', { role: 'cell', class: 'number' }), most: el('td', { role: 'cell', class: 'number' }), waiting: el('td', { role: 'cell', class: 'number' }) };
    view.bar = el('div', { class: 'usage-bar', 'aria-hidden': 'true' }, view.mean, view.peak);
    minutes.set(window.overMs, view);
    view.row = el('tr', { role: 'row', 'data-window': window.overMs / 60_000 }, view.over, el('td', { role: 'cell' }, view.bar), view.busy, view.most, view.waiting);
    $('usage-rows').append(view.row);
  }
  view.row.hidden = hidden;
  const { busy, budget } = window;
  const part = (n) => (budget > 0 ? Math.min(1, n / budget) : 0);
  const partial = window.seenMs > 0 && window.seenMs < window.overMs;
  setText(view.over, duration(partial ? Math.floor(window.seenMs / 1000) * 1000 : window.overMs));
  view.over.title = partial ? `${duration(window.overMs)}, of which there are ${duration(window.seenMs)} so far` : '';
  view.mean.style.width = `${(part(busy.mean) * 100).toFixed(1)}%`;
  view.peak.style.left = `${(part(busy.peak) * 100).toFixed(1)}%`;
  view.bar.dataset.level = part(busy.mean) >= 0.95 ? 'critical' : part(busy.mean) >= 0.8 ? 'high' : 'normal';
  const seen = window.seenMs > 0;
  setText(view.busy, seen ? `${rate(busy.mean)} of ${integer(budget)}` : '–');
  setText(view.most, seen ? integer(busy.peak) : '–');
  setText(view.waiting, seen ? integer(window.waiting.peak) : '–');
  view.waiting.classList.toggle('alarm', window.waiting.peak > 0);
}

function forecast({ utilisation, at }) {
  if (!utilisation.fullAt) return 'No trend towards the limit.';
  const full = new Date(utilisation.fullAt);
  const left = full - new Date(at);
  return `If the trend of the last hour goes on, the budget is all in use at ${clock(full).slice(0, 5)}${left > 0 ? `, in ${duration(Math.ceil(left / 60_000) * 60_000)}` : ''}.`;
}

function autoWords(stats, auto) {
  const said = [`DB_AUTO_BUDGET keeps the connections from ${integer(auto.lowest)} to ${integer(auto.highest)}: ${integer(stats.maxConnections)} now${auto.target && auto.target !== stats.maxConnections ? `, on the way to ${integer(auto.target)}` : ''}.`];
  if (auto.reason) {
    const ago = Math.max(0, new Date(stats.at) - new Date(auto.changedAt));
    said.push(`Last (${age(ago)}${ago < 1000 ? '' : ' ago'}): ${auto.reason.replace(/[.\s]*$/, '')}.`);
  }
  return said.join(' ');
}
