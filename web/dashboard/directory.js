// The list of all workspaces, with connections or without. There may be a hundred
// thousand: the server gives a page of those whose id begins so.
import { get } from './api.js';
import { $, el, setText } from './dom.js';

const pageSize = 100;

// openDirectory opens the dialog. A click on an id puts it into the table's filter;
// onRefusal handles 401.
export function openDirectory(onRefusal) {
  const dialog = $('dialog');
  if (dialog.open) return;
  const before = document.activeElement;
  let next = ''; // where the next page begins
  let asking = null; // the last question, which the next one calls off

  const prefix = el('input', { id: 'directory-prefix', type: 'search', maxlength: 63, autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', oninput: () => load(true) });
  const list = el('ul', { id: 'directory-list', class: 'directory', 'aria-labelledby': 'dialog-title' });
  const state = el('p', { id: 'directory-state', class: 'quiet', role: 'status' });
  const more = el('button', { type: 'button', id: 'directory-more', hidden: true, onclick: () => load(false) }, 'Show more');
  dialog.replaceChildren(el('form', { onsubmit: (event) => event.preventDefault() },
    el('h2', { id: 'dialog-title' }, 'All workspaces'),
    el('label', { for: 'directory-prefix' }, 'Whose id begins with'), prefix, list, state,
    el('div', { class: 'dialog-buttons' }, more, el('button', { type: 'button', onclick: () => dialog.close() }, 'Close'))));
  dialog.addEventListener('close', () => {
    asking?.abort();
    asking = null;
    if (before?.isConnected) before.focus();
  }, { once: true });
  dialog.showModal();
  prefix.focus();
  load(true);

  async function load(anew) {
    asking?.abort();
    const mine = asking = new AbortController();
    const query = new URLSearchParams({ prefix: prefix.value.trim(), after: anew ? '' : next, limit: pageSize });
    try {
      const page = await get(`workspace.list?${query}`, { signal: mine.signal });
      if (asking !== mine) return;
      if (anew) list.replaceChildren();
      list.append(...page.workspaces.map(item));
      next = page.next ?? '';
      more.hidden = !next;
      setText(state, list.childElementCount ? '' : 'No workspace’s id begins so.');
    } catch (problem) {
      if (asking !== mine) return;
      if (problem.status === 401) onRefusal(problem);
      else setText(state, problem.status ? problem.message : 'The admin server does not answer.');
    }
  }

  function item(id) {
    return el('li', {}, el('button', { type: 'button', onclick: () => choose(id) }, id));
  }

  function choose(id) {
    dialog.close();
    $('filter').value = id;
    $('filter').dispatchEvent(new Event('input'));
  }
}
