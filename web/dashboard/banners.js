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

// statsBanners says what the statistics themselves complain about.
export function statsBanners(stats) {
  banner('server-down', stats.serverDown, { title: 'PostgreSQL cannot be reached.', level: 'error' });
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
