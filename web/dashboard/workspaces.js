// The table of the active workspaces. There may be thousands: the server gives a page
// of them, sorts and searches; of a page a few hundred are drawn. As long as all fit on
// one page, it is sorted and searched here, at once.
import { $, el, setAttribute, setText } from './dom.js';
import { age, integer, plural } from './format.js';

const drawnStep = 200;
const pageSize = 1000; // the server's bound

const columns = [
  { key: 'id', name: 'Workspace', of: (row) => row.sortable, descends: false },
  { key: 'open', name: 'Connections', of: (row) => row.openConnections },
  { key: 'inUse', name: 'In use', of: (row) => row.inUse, number: true },
  { key: 'idle', name: 'Idle', of: (row) => row.idle, number: true },
  { key: 'waiting', name: 'Waiting', of: (row) => row.waiting, number: true },
  { key: 'lastUsed', name: 'Last used', of: (row) => row.lastUsedMs, number: true, descends: false },
  { key: 'dials', name: 'Dials', of: (row) => row.dials, number: true },
  { key: 'evictions', name: 'Evictions', of: (row) => row.evictions, number: true },
  { key: 'paused', name: 'State', of: (row) => (row.paused ? 1 : 0) },
];

let rows = new Map(); // those on the page, by id
let capOfAll = 0; // of a workspace that has none of its own
let total = 0, found = 0; // how many there are, and how many the search found
let offset = 0; // of the page
let answered = ''; // the query that rows answer
let ask = () => {}; // for another page
let sort = { column: columns[0], direction: 1 };
let shownLimit = drawnStep;
let order = []; // the ids as they are drawn
const holding = { pointer: false, keyboard: false }; // each holds the order while it is on a row
const views = new Map(); // drawn rows by id
let steer = null; // the operator's buttons, or null

// buildWorkspaces draws the head. actions is null for viewers; else its methods
// evict(id), renew(id), pause(id), resume(id) and settings(id) are behind each row's buttons.
export function buildWorkspaces(actions) {
  steer = actions;
  rows = new Map();
  total = found = offset = 0;
  answered = '';
  shownLimit = drawnStep;
  views.clear();
  $('workspace-rows').replaceChildren();
  $('workspace-head').replaceChildren(...columns.map(header));
  if (steer) $('workspace-head').append(el('th', { scope: 'col', role: 'columnheader', class: 'actions' }, el('span', { class: 'visually-hidden' }, 'Control')));
  $('filter').value = '';
  render();
}

// wantedPage is the query for the page that is looked at: none as long as all fit.
export function wantedPage() {
  if (total <= pageSize) return '';
  return `?${new URLSearchParams({ search: $('filter').value.trim(), sort: (sort.direction < 0 ? '-' : '') + sort.column.key, offset, limit: pageSize })}`;
}

const waiting = () => answered !== wantedPage();

// turn goes to another page, the first one if the search or the order has changed.
function turn(to) {
  offset = to;
  shownLimit = drawnStep;
  render(true);
  if (waiting()) ask();
}

// listenToTable calls onPage when another page is wanted than the last one shown.
export function listenToTable(onPage) {
  ask = onPage;
  const body = $('workspace-rows');
  const hold = (what, on) => {
    if (holding[what] === on) return;
    holding[what] = on;
    if (!on) render();
  };
  body.addEventListener('pointerenter', () => hold('pointer', true));
  body.addEventListener('pointerleave', () => hold('pointer', false));
  // A click focuses its button too; only the keyboard's focus is a place to keep.
  body.addEventListener('focusin', (event) => hold('keyboard', event.target.matches(':focus-visible')));
  body.addEventListener('focusout', (event) => { if (!body.contains(event.relatedTarget)) hold('keyboard', false); });
  $('filter').addEventListener('input', () => turn(0));
  $('workspaces-previous').addEventListener('click', () => turn(Math.max(0, offset - pageSize)));
  $('workspaces-next').addEventListener('click', () => turn(offset + pageSize));
  $('workspaces-show').addEventListener('click', () => { shownLimit += drawnStep; render(true); });
}

function header(column) {
  const button = el('button', { type: 'button', onclick: () => sortBy(column) }, column.name, el('span', { class: 'arrow', 'aria-hidden': 'true' }));
  return el('th', { scope: 'col', role: 'columnheader', 'aria-sort': 'none', 'data-column': column.key, class: column.number ? 'number' : '' }, button);
}

