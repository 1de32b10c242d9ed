// Runs before the page is drawn, so that it never flashes in the wrong colours:
// the one classic script. Without a choice the system's preference holds.
(function () {
  'use strict';
  try {
    const chosen = localStorage.getItem('tenantpool.theme');
    if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
  } catch { /* storage is off: the system's preference it is */ }
})();
