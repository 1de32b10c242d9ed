// The budget that several processes share as one bar: who has what of it, and who has too
// little.
import { $, el, setAttribute, setText } from './dom.js';
import { age, clock, integer, plural } from './format.js';

// What a replica's stretch of the bar is made of, and the rest of the bar.
const ofReplica = [
  { name: 'in-use', label: 'In use', of: (r) => Math.min(r.inUse, r.open) },
  { name: 'idle', label: 'Idle', of: (r) => r.idle },
  { name: 'unopened', label: 'Not open', of: (r) => Math.max(0, r.share - r.open) },
  { name: 'control', label: 'Control sessions', of: () => 1 },
];
const ofGroup = [
  { name: 'withheld', label: 'Strangers', of: (g) => g.strangers },
  { name: 'reserve', label: 'Reserve', of: (g) => Math.max(0, Math.min(g.reserve, g.free)) },
  { name: 'free', label: 'Free', of: (g) => Math.max(0, g.free - g.reserve) },
];
const columns = [
  { name: 'Replica', key: 'replica' },
  { name: 'Share', key: 'share', number: true },
  { name: 'In use', key: 'inUse', number: true },
  { name: 'Idle', key: 'idle', number: true },
  { name: 'Waiting', key: 'waiting', number: true },
  { name: 'Age', key: 'age', number: true },
  { name: 'State', key: 'state' },
];

const numbers = new Map(); // of the legend, by part
const rest = new Map(); // the stretches behind those of the replicas, by part
const views = new Map(); // of the replicas, by id

// rank is 2 of a replica that starves: requests wait that more connections would serve, and
// another has two more than it, which the division should have moved. It is 1 if nobody has.
// Who waits at a workspace's own cap is not meant.
const rank = (r, group) => (r.waiting === 0 || r.share >= r.wants ? 0
  : group.replicas.some((other) => other.share >= r.share + 2) ? 2 : 1);

function build() {
  for (const part of [...ofReplica, ...ofGroup]) {
    const number = el('span', { class: 'legend-number' });
    numbers.set(part.name, number);
    $('shared-legend').append(el('li', {}, el('span', { class: `swatch ${part.name}`, 'aria-hidden': 'true' }), `${part.label} `, number));
  }
  for (const part of ofGroup) {
    const stretch = el('div', { class: `segment ${part.name}` });
    rest.set(part.name, stretch);
    $('shared-bar').append(stretch);
  }
  $('shared-head').append(...columns.map((column) => el('th', { scope: 'col', role: 'columnheader', 'data-column': `replica-${column.key}`, class: column.number ? 'number' : '' }, column.name)));
}

export function hideShared() {
  $('shared').hidden = true;
  for (const view of views.values()) remove(view);
  views.clear();
}

// showShared shows the group as it was read last, or null; problem says why it cannot be
// read now.
export function showShared(own, group, problem) {
  if (numbers.size === 0) build();
  $('shared').hidden = false;
  const refused = own.refusals ? ` · the server refused this process ${plural(own.refusals, 'connection')}` : '';
  setText($('shared-group'), `group ${own.group}${group ? ` · ${plural(group.replicas.length, 'replica')}` : ''}${refused}`);
  $('shared-problem').hidden = !problem;
  setText($('shared-problem'), problem ? `${problem[0].toUpperCase()}${problem.slice(1).replace(/[.\s]*$/, '')}.${group ? ` The figures below are of ${clock(new Date(group.at))}.` : ''}` : '');
  $('shared-figures').hidden = !group;
  if (!group) return;
  setText($('shared-taken'), integer(group.budget - group.free));
  setText($('shared-of'), `of ${plural(group.budget, 'connection')} taken`);
  drawBar(group);
  drawTable(group);
  drawSummary(group);
}

function drawBar(group) {
  const sums = new Map(ofGroup.map((part) => [part.name, part.of(group)]));
  for (const part of ofReplica) sums.set(part.name, group.replicas.reduce((sum, r) => sum + part.of(r), 0));
  // Right after the budget was lowered more is promised than there is.
  const whole = Math.max(1, group.budget, [...sums.values()].reduce((a, b) => a + b, 0));
  for (const part of [...ofReplica, ...ofGroup]) setText(numbers.get(part.name), integer(sums.get(part.name)));
  for (const part of ofGroup) {
    setWidth(rest.get(part.name), sums.get(part.name) / whole);
    rest.get(part.name).title = `${part.label}: ${integer(sums.get(part.name))}`;
  }

  const there = new Set(group.replicas.map((r) => r.id));
  for (const [id, view] of views) {
    if (there.has(id)) continue;
    remove(view);
    views.delete(id);
  }
  const first = rest.get(ofGroup[0].name);
  group.replicas.forEach((r, i) => {
    let view = views.get(r.id);
    if (!view) {
      views.set(r.id, view = makeView(r));
      $('shared-bar').insertBefore(view.stretch, first);
    }
    const size = ofReplica.reduce((sum, part) => sum + part.of(r), 0);
    setWidth(view.stretch, size / whole);
    for (const part of ofReplica) setWidth(view.parts.get(part.name), part.of(r) / size);
    setText(view.place, i + 1);
    setText(view.no, i + 1);
    view.stretch.classList.toggle('starving', rank(r, group) === 2);
    view.stretch.classList.toggle('wanting', rank(r, group) === 1);
    view.stretch.classList.toggle('gone', r.state === 'gone');
    view.stretch.title = `${r.label}: ${describe(r)}`;
  });
  const spoken = [...ofReplica, ...ofGroup].filter((part) => sums.get(part.name) > 0).map((part) => `${integer(sums.get(part.name))} ${part.label.toLowerCase()}`);
  const each = group.replicas.length <= 10 ? group.replicas.map((r) => ` ${r.label} has ${integer(r.share)}.`).join('') : '';
  setAttribute($('shared-bar'), 'aria-label', `Of ${plural(group.budget, 'connection')} for ${plural(group.replicas.length, 'replica')}: ${spoken.join(', ')}.${each}`);
}

