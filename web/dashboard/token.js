// The token lives in the tab's session storage and in the Authorization header,
// nowhere else: not in the address, not in a cookie, not in the page.

const place = 'tenantpool.token';
let inMemory = '';

export function keepToken(token) {
  inMemory = token;
  try { sessionStorage.setItem(place, token); } catch { /* lives until the tab is reloaded */ }
}

export function keptToken() {
  if (inMemory) return inMemory;
  try { return sessionStorage.getItem(place) ?? ''; } catch { return ''; }
}

export function forgetToken() {
  inMemory = '';
  try { sessionStorage.removeItem(place); } catch { /* it was never there */ }
}

// cleanToken takes what was pasted: perhaps with "Bearer", perhaps broken over
// several lines by a terminal.
export const cleanToken = (text) => text.trim().replace(/^(authorization:)?\s*bearer\s+/i, '').replace(/\s+/g, '');

// claimsOf reads a PASETO v4.public token's payload, to show who signed in and
// which buttons to draw. It checks no signature: the server decides.
export function claimsOf(token) {
  const parts = token.split('.');
  if (parts[0] !== 'v4' || parts[1] !== 'public' || parts.length < 3 || parts.length > 4) return null;
  try {
    const binary = atob(parts[2].replace(/-/g, '+').replace(/_/g, '/'));
    const signature = 64;
    const bytes = Uint8Array.from(binary.slice(0, -signature), (c) => c.charCodeAt(0));
    const claims = JSON.parse(new TextDecoder().decode(bytes));
    return {
      subject: String(claims.sub ?? ''),
      role: String(claims.role ?? ''),
      expires: claims.exp ? new Date(claims.exp) : null,
    };
  } catch {
    return null;
  }
}
