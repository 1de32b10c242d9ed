// What happened between two polls: the server tells totals, the charts show
// what they grew by.

// between gives null when the two are not of one run of the server.
export function between(before, now) {
  if (!before) return null;
  const seconds = (Date.parse(now.at) - Date.parse(before.at)) / 1000;
  const acquires = now.counters.acquires - before.counters.acquires;
  const evictions = now.counters.evictions - before.counters.evictions;
  const hits = now.counters.hits - before.counters.hits;
  const grants = hits + now.counters.handOffs - before.counters.handOffs + now.counters.freshGrants - before.counters.freshGrants;
  if (!(seconds > 0) || acquires < 0 || evictions < 0 || hits < 0) return null;
  return {
    requests: acquires / seconds,
    hitRatio: grants > 0 ? hits / grants : null,
    waitP99: quantile(0.99, before.acquireWait, now.acquireWait),
    evictions: evictions / seconds,
  };
}

// quantile estimates from a histogram's growth, as Prometheus does: within a
// bucket the durations are taken to lie evenly. null: nothing was counted, or
// there is no histogram.
export function quantile(q, before, now) {
  if (!before?.counts || !now?.counts || before.counts.length !== now.counts.length) return null;
  const grown = now.counts.map((count, i) => count - before.counts[i]);
  const total = grown.reduce((sum, n) => sum + n, 0);
  if (total <= 0 || grown.some((n) => n < 0)) return null;
  const rank = q * total;
  let below = 0;
  for (let i = 0; i < grown.length; i++) {
    if (below + grown[i] >= rank && grown[i] > 0) {
      const lower = i === 0 ? 0 : now.boundsMs[i - 1];
      const upper = now.boundsMs[i] ?? lower; // longer than all bounds: at least the last
      // Hits have waited for nothing at all, and they are in the first bucket.
      return lower + (upper - lower) * ((rank - below) / grown[i]);
    }
    below += grown[i];
  }
  return null;
}
