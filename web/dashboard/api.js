// The admin server's API. Addresses are relative to the page, so that it works
// under any prefix.
import { keptToken } from './token.js';

// Refusal is an answer of the server that is no success. Any other error of
// these functions means that there was no answer.
export class Refusal extends Error {
  constructor(status, message, requestId) {
    super(message);
    this.status = status;
    this.requestId = requestId;
  }
}

const address = (call) => new URL(`api/${call}`, document.baseURI);

async function request(call, options, timeoutMs) {
  const signal = timeoutMs ? AbortSignal.any([AbortSignal.timeout(timeoutMs), ...(options.signal ? [options.signal] : [])]) : options.signal;
  const response = await fetch(address(call), {
    ...options,
    signal,
    headers: { ...options.headers, Authorization: `Bearer ${keptToken()}` },
    credentials: 'omit', cache: 'no-store', redirect: 'error', referrerPolicy: 'no-referrer',
  });
  if (!response.ok) throw await refusalOf(response);
  return response;
}

async function refusalOf(response) {
  let message = '', requestId;
  try {
    const body = await response.json();
    message = String(body.error ?? body.message ?? '');
    requestId = body.requestId;
  } catch { /* not of this server, a proxy's perhaps */ }
  return new Refusal(response.status, message || `The server answered ${response.status} ${response.statusText}`.trim(), requestId);
}

export const get = async (call, { signal, timeoutMs = 10_000 } = {}) => (await request(call, { signal }, timeoutMs)).json();

// unready are the parts that keep requests from being served, in the words of /readyz; none
// when all is well.
export async function unready(signal) {
  const response = await fetch(new URL('readyz', document.baseURI), { signal, credentials: 'omit', cache: 'no-store', redirect: 'error', referrerPolicy: 'no-referrer' });
  return (await response.json()).failed ?? [];
}

export const post = async (call, body, { timeoutMs = 30_000 } = {}) => (await request(call, {
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
}, timeoutMs)).json();

// file is an answer to keep. The server gives it half a minute to be made and two to
// be sent.
export async function file(call) {
  const response = await request(call, { method: 'POST' }, 150_000);
  const [, name] = /filename="([^"]*)"/.exec(response.headers.get('Content-Disposition')) ?? [];
  return { name: name ?? call, content: await response.blob() };
}

export const stream = (call, signal) => request(call, { signal, headers: { Accept: 'text/event-stream' } });
