// PostgreSQL's clients at the door: how many there are, what they do, and in which workspaces.
import { $, el, setText } from './dom.js';
import { duration, integer, plural, rate } from './format.js';

const columns = [ // after that of the workspace
  ['Clients', (w) => integer(w.clients)], ['Active', (w) => integer(w.active)], ['Waiting', (w) => integer(w.waiting)],
  ['Pinned', (w) => integer(w.pinned)], ['Longest wait', (w) => (w.waiting ? duration(w.longestWaitMs) : '–')], ['Transactions', (w) => integer(w.transactions)],
];
const mostRows = 10;

let before = null; // the answer before, for rates

export function hideDoor() {
  $('door').hidden = true;
  before = null;
}

// showDoor shows what the door said last.
export function showDoor(door) {
  $('door').hidden = false;
  if (!$('door-head').firstChild) {
    $('door-head').append(el('th', { scope: 'col', role: 'columnheader' }, 'Workspace'), ...columns.map(([name]) => el('th', { scope: 'col', role: 'columnheader', class: 'number' }, name)));
  }
  const idle = door.clients - door.active - door.waiting - door.pinned;
  setText($('door-text'), `${plural(door.clients, 'client')}: ${integer(door.active)} active, ${integer(door.waiting)} waiting, ${integer(door.pinned)} pinned, ${integer(idle)} idle.${door.draining ? ' Nobody is let in any more.' : ''}`);
  $('door-text').classList.toggle('alarm', door.waiting > 0);
  const seconds = before ? (new Date(door.at) - new Date(before.at)) / 1000 : 0;
  setText($('door-rate'), seconds > 0 ? `${rate((door.transactions - before.transactions) / seconds)} transactions/s, ${plural(door.loginsRefused, 'log-in')} refused` : '');
  before = door;
  const rows = [...door.workspaces].sort((a, b) => b.waiting - a.waiting || b.active - a.active || b.clients - a.clients || (a.id < b.id ? -1 : 1));
  $('door-rows').replaceChildren(...rows.slice(0, mostRows).map((w) => el('tr', { role: 'row' },
    el('th', { scope: 'row', role: 'rowheader' }, w.id), ...columns.map(([, of]) => el('td', { role: 'cell', class: 'number' }, of(w))))));
  $('door-table').hidden = rows.length === 0;
  setText($('door-more'), rows.length > mostRows ? `and ${plural(rows.length - mostRows, 'workspace')} more` : '');
}
