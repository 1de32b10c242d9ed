// The dashboard: from the token form to the live page and back.
import { get, Refusal, unready } from './api.js';
import { banner, clearBanners, statsBanners } from './banners.js';
import { budgetOf, showBudget } from './budget.js';
import { hideCapacity, showCapacity } from './capacity.js';
import { hideDoor, showDoor } from './door.js';
import { addPoint, buildCharts, clearCharts } from './charts.js';
import { buildControls, removeControls } from './controls.js';
import { $, setText } from './dom.js';
import { addEvent, feedState, levelWords, listenToFeed, resetFeed } from './feed.js';
import { clock, duration } from './format.js';
import { between } from './rates.js';
import { hideShared, showShared } from './shared.js';
import { follow } from './sse.js';
import { toast } from './toasts.js';
import { claimsOf, cleanToken, forgetToken, keepToken, keptToken } from './token.js';
import { buildWorkspaces, listenToTable, showWorkspaces, wantedPage } from './workspaces.js';

const pollMs = 1000, pollHiddenMs = 10_000, pollFailingMs = 15_000, pollSlowMs = 5000;
const typingMs = 100; // between two searches
const capacityEveryMs = 5000; // the planner takes longer for its estimates

// {stop: AbortController, claims, stats, failures, timer}; unready is what /readyz said
// last, live whether the last answer had figures. group is the shared budget as it was read
// last, and groupProblem why it cannot be read now; capacity, capacityProblem and plannerOff
// are the same of the planner. hasPlanner is false once a server does not know the route.
let session = null;

function signIn(token) {
  const claims = claimsOf(token);
  if (!claims) {
    signOut('That is not a token of this server: it should begin with “v4.public.”.');
    return;
  }
  keepToken(token);
  session = { stop: new AbortController(), claims, stats: null, failures: 0, timer: 0, polling: false, again: false, asking: false, unready: [], live: false, asksGroup: false, group: null, groupProblem: '', hasDoor: true, asksDoor: false, hasPlanner: true, asksCapacityAt: 0, capacity: null, capacityProblem: '', plannerOff: '' };
  $('sign-in').hidden = true;
  $('page').hidden = false;
  $('token').value = '';
  pulse('waiting', 'Connecting…');
  showWho();
  const operator = claims.role === 'operator';
  const current = session;
  buildWorkspaces(operator ? buildControls({
    limits: () => ({ maxConnections: current.stats?.maxConnections, maxConnectionsPerDB: current.stats?.maxConnectionsPerDB, shared: current.stats?.shared }),
    onRefusal: (error) => refuse(current, error),
  }) : null);
  clearCharts();
  resetFeed();
  poll(current);
  listen(current);
}

// signOut forgets the token; the message says why, if it was not the user's wish.
function signOut(message = '') {
  session?.stop.abort();
  clearTimeout(session?.timer);
  session = null;
  forgetToken();
  removeControls();
  hideShared();
  hideCapacity();
  hideDoor();
  clearBanners();
  document.title = 'tenantpool';
  $('page').hidden = true;
  $('sign-in').hidden = false;
  $('token-message').hidden = !message;
  setText($('token-message'), message);
  $('token').value = '';
  $('token').focus();
}

function refuse(current, error) {
  if (session !== current) return;
  const { claims } = current;
  if (error.status === 403) signOut(`This token’s role (${claims.role || 'none'}) may not see the dashboard. ${error.message}`);
  else if (claims.expires && claims.expires <= new Date()) signOut('The token has expired. Give a new one.');
  else signOut(`The server did not take this token. ${error.message}`);
}

function showWho() {
  const { subject, role, expires } = session.claims;
  const left = expires ? expires - Date.now() : null;
  setText($('who'), [subject || 'unnamed', role].join(' · '));
  $('who').title = left === null ? '' : left > 0 ? `The token expires in ${duration(left)}` : 'The token has expired';
}

async function poll(current) {
  if (session !== current) return;
  if (current.polling) {
    current.again = true; // with what is wanted by then
    return;
  }
  current.polling = true;
  clearTimeout(current.timer);
  askReadiness(current);
  const started = performance.now();
  try {
    const query = wantedPage();
    const stats = await get(`admin.connectionStats${query}`, { signal: current.stop.signal });
    if (session !== current) return;
    show(current, stats, query);
  } catch (error) {
    if (session !== current) return;
    if (error instanceof Refusal && (error.status === 401 || error.status === 403)) {
      refuse(current, error);
      return;
    }
    failed(current, error);
  } finally {
    current.polling = false;
  }
  if (session !== current) return;
  if (current.again && !current.failures) {
    current.again = false;
    current.timer = setTimeout(() => poll(current), typingMs);
    return;
  }
  // A server that is slow to answer is asked less often, one that is gone too.
  const took = performance.now() - started;
  const every = current.failures ? Math.min(pollMs * 2 ** (current.failures - 1), pollFailingMs)
    : document.hidden ? pollHiddenMs : Math.min(pollSlowMs, Math.max(pollMs, 2 * took));
  current.timer = setTimeout(() => poll(current), Math.max(100, every - took));
}

function show(current, stats, query) {
  current.failures = 0;
  banner('unreachable', null);
  banner('unanswered', null);
  showWho();
  const missing = stats.missing?.join('; ');
  if (missing && !stats.workspaceBudget) {
    // There are no figures at all: the last ones stay, and say so.
    banner('missing', `${missing}.${lastFigures(current)}`, { title: 'The supervisor gives no figures:', level: 'error' });
    current.live = false;
    pulse('late', current.stats ? `Figures of ${clock(new Date(current.stats.at))}` : 'No figures yet');
    return;
  }
  banner('missing', missing, { title: 'Some figures are missing:' });
  showBudget(stats);
  showWorkspaces(stats, query);
  addPoint(Date.parse(stats.at), between(current.stats, stats));
  current.stats = stats;
  current.live = true;
  showState(current);
  askGroup(current);
  askCapacity(current);
  askDoor(current);
  document.title = `${stats.totalInUseConnections}/${budgetOf(stats)} in use${stats.totalWaiting ? `, ${stats.totalWaiting} waiting` : ''} · tenantpool`;
}

