// Numbers and durations, as short as they can be read.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });

export const integer = (n) => whole.format(n);

export function rate(n) {
  if (n === null) return '–';
  return n >= 100 || n === 0 ? whole.format(n) : tenth.format(n);
}

export function percent(n) {
  if (n === null) return '–';
  // 99.96 % is not all of them.
  const floored = Math.floor(n * 1000) / 10;
  return (floored === 100 || floored === 0 ? whole.format(floored) : tenth.format(floored)) + ' %';
}

// duration tells milliseconds: 0.4 ms, 12 ms, 1.2 s, 3 min 20 s, 2 h 5 min, 3 d 4 h.
export function duration(ms) {
  if (ms === null || ms === undefined) return '–';
  if (ms < 0.05) return '0 ms';
  if (ms < 9.95) return tenth.format(ms) + ' ms';
  if (ms < 999.5) return whole.format(ms) + ' ms';
  if (ms < 59_950) return tenth.format(ms / 1000) + ' s';
  return pair(ms, 60_000, 'min', 1000, 's', 3_600_000) ??
    pair(ms, 3_600_000, 'h', 60_000, 'min', 86_400_000) ??
    pair(ms, 86_400_000, 'd', 3_600_000, 'h', Infinity);
}

function pair(ms, big, bigName, small, smallName, below) {
  if (ms >= below) return null;
  const n = Math.floor(ms / big);
  const rest = Math.floor((ms % big) / small);
  return rest ? `${n} ${bigName} ${rest} ${smallName}` : `${n} ${bigName}`;
}

// age is duration in steps of a second: it is looked at, not measured.
export const age = (ms) => (ms < 1000 ? 'now' : ms < 60_000 ? `${Math.floor(ms / 1000)} s` : duration(ms));

export const clock = (date) => date.toLocaleTimeString('en-GB');

export const plural = (n, one, many = one + 's') => `${integer(n)} ${n === 1 ? one : many}`;

// Why a connection was closed, in words.
const reasons = {
  make_room: 'to make room', yield: 'for an older waiter', lifetime_over: 'lifetime over', idle_time_over: 'idle for too long',
  not_reusable: 'not fit for another use', dial_leftover: 'left over from a failed dial', evict_asked: 'asked for by an operator',
  pause_asked: 'the workspace is paused', shrink: 'the limits were lowered', drain_asked: 'draining',
  renewed: 'renewed',
};

export const reasonWords = (reason) => reasons[reason] ?? reason.replaceAll('_', ' ');
