// Short messages in the corner: what an action did, or why it did not.
import { $, el } from './dom.js';

const most = 4;

export function toast(text, { bad = false } = {}) {
  const message = el('div', { class: bad ? 'toast bad' : 'toast' }, el('span', {}, text));
  message.append(el('button', { type: 'button', class: 'icon', 'aria-label': 'Dismiss', onclick: () => message.remove() }, '×'));
  $('toasts').append(message);
  while ($('toasts').childElementCount > most) $('toasts').firstElementChild.remove();
  // An error stays until it was read; the pointer on a message keeps it.
  const leave = () => { if (message.matches(':hover, :focus-within')) setTimeout(leave, 2000); else message.remove(); };
  setTimeout(leave, bad ? 20_000 : 6_000);
}
