// What is wrong, in plain words at the top of the page.
import { $, el, setText } from './dom.js';
import { duration, integer } from './format.js';

const shown = new Map();

// banner shows, changes or (text: null) takes away the banner of that name.
export function banner(name, text, { title = '', level = 'warning' } = {}) {
  let view = shown.get(name);
  if (!text) {
    view?.element.remove();
    shown.delete(name);
    return;
  }
  if (!view) {
    view = { title: el('strong'), text: el('span') };
    view.element = el('div', { class: `banner ${level}`, 'data-banner': name }, el('span', { class: 'sign', 'aria-hidden': 'true' }, level === 'error' ? '!' : 'i'), el('p', {}, view.title, ' ', view.text));
    shown.set(name, view);
    $('banners').append(view.element);
  }
  setText(view.title, title);
  setText(view.text, text);
}

export function clearBanners() {
  for (const name of [...shown.keys()]) banner(name, null);
}

const server = 'database server: ';

// statsBanners says what the statistics themselves complain about, and what the check of
// PostgreSQL has found, which sees more: a server that is frozen is not down.
export function statsBanners(stats, unready, group) {
  sharedBanners(stats.shared, group);
  const found = unready.find((part) => part.startsWith(server))?.slice(server.length);
  banner('server-down', stats.serverDown || found && `${found[0].toUpperCase()}${found.slice(1)}.`,
    { title: stats.serverDown ? 'PostgreSQL cannot be reached.' : 'PostgreSQL is not ready.', level: 'error' });
  banner('draining', stats.draining && `No connection is lent any more; ${integer(stats.totalInUseConnections)} are still in use.`, { title: 'Draining.', level: 'error' });
  banner('lowered', stats.effectiveWorkspaceBudget < stats.workspaceBudget &&
    `Of the workspaces’ ${integer(stats.workspaceBudget)} connections it grants ${integer(stats.effectiveWorkspaceBudget)} at the moment: others use it too, or its limit is lower. More are tried for step by step.`,
  { title: 'PostgreSQL refuses more connections.' });
  banner('over', stats.totalOpenConnections > stats.maxConnections &&
    `${integer(stats.totalOpenConnections)} connections are open, the limit is ${integer(stats.maxConnections)}. They are closed as they come home.`,
  { title: 'The limit was lowered.' });
  banner('starving', stats.totalWaiting > 0 && stats.longestWaitMs > 2000 &&
    `The first of ${integer(stats.totalWaiting)} waiting requests has waited for ${duration(stats.longestWaitMs)}.`,
  { title: 'Requests wait long.' });
}

// sharedBanners: group is what was read last, or null.
function sharedBanners(own, group) {
  banner('no-session', own && !own.connected && 'It lends the connections that it has, and opens none. Either PostgreSQL cannot be reached, or it has no room for one more session of this role.',
    { title: `This process has no control session in the group ${own?.group}.`, level: 'error' });
  const limit = group?.roleLimit;
  banner('fence', own && group && limit !== group.budget && (limit === null
    ? `No CONNECTION LIMIT holds for the role (it has none, or is a superuser), so nothing keeps its connections within the shared budget of ${integer(group.budget)} when a process fails to: set it with tenantpool fence.`
    : limit < group.budget
      ? `The role’s CONNECTION LIMIT is ${integer(limit)}, the shared budget ${integer(group.budget)}: the server refuses what the replicas count on. Set it with tenantpool fence, or lower the budget.`
      : `The role’s CONNECTION LIMIT is ${integer(limit)}, the shared budget ${integer(group.budget)}: nothing keeps its connections within the budget when a process fails to. Set it with tenantpool fence.`),
  { title: 'The fence is not at the budget.', level: 'error' });
}