// The first click shows the most of it first; ids and last use start at the low end.
function sortBy(column) {
  const first = column.descends === false ? 1 : -1;
  sort = { column, direction: sort.column === column ? -sort.direction : first };
  turn(0);
}

// showWorkspaces shows the page that the query was answered with.
export function showWorkspaces(stats, query) {
  const pools = stats.workspacePools ?? {};
  capOfAll = stats.maxConnectionsPerDB;
  total = stats.activeWorkspaceDatabases;
  found = stats.workspacesFound;
  const turned = answered !== query;
  answered = query;
  if (offset && offset >= found && !waiting()) offset = Math.max(0, Math.ceil(found / pageSize) - 1) * pageSize; // the last page has gone
  const next = new Map();
  for (const [id, stats] of Object.entries(pools)) {
    // Digits are padded, so that ws_10 comes after ws_9.
    const sortable = rows.get(id)?.sortable ?? id.replace(/\d+/g, (digits) => digits.padStart(16, '0')).toLowerCase();
    next.set(id, { ...stats, id, sortable });
  }
  // On another page now, perhaps, but still there under somebody's pointer.
  if (total > pageSize && !turned && (holding.pointer || holding.keyboard)) for (const id of order) if (!next.has(id) && rows.has(id)) next.set(id, rows.get(id));
  rows = next;
  render(turned);
  if (waiting()) ask();
}

