// Server-sent events read through fetch: EventSource cannot send a token.
import { Refusal, stream } from './api.js';

// The server sends a comment every 15 s; silence for three of them means that
// the connection is dead, whatever the network says.
const silenceMs = 45_000;
const shortest = 500, longest = 30_000;

// follow calls onEvent for each event until the signal ends it, and connects
// again, with more patience each time, when the stream breaks. onState is told
// 'open', 'retrying' (with the wait in ms) or 'refused' (with the error).
export async function follow(call, { signal, onEvent, onState }) {
  let wait = shortest;
  while (!signal.aborted) {
    const attempt = new AbortController();
    const end = () => attempt.abort();
    signal.addEventListener('abort', end, { once: true });
    let watchdog = setTimeout(end, silenceMs);
    try {
      const response = await stream(call, attempt.signal);
      onState('open');
      const parse = parser(onEvent);
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        wait = shortest;
        clearTimeout(watchdog);
        watchdog = setTimeout(end, silenceMs);
        parse(decoder.decode(value, { stream: true }));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Refusal && (error.status === 401 || error.status === 403)) {
        onState('refused', error);
        return;
      }
    } finally {
      clearTimeout(watchdog);
      signal.removeEventListener('abort', end);
      attempt.abort();
    }
    if (signal.aborted) return;
    // Half fixed, half by chance: many dashboards must not come back as one.
    const pause = wait / 2 + Math.random() * wait / 2;
    wait = Math.min(wait * 2, longest);
    onState('retrying', pause);
    await sleep(pause, signal);
  }
}

function sleep(ms, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => { clearTimeout(timer); resolve(); }, { once: true });
  });
}

// parser takes the stream's text in pieces of any size and calls onEvent with
// each event's parsed data. Lines may end with CR, LF or both.
export function parser(onEvent) {
  let rest = '', data = [], id = '';
  return (text) => {
    rest += text;
    // A CR at the very end may be half of a CRLF: it waits for the next piece.
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (data.length) emit(onEvent, data.join('\n'), id);
        data = [];
        continue;
      }
      const colon = line.indexOf(':');
      if (colon === 0) continue; // a comment
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'data') data.push(value);
      else if (field === 'id') id = value;
    }
  };
}

function emit(onEvent, text, id) {
  let event;
  try { event = JSON.parse(text); } catch { return; }
  onEvent(event, id);
}
