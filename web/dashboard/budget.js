// The budget as one bar: each connection that the server may hold is in exactly
// one of its parts. A process that shares its budget has a part of it at the moment.
import { $, el, setAttribute, setText } from './dom.js';
import { age, duration, integer, percent, reasonWords } from './format.js';

const parts = [
  { name: 'in-use', label: 'In use', of: (s) => s.totalInUseConnections },
  { name: 'idle', label: 'Idle', of: (s) => s.totalIdleConnections },
  { name: 'dialing', label: 'Dialing', of: (s) => s.totalDialingConnections },
  { name: 'closing', label: 'Closing', of: (s) => s.totalClosingConnections },
  // What the server refuses at the moment although the budget has it.
  { name: 'withheld', label: 'Withheld', of: withheld, onlyIfAny: true },
  { name: 'free', label: 'Free', of: (s) => Math.max(0, budgetOf(s) - s.totalOpenConnections - withheld(s)) },
];

// budgetOf is how many connections this process may have.
export const budgetOf = (s) => s.shared?.limit ?? s.maxConnections;

function withheld(s) {
  const free = Math.max(0, budgetOf(s) - s.totalOpenConnections);
  return Math.min(free, Math.max(0, s.workspaceBudget - s.effectiveWorkspaceBudget));
}

const segments = new Map();

function build() {
  for (const part of parts) {
    const count = el('span', { class: 'segment-count' });
    const segment = el('div', { class: `segment ${part.name}` }, count);
    const number = el('span', { class: 'legend-number' });
    const entry = el('li', {}, el('span', { class: `swatch ${part.name}`, 'aria-hidden': 'true' }), `${part.label} `, number);
    $('budget-bar').append(segment);
    $('budget-legend').append(entry);
    segments.set(part.name, { segment, count, number, entry });
  }
}

export function showBudget(stats) {
  if (segments.size === 0) build();
  // Right after the limit was lowered more may be open than it allows.
  const budget = budgetOf(stats);
  const whole = Math.max(budget, stats.totalOpenConnections, 1);
  const spoken = [];
  for (const part of parts) {
    const { segment, count, number, entry } = segments.get(part.name);
    const n = part.of(stats);
    const share = n / whole;
    const width = `${(share * 100).toFixed(3)}%`;
    if (segment.style.width !== width) segment.style.width = width;
    setText(count, share >= 0.035 ? integer(n) : '');
    setText(number, integer(n));
    segment.title = `${part.label}: ${integer(n)}`;
    entry.hidden = Boolean(part.onlyIfAny) && n === 0;
    if (!entry.hidden) spoken.push(`${integer(n)} ${part.label.toLowerCase()}`);
  }
  setAttribute($('budget-bar'), 'aria-label', `Of ${integer(budget)} connections: ${spoken.join(', ')}`);
  setText($('budget-open'), integer(stats.totalOpenConnections));
  setText($('budget-title'), stats.shared ? 'This process’s part of the budget' : 'Connection budget');
  setText($('budget-of'), `of ${integer(budget)} connections open`);
  setText($('budget-share'), `at most ${integer(stats.maxConnectionsPerDB)} per workspace`);
  showWaiters(stats);
  showFacts(stats);
}

function showWaiters(stats) {
  const waiting = stats.totalWaiting;
  setText($('waiters-count'), integer(waiting));
  setText($('waiters-longest'), waiting ? `longest ${duration(stats.longestWaitMs)}` : 'nobody');
  $('waiters').dataset.state = waiting === 0 ? 'calm' : stats.longestWaitMs > 1000 ? 'late' : 'busy';
}

const facts = [
  ['Active workspaces', (s) => integer(s.activeWorkspaceDatabases)],
  ['System database', (s) => `${integer(s.systemConnections.openConnections)} of ${integer(s.systemConnections.maxOpen)} open`],
  ['Batch work', (s) => (s.batchWork.openConnections + s.batchWork.waiting
    ? `${integer(s.batchWork.openConnections)} of ${integer(s.batchWork.maxOpen)} open, ${integer(s.batchWork.waiting)} waiting` : '–')],
  ['Longest lease', (s) => (s.longestLease ? `${age(s.longestLease.ageMs)} · ${s.longestLease.system ? 'system database' : s.longestLease.workspaceId}` : '–')],
  ['Hit ratio since start', (s) => (s.counters.acquires ? percent(s.hitRatio) : '–')],
  ['Refused at the limit', (s) => integer(s.counters.limitErrors)],
  ['Dials', (s) => (s.counters.dialFailures
    ? `${integer(s.counters.dials)}, ${integer(s.counters.dialFailures)} failed` : integer(s.counters.dials))],
  ['Supervisor busy', (s) => percent(s.supervisorSaturation)],
].map(([name, of]) => ({ name, of, place: null }));

function showFacts(stats) {
  for (const fact of facts) {
    if (!fact.place) {
      fact.place = el('dd');
      $('facts').append(el('div', {}, el('dt', {}, fact.name), fact.place));
    }
    const text = fact.of(stats);
    setText(fact.place, text);
    fact.place.title = text;
  }
  const closed = Object.entries(stats.evictionsByReason ?? {}).filter(([, n]) => n > 0)
    .map(([reason, n]) => `${reasonWords(reason)}: ${integer(n)}`);
  $('facts').title = closed.length ? `Closed since start, by reason. ${closed.join(', ')}` : '';
}