// render draws. Unless it is told anew, the order stays as it is while somebody
// points at a row: a button must not run away from under the finger.
function render(anew = false) {
  const wanted = $('filter').value.trim().toLowerCase();
  const { of } = sort.column;
  const here = [];
  for (const row of rows.values()) if (!wanted || row.id.toLowerCase().includes(wanted)) here.push(row);
  const held = holding.pointer || holding.keyboard;
  if (!held || anew || order.length === 0) {
    here.sort((a, b) => sort.direction * compare(of(a), of(b)) || compare(a.sortable, b.sortable) || compare(a.id, b.id));
    order = here.slice(0, shownLimit).map((row) => row.id);
  }
  drawRows();
  for (const head of $('workspace-head').children) {
    const sorted = head.dataset.column === sort.column.key;
    if (head.dataset.column) setAttribute(head, 'aria-sort', sorted ? (sort.direction > 0 ? 'ascending' : 'descending') : 'none');
  }
  const all = total > pageSize && !waiting() ? found : here.length;
  setText($('workspaces-count'), wanted ? `${integer(all)} of ${plural(total, 'active one', 'active ones')}` : `${integer(total)} active`);
  const more = Math.max(0, (wanted ? all : Math.max(all, total)) - offset - order.length);
  const pages = total > pageSize && (offset > 0 || all > pageSize);
  $('workspaces-more').hidden = more === 0 && !pages;
  setText($('workspaces-more').firstElementChild, pages
    ? `${integer(offset + 1)} to ${integer(offset + order.length)}, and ${integer(more)} more: sort or filter to find the one you want.`
    : `and ${integer(more)} more: sort or filter to find the one you want.`);
  $('workspaces-show').hidden = here.length <= order.length;
  $('workspaces-previous').hidden = !pages || offset === 0;
  $('workspaces-next').hidden = !pages || offset + pageSize >= all;
  showEmpty(here.length === 0, wanted);
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

function drawRows() {
  const body = $('workspace-rows');
  const kept = new Set(order);
  for (const [id, view] of views) {
    if (kept.has(id)) continue;
    view.tr.remove();
    views.delete(id);
  }
  let place = body.firstElementChild;
  for (const id of order) {
    let view = views.get(id);
    if (!view) views.set(id, view = makeRow(id));
    update(view, rows.get(id));
    if (view.tr === place) place = place.nextElementSibling;
    else body.insertBefore(view.tr, place);
  }
}

function makeRow(id) {
  const view = { id, cells: {}, meter: '', button: null };
  view.tr = el('tr', { role: 'row', 'data-workspace': id });
  for (const column of columns) {
    const cell = el('td', { role: 'cell', class: `${column.number ? 'number ' : ''}cell-${column.key}`, 'data-label': column.name });
    view.cells[column.key] = cell;
    view.tr.append(cell);
  }
  // Where there is no room it is the middle that is cut: ids differ at their ends.
  const cut = Math.max(0, id.length - 6);
  view.cells.id.append(el('span', { class: 'id', title: id }, el('span', { class: 'id-start' }, id.slice(0, cut)), id.slice(cut)));
  if (steer) {
    view.hold = el('button', { type: 'button', class: 'small', onclick: () => (rows.get(id)?.paused ? steer.resume(id) : steer.pause(id)) }, 'Pause');
    const evict = el('button', { type: 'button', class: 'small', 'aria-label': `Evict ${id}`, onclick: () => steer.evict(id) }, 'Evict');
    const renew = el('button', { type: 'button', class: 'small', 'aria-label': `Renew ${id}`, onclick: () => steer.renew(id) }, 'Renew');
    const settings = el('button', { type: 'button', class: 'small more', 'aria-label': `Settings of ${id}`, title: 'Settings', onclick: () => steer.settings(id) }, '…');
    view.tr.append(el('td', { role: 'cell', class: 'actions' }, evict, renew, view.hold, settings));
  }
  return view;
}

const none = { openConnections: 0, inUse: 0, idle: 0, dialing: 0, closing: 0, waiting: 0, maxOpen: 0, lastUsedMs: null, dials: 0, evictions: 0, paused: false };

function update(view, row) {
  view.tr.classList.toggle('gone', !row);
  row ??= none;
  const { cells } = view;
  setText(cells.inUse, integer(row.inUse));
  setText(cells.idle, integer(row.idle));
  setText(cells.waiting, integer(row.waiting));
  setText(cells.lastUsed, row.lastUsedMs === null ? '–' : age(row.lastUsedMs));
  setText(cells.dials, integer(row.dials));
  setText(cells.evictions, integer(row.evictions));
  for (const key of ['inUse', 'idle', 'waiting', 'evictions']) cells[key].classList.toggle('zero', row[key] === 0);
  cells.waiting.classList.toggle('alarm', row.waiting > 0);
  if (cells.paused.dataset.paused !== String(row.paused)) {
    cells.paused.dataset.paused = String(row.paused);
    cells.paused.replaceChildren(...(row.paused ? [el('span', { class: 'badge' }, 'Paused')] : []));
    if (view.hold) {
      setText(view.hold, row.paused ? 'Resume' : 'Pause');
      setAttribute(view.hold, 'aria-label', `${row.paused ? 'Resume' : 'Pause'} ${view.id}`);
    }
  }
  drawMeter(view, row);
}

// The meter is the budget's bar in small: a cell for each connection that the
// workspace may have; from a dozen on, one bar.
function drawMeter(view, row) {
  const states = [['in-use', row.inUse], ['idle', row.idle], ['dialing', row.dialing], ['closing', row.closing]];
  const free = Math.max(0, row.maxOpen - row.openConnections);
  const own = row.maxOpen !== capOfAll && row.maxOpen > 0;
  const drawn = [...states.map(([, n]) => n), free, row.maxOpen, own].join();
  if (view.meter === drawn) return;
  view.meter = drawn;
  const meter = el('span', { class: 'meter', role: 'img', 'aria-label': `${row.openConnections} of ${row.maxOpen} open` });
  if (row.maxOpen <= 12) {
    for (const [state, n] of [...states, ['free', free]]) for (let i = 0; i < n; i++) meter.append(el('i', { class: state }));
  } else {
    meter.classList.add('long');
    for (const [state, n] of [...states, ['free', free]]) {
      const part = el('i', { class: state });
      part.style.width = `${100 * n / Math.max(row.maxOpen, row.openConnections)}%`;
      meter.append(part);
    }
  }
  view.cells.open.replaceChildren(meter, ...(own ? [el('span', { class: 'own-cap', title: 'its own cap' }, ` of ${integer(row.maxOpen)}`)] : []));
}

function showEmpty(empty, wanted) {
  const place = $('workspaces-empty');
  place.hidden = !empty;
  if (empty && waiting()) {
    delete place.dataset.wanted;
    place.replaceChildren('Searching…');
    return;
  }
  if (!empty || place.dataset.wanted === wanted && place.childNodes.length) return;
  place.dataset.wanted = wanted;
  if (!wanted) {
    place.replaceChildren('No workspace has a connection right now. The first request of one opens it.');
    return;
  }
  place.replaceChildren(`No active workspace has “${wanted}” in its id.`);
  // One without connections can be paused too, for a restore.
  const id = $('filter').value.trim();
  if (steer) place.append(el('p', {}, el('button', { type: 'button', onclick: () => steer.pause(id) }, `Pause ${id}`)));
}
