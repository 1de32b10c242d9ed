// What an operator can do. Everything is asked for once more in a dialog, and
// the server decides whether it happens.
import { file, post } from './api.js';
import { openDirectory } from './directory.js';
import { $, el, setText } from './dom.js';
import { plural } from './format.js';
import { toast } from './toasts.js';

let limitsNow = () => ({});
let refused = () => {}; // told about a token that is not taken any more

// buildControls draws the header's buttons and gives the rows' actions. limits
// returns the current ones; onRefusal handles 401.
export function buildControls({ limits, onRefusal }) {
  limitsNow = limits;
  refused = onRefusal;
  $('operator-tools').replaceChildren(
    el('button', { type: 'button', id: 'directory', onclick: () => openDirectory(refused) }, 'All workspaces…'),
    el('button', { type: 'button', id: 'limits', onclick: askLimits }, 'Limits…'),
    el('button', { type: 'button', id: 'renew-all', onclick: askRenewAll }, 'Renew all…'),
    el('button', { type: 'button', id: 'dump', onclick: askDump }, 'Dump…'),
    el('button', { type: 'button', id: 'drain', class: 'danger', onclick: askDrain }, 'Drain…'));
  return { evict: askEvict, renew: askRenew, pause: askPause, resume: askResume, settings: askSettings };
}

export function removeControls() {
  $('operator-tools').replaceChildren();
  if ($('dialog').open) $('dialog').close();
}

function askEvict(id) {
  ask({
    title: `Evict ${id}?`,
    text: 'Its idle connections are closed and their slots come free. Leases that are in use are left alone; the next request dials again.',
    yes: 'Evict',
    act: () => post('admin.evictWorkspace', { workspaceId: id }),
    done: (answer) => (answer.closed ? `${id}: ${plural(answer.closed, 'idle connection')} closed.` : `${id} had no idle connection.`),
  });
}

function askRenew(id) {
  ask({
    title: `Renew ${id}?`,
    text: 'Its idle connections are closed now and its leases’ connections when they come home, while requests go on over new ones: after a migration, a change of the password or a failover.',
    yes: 'Renew',
    act: () => post('admin.renewWorkspace', { workspaceId: id }),
    done: (answer) => `${id} is renewed; ${plural(answer.closed, 'idle connection')} closed.`,
  });
}

function askRenewAll() {
  ask({
    title: 'Renew all connections?',
    text: 'All idle connections, of every workspace and of the system database, are closed now, the others when they come home, while requests go on over new ones. For a while each workspace’s first request dials again.',
    yes: 'Renew all',
    act: () => post('admin.renewAll', {}),
    done: (answer) => `All are renewed; ${plural(answer.closed, 'idle connection')} closed.`,
  });
}

function askPause(id) {
  ask({
    title: `Pause ${id}?`,
    text: 'New requests of this workspace wait, its leases come home, then all of its connections are closed, until it is resumed: for a restore or a migration.',
    yes: 'Pause',
    act: () => post('admin.pauseWorkspace', { workspaceId: id, waitMs: 3000 }),
    done: (answer) => (answer.done === false
      ? `${id} is paused; leases are still out, their connections close as they come home.`
      : `${id} is paused; ${plural(answer.closed ?? 0, 'connection')} closed.`),
  });
}

function askResume(id) {
  ask({
    title: `Resume ${id}?`,
    text: 'Its waiting requests are served again.',
    yes: 'Resume',
    act: () => post('admin.resumeWorkspace', { workspaceId: id }),
    done: () => `${id} is resumed.`,
  });
}

function askLimits() {
  const now = limitsNow();
  const most = el('input', { id: 'limit-all', type: 'number', inputmode: 'numeric', min: 3, max: 10000, step: 1, required: true, value: now.maxConnections });
  const each = el('input', { id: 'limit-each', type: 'number', inputmode: 'numeric', min: 1, max: 50, step: 1, required: true, value: now.maxConnectionsPerDB });
  ask({
    title: 'Change the limits',
    text: now.shared
      ? `The connections are those of the group ${now.shared.group}, for all its replicas, and the change lasts. The role’s CONNECTION LIMIT goes with it: raise that before, lower it after (tenantpool fence). The limit per workspace is this process’s, until it ends.`
      : 'At once and without a restart. If they get lower, idle connections are closed and leases finish first. The setting lasts until the program ends: change its environment too.',
    fields: [
      el('label', { for: 'limit-all' }, now.shared ? 'Connections of all replicas together' : 'Connections, in all'), most,
      el('label', { for: 'limit-each' }, 'Connections per workspace'), each],
    yes: 'Change',
    act: () => post('admin.setLimits', { maxConnections: most.valueAsNumber, maxConnectionsPerDB: each.valueAsNumber }),
    done: (answer) => `The limits are ${answer.maxConnections} in all and ${answer.maxConnectionsPerDB} per workspace.${answer.warning ? ` But ${answer.warning}.` : ''}`,
  });
}

