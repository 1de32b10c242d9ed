// The event feed. Events may come by the hundred each second: they are gathered
// and drawn a few times a second, the newest first, and only so many are kept.
import { $, el, setText } from './dom.js';
import { clock, duration, integer, plural, reasonWords } from './format.js';

const keptRows = 200;
const keptEvents = 2000;
const drawEveryMs = 250;

const groups = {
  all: () => true,
  evictions: (event) => event.kind === 'evicted',
  dials: (event) => event.kind === 'dialed' || event.kind === 'dial_failed',
  trouble: (event) => ['dial_failed', 'limit_reached', 'draining', 'lost'].includes(event.kind) || (event.kind === 'utilisation' && event.level !== 'normal'),
  operators: (event) => ['paused', 'resumed', 'renewed', 'draining'].includes(event.kind) || (event.kind === 'limits_set' && !event.why) || ['evict_asked', 'pause_asked', 'renewed'].includes(event.reason),
};

let events = []; // the newest last
let fresh = []; // arrived since the last drawing
let paused = false;
let missed = 0; // arrived while paused
let stateText = '';
let recent = []; // when the last ones arrived, to tell how many per second

export function addEvent(event) {
  if (event.lost) take({ kind: 'lost', at: event.at, lost: event.lost });
  take(event);
}

function take(event) {
  events.push(event);
  if (events.length > 2 * keptEvents) events = events.slice(-keptEvents);
  recent.push(performance.now());
  if (paused) missed++;
  else fresh.push(event);
}

export function listenToFeed() {
  $('feed-kinds').addEventListener('change', redraw);
  $('feed-clear').addEventListener('click', () => { clearFeed(); });
  $('feed-pause').addEventListener('click', () => {
    paused = !paused;
    missed = 0;
    $('feed-pause').setAttribute('aria-pressed', String(paused));
    setText($('feed-pause'), paused ? 'Continue' : 'Pause');
    if (!paused) redraw();
  });
  setInterval(draw, drawEveryMs);
}

export function clearFeed() {
  events = [];
  fresh = [];
  missed = 0;
  redraw();
}

export function resetFeed() {
  if (paused) $('feed-pause').click();
  $('feed-kinds').value = 'all';
  recent = [];
  clearFeed();
}

// feedState is what the connection to the events is like.
export function feedState(text) {
  stateText = text;
}

function redraw() {
  $('feed-list').replaceChildren();
  fresh = events.slice();
  draw();
}

function draw() {
  const now = performance.now();
  recent = recent.filter((at) => now - at < 3000);
  const perSecond = Math.round(recent.length / 3);
  setText($('feed-state'), stateText || (paused && missed ? `paused, ${plural(missed, 'new one')}` : paused ? 'paused' : perSecond ? `${integer(perSecond)} per second` : 'listening'));
  if (paused) return;
  const list = $('feed-list');
  const wanted = groups[$('feed-kinds').value];
  const lines = fresh.filter(wanted).slice(-keptRows).reverse().map(line);
  fresh = [];
  if (lines.length) {
    // Who has scrolled down to read keeps the place.
    const from = list.scrollTop ? list.scrollHeight : 0;
    list.prepend(...lines);
    while (list.childElementCount > keptRows) list.lastElementChild.remove();
    if (from) list.scrollTop += list.scrollHeight - from;
  }
  $('feed-empty').hidden = list.childElementCount > 0;
}

function line(event) {
  const { label, tone, text } = tell(event);
  const at = new Date(event.at);
  return el('li', { 'data-kind': event.kind, 'data-workspace': event.workspaceId },
    el('time', { datetime: event.at }, Number.isNaN(at.getTime()) ? '' : clock(at)),
    el('span', { class: `kind ${tone}` }, label), el('span', { class: 'what' }, ...text));
}

// levelWords says how near the workspaces' budget is to its end.
export const levelWords = (level) => ({
  high: 'Of the workspaces’ budget 80 % or more are busy', critical: 'Of the workspaces’ budget 95 % or more are busy',
}[level] ?? 'Of the workspaces’ budget enough is free again');

const strong = (text) => el('b', {}, text);

function tell(event) {
  const who = strong(event.system ? 'system database' : event.workspaceId ?? '');
  const idle = event.idleForMs ? ` after ${duration(event.idleForMs)} idle` : '';
  const reason = event.reason ? `, ${reasonWords(event.reason)}` : '';
  switch (event.kind) {
    case 'dialed': return { label: 'dialed', tone: 'calm', text: [who, event.tookMs ? ` in ${duration(event.tookMs)}` : ''] };
    case 'dial_failed': return { label: 'failed', tone: 'bad', text: [who, ` could not be dialed: ${event.error ?? ''}`] };
    case 'evicted': return event.forWorkspaceId
      ? { label: 'evicted', tone: 'warm', text: [who, `${idle}, for `, strong(event.forWorkspaceId)] }
      : { label: 'evicted', tone: 'warm', text: [who, idle, reason] };
    case 'closed': return { label: 'closed', tone: 'calm', text: [who, idle, reason] };
    case 'limit_reached': return { label: 'refused', tone: 'bad', text: [who, `: ${event.error ?? 'the connection limit is reached'}`] };
    case 'lease_overdue': return { label: 'overdue', tone: 'bad', text: [who, ` has held a connection for ${duration(event.heldForMs)}`] };
    case 'paused': return { label: 'paused', tone: 'act', text: [who] };
    case 'renewed': return { label: 'renewed', tone: 'act', text: [event.system || event.workspaceId ? who : 'all workspaces'] };
    case 'resumed': return { label: 'resumed', tone: 'act', text: [who] };
    case 'limits_set': return { label: 'limits', tone: 'act', text: [`${event.maxConnections ?? '?'} connections, ${event.maxConnectionsPerDB ?? '?'} per workspace${event.why ? `: ${event.why}` : ''}`] };
    case 'share_set': return { label: 'share', tone: 'calm', text: [`This process may hold ${plural(event.maxConnections ?? 0, 'connection')}`] };
    case 'utilisation': return { label: event.level ?? 'level', tone: { high: 'act', critical: 'bad' }[event.level] ?? 'calm', text: [levelWords(event.level)] };
    case 'draining': return { label: 'draining', tone: 'bad', text: ['No connection is lent any more'] };
    case 'lost': return { label: 'lost', tone: 'bad', text: [`${plural(event.lost, 'event')} came too fast to be told`] };
    default: return { label: String(event.kind), tone: 'calm', text: [who, reason] };
  }
}