// askReadiness does not hold up the figures: of a server that is frozen the check takes a
// second.
async function askReadiness(current) {
  if (current.asking) return;
  current.asking = true;
  try {
    current.unready = await unready(current.stop.signal);
  } catch {
    current.unready = []; // whether there are figures says more
  }
  current.asking = false;
  if (session === current && current.live) showState(current);
}

// askGroup asks who has what of a shared budget, if it is one and somebody looks.
async function askGroup(current) {
  if (!current.stats.shared) {
    current.group = null;
    hideShared();
    return;
  }
  if (current.asksGroup || document.hidden) return;
  current.asksGroup = true;
  try {
    current.group = await get('admin.replicas', { signal: current.stop.signal });
    current.groupProblem = '';
  } catch (error) {
    current.groupProblem = error instanceof Refusal ? error.message : 'The admin server does not answer';
  }
  current.asksGroup = false;
  if (session !== current || !current.stats.shared) return;
  showShared(current.stats.shared, current.group, current.groupProblem);
  if (current.live) showState(current);
}

// askDoor asks for the clients at the door with each poll, if there is a door.
async function askDoor(current) {
  if (!current.hasDoor || current.asksDoor || document.hidden) return;
  current.asksDoor = true;
  try {
    const door = await get('admin.door', { signal: current.stop.signal });
    if (session === current) showDoor(door);
  } catch (error) {
    if (error.status === 404 || error.status === 409) current.hasDoor = false;
  }
  current.asksDoor = false;
}

// askCapacity asks the planner now and then, if somebody looks. It shows the panel at once,
// because the utilisation is in the statistics.
async function askCapacity(current) {
  if (current.hasPlanner && (current.capacity || current.capacityProblem || current.plannerOff)) showPlanner(current);
  if (!current.hasPlanner || document.hidden || performance.now() < current.asksCapacityAt) return;
  current.asksCapacityAt = Infinity;
  try {
    current.capacity = await get('admin.capacity', { signal: current.stop.signal });
    current.capacityProblem = current.plannerOff = '';
  } catch (error) {
    const status = error instanceof Refusal ? error.status : 0;
    current.hasPlanner = status !== 404;
    if (status === 404 || status === 409) current.capacity = null;
    current.plannerOff = status === 409 ? error.message.replace(/^.*unsupported operation: /, '') : '';
    current.capacityProblem = status === 0 ? 'The admin server does not answer' : status === 409 ? '' : error.message;
  }
  current.asksCapacityAt = performance.now() + capacityEveryMs;
  if (session === current) showPlanner(current);
}

function showPlanner(current) {
  if (current.hasPlanner) showCapacity(current.stats, current.capacity, current.capacityProblem, current.plannerOff);
  else hideCapacity();
}

function showState(current) {
  statsBanners(current.stats, current.unready, current.group);
  if (current.unready.length || current.stats.serverDown) pulse('late', 'Not ready');
  else pulse('live', 'Live');
}

const lastFigures = (current) => (current.stats ? ` The figures below are of ${clock(new Date(current.stats.at))}.` : '');

function failed(current, error) {
  current.failures++;
  current.live = false;
  const last = lastFigures(current);
  if (error instanceof Refusal) {
    banner('unreachable', null);
    banner('unanswered', `${error.message.replace(/[.\s]*$/, '')}.${last}`, { title: 'The supervisor gives no figures.', level: 'error' });
  } else {
    banner('unanswered', null);
    banner('unreachable', `It is tried again and again.${last}`, { title: 'The connection to the admin server is lost.', level: 'error' });
  }
  pulse('lost', 'No answer');
}

function pulse(state, text) {
  $('pulse').dataset.state = state;
  setText($('pulse-text'), text);
}

function listen(current) {
  feedState('connecting…');
  follow('admin.events', {
    signal: current.stop.signal,
    // With a shared budget it is no operator who changes them, but what the replicas need.
    onEvent: (event) => {
      addEvent(event.kind === 'limits_set' && current.stats?.shared && !event.why ? { ...event, kind: 'share_set' } : event);
      if (event.kind === 'utilisation' && event.level !== 'normal') toast(levelWords(event.level), { bad: event.level === 'critical' });
    },
    onState: (state, detail) => {
      if (session !== current) return;
      if (state === 'open') feedState('');
      else if (state === 'retrying') feedState(`connection lost, next try in ${duration(Math.max(detail, 1000))}`);
      else if (detail.status === 401) refuse(current, detail);
      else feedState('this token may not see them');
    },
  });
}

$('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const token = cleanToken($('token').value);
  if (token) signIn(token);
  else signOut('Paste a token first.');
});
$('sign-out').addEventListener('click', () => signOut());
$('theme').addEventListener('click', () => {
  const now = document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
  const chosen = now === 'dark' ? 'light' : 'dark';
  document.documentElement.dataset.theme = chosen;
  try { localStorage.setItem('tenantpool.theme', chosen); } catch { /* holds until the page is left */ }
});
document.addEventListener('visibilitychange', () => { if (!document.hidden && session) poll(session); });

buildCharts();
listenToTable(() => { if (session) poll(session); });
listenToFeed();
if (keptToken()) signIn(keptToken());
else signOut();