// The fields of a workspace's own settings: name, label, and whether it is text.
const settings = [
  ['maxConnections', 'Connections'],
  ['softMaxConnections', 'Connections it need not share'],
  ['maxWaiters', 'Waiters'],
  ['acquireTimeoutMs', 'Acquire timeout, ms'],
  ['statementTimeoutMs', 'Statement timeout, ms'],
  ['role', 'Role', true],
];

async function askSettings(id) {
  let now;
  try {
    now = await post('workspace.settings', { workspaceId: id });
  } catch (problem) {
    if (problem.status === 401) refused(problem);
    else toast(problem.status ? problem.message : 'The admin server does not answer.', { bad: true });
    return;
  }
  const inputs = settings.map(([name, , text]) => (text
    ? el('input', { id: `setting-${name}`, type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', maxlength: 63, value: now[name] })
    : el('input', { id: `setting-${name}`, type: 'number', inputmode: 'numeric', min: 0, max: 2147483647, step: 1, value: now[name] || '' })));
  ask({
    title: `Settings of ${id}`,
    text: 'At once and without a restart; an empty field is as for all. If its cap gets lower, idle connections are closed and leases finish first. With another role or statement timeout its connections are renewed.',
    fields: settings.flatMap(([name, label], i) => [el('label', { for: `setting-${name}` }, label), inputs[i]]),
    yes: 'Change',
    act: () => post('workspace.settings', {
      workspaceId: id,
      ...Object.fromEntries(settings.map(([name, , text], i) => [name, text ? inputs[i].value.trim() : Number(inputs[i].value)])),
    }),
    done: () => `The settings of ${id} are changed.`,
  });
}

function askDump() {
  ask({
    title: 'Download a dump?',
    text: 'What is needed to find out why somebody waited: these figures, the supervisor’s last messages and, if it is kept, the runtime’s trace. It holds workspaces’ ids and errors, and no password.',
    yes: 'Download',
    act: () => file('admin.dump'),
    done: ({ name, content }) => {
      const href = URL.createObjectURL(content);
      el('a', { href, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(href), 60_000); // the browser has read it by then
      return `${name} is downloaded.`;
    },
  });
}

function askDrain() {
  const word = el('input', { id: 'drain-word', type: 'text', autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', pattern: '\\s*drain\\s*', required: true });
  ask({
    title: 'Drain for good?',
    text: 'No connection is lent any more, to nobody. Leases come home, everything is closed. This cannot be undone: the program has to be started again.',
    fields: [el('label', { for: 'drain-word' }, 'Type “drain” to confirm'), word],
    yes: 'Drain', danger: true,
    act: () => post('admin.drain', { confirm: word.value.trim() }),
    done: () => 'Draining: no connection is lent any more.',
  });
}

// ask opens the dialog. An error stays in it, so that it can be tried again.
function ask({ title, text, fields = [], yes, danger = false, act, done }) {
  const dialog = $('dialog');
  if (dialog.open) return;
  const before = document.activeElement;
  const error = el('p', { class: 'message', role: 'alert', hidden: true });
  const confirm = el('button', { type: 'submit', class: danger ? 'danger solid' : 'primary' }, yes);
  const form = el('form', { onsubmit: submit },
    el('h2', { id: 'dialog-title' }, title), el('p', {}, text), ...fields, error,
    el('div', { class: 'dialog-buttons' }, el('button', { type: 'button', onclick: () => dialog.close() }, 'Cancel'), confirm));
  // Enter in a field that does not hold yet must not send.
  const check = () => { confirm.disabled = !form.checkValidity(); };
  form.addEventListener('input', check);
  dialog.replaceChildren(form);
  dialog.addEventListener('close', () => { if (before?.isConnected) before.focus(); }, { once: true });
  dialog.showModal();
  check();
  (fields.find((field) => field.tagName === 'INPUT') ?? confirm).focus();

  async function submit(event) {
    event.preventDefault();
    if (confirm.disabled) return;
    confirm.disabled = true;
    error.hidden = true;
    try {
      const answer = await act();
      if (dialog.contains(form)) dialog.close();
      toast(done(answer));
    } catch (problem) {
      if (problem.status === 401) {
        refused(problem);
        return;
      }
      const words = problem.status ? problem.message : 'The admin server does not answer. Whether it was done is not known.';
      if (dialog.open && dialog.contains(form)) {
        setText(error, words);
        error.hidden = false;
        check();
      } else {
        toast(words, { bad: true });
      }
    }
  }
}