function setWidth(element, share) {
  const width = `${(share * 100).toFixed(3)}%`;
  if (element.style.width !== width) element.style.width = width;
}

const describe = (r) => `${holdingOf(r)}, ${integer(r.waiting)} waiting`;

function makeView(r) {
  const view = { parts: new Map(), cells: {}, place: el('b'), no: el('span', { class: 'replica-no' }) };
  const parts = ofReplica.map((part) => {
    const piece = el('i', { class: part.name });
    view.parts.set(part.name, piece);
    return piece;
  });
  view.stretch = el('div', { class: 'stretch', 'data-stretch': r.id }, ...parts,
    el('span', { class: 'stretch-label' }, view.place, el('span', { class: 'stretch-name' }, r.label)));
  view.tr = el('tr', { role: 'row', 'data-replica': r.id });
  for (const column of columns) {
    view.cells[column.key] = el('td', { role: 'cell', class: `${column.number ? 'number ' : ''}cell-replica-${column.key}`, 'data-label': column.name });
    view.tr.append(view.cells[column.key]);
  }
  view.cells.replica.append(view.no, ' ', el('span', { class: 'replica-name', title: r.label }, r.label), ...(r.self ? [' ', el('span', { class: 'badge self' }, 'this process')] : []));
  return view;
}

function remove(view) {
  view.stretch.remove();
  view.tr.remove();
}

// drawTable has those first that starve, then those that want more; the others stand as in
// the bar.
function drawTable(group) {
  const body = $('shared-rows');
  let place = body.firstElementChild;
  for (const r of [...group.replicas].sort((a, b) => rank(b, group) - rank(a, group))) {
    const { tr, cells } = views.get(r.id);
    for (const key of ['share', 'inUse', 'idle', 'waiting']) {
      setText(cells[key], integer(r[key]));
      cells[key].classList.toggle('zero', r[key] === 0);
    }
    cells.waiting.classList.toggle('alarm', r.waiting > 0);
    setText(cells.age, age(r.ageMs));
    const [text, look] = stateOf(r, rank(r, group));
    if (cells.state.textContent !== text) cells.state.replaceChildren(look ? el('span', { class: `badge ${look}` }, text) : text);
    if (tr === place) place = place.nextElementSibling;
    else body.insertBefore(tr, place);
  }
}

// stateOf is a text, and the look of its badge if it has one.
function stateOf(r, lack) {
  if (r.state === 'gone') return ['gone', 'warn'];
  if (lack > 0) return lack === 2 ? [`starves, wants ${integer(r.wants)}`, 'bad'] : [`wants ${integer(r.wants)}`, 'warn'];
  if (r.state === 'leaving') return ['leaving', 'warn'];
  if (r.granted < r.share) return [`gives back ${integer(r.share - r.granted)}`, ''];
  return [r.state, ''];
}

// drawSummary answers what is asked at night: who has too little, and who has it.
function drawSummary(group) {
  const byLack = [...group.replicas].sort((a, b) => (b.wants - b.share) - (a.wants - a.share));
  const starving = byLack.filter((r) => rank(r, group) === 2);
  const wanting = byLack.filter((r) => rank(r, group) === 1);
  const said = [];
  if (group.free < 0) said.push(`${plural(-group.free, 'connection')} more than the budget ${group.free === -1 ? 'is' : 'are'} promised: it was lowered, and they come back as they are released.`);
  if (starving.length > 0) {
    const most = group.replicas.reduce((a, b) => (b.share > a.share ? b : a));
    if (starving.length > 1) said.push(`${integer(starving.length)} replicas starve.`);
    said.push(`${starving[0].label} ${starving.length > 1 ? 'lacks most' : 'starves'}: ${lackOf(starving[0])} ${most.label} has the most: ${holdingOf(most)}.`);
  } else if (wanting.length === 1) {
    said.push(`${wanting[0].label} wants more: ${lackOf(wanting[0])} No other replica has more than it.`);
  } else if (wanting.length > 1) {
    said.push(`${integer(wanting.length)} replicas want more, and none has much more than another: the budget is too small for them, or connections are held for too long.`);
  }
  const left = group.replicas.filter((r) => r.state === 'gone' && r.share > 0);
  if (left.length > 0) said.push(`${left.length === 1 ? left[0].label : plural(left.length, 'replica')} ${left.length === 1 ? 'is' : 'are'} gone: ${integer(left.reduce((sum, r) => sum + r.share, 0))} come free as the server ends the sessions.`);
  if (group.strangers > 0) said.push(`${plural(group.strangers, 'connection')} of the role ${group.strangers === 1 ? 'belongs' : 'belong'} to no replica.`);
  if (said.length === 0) said.push('Nobody waits for what others have.');
  setText($('shared-summary'), said.join(' '));
  $('shared-summary').classList.toggle('alarm', starving.length > 0);
}

const holdingOf = (r) => `${integer(r.share)} (${integer(r.inUse)} in use, ${integer(r.idle)} idle)`;
const lackOf = (r) => `${plural(r.waiting, 'request')} ${r.waiting === 1 ? 'waits' : 'wait'}, it has ${holdingOf(r)} and could use ${integer(r.wants)}.`;
