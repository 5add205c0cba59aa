// Where one is: filters and lists stand in the address behind its #, which no server is told.

const at = (id) => document.getElementById(id);
const FILTERS = { state: "state-filter", class: "class-filter", doubt: "doubt", split: "split",
                  moved: "moved", source: "source" };
const PLAIN = { state: "open" };  // what is left out of the address

export const place = { like: null, start: 0 };

export const words = () => at("words").value.trim();
export const state = () => at("state-filter").value || "open";
export const isList = () => Boolean(place.like || words() || !["open", "teach"].includes(state()));
export const filters = () => Object.values(FILTERS).map(at);

// What the server is asked for.
export function query(size) {
  const asked = new URLSearchParams();
  for (const [key, id] of Object.entries(FILTERS)) if (at(id).value) asked.set(key, at(id).value);
  if (place.like) asked.set("like", place.like); else if (words()) asked.set("words", words());
  asked.set("start", String(place.start));
  asked.set("size", String(size));
  return asked;
}

// How many filters are on, for where they are folded away.
export function narrowed() {
  const set = Object.entries(FILTERS).filter(([key, id]) => at(id).value && at(id).value !== PLAIN[key]);
  return set.length + (words() ? 1 : 0);
}

function fragment() {
  const known = query(0);
  known.delete("size");
  if (known.get("start") === "0") known.delete("start");
  for (const [key, value] of Object.entries(PLAIN)) if (known.get(key) === value) known.delete(key);
  return String(known);
}

// Note it in the address; another list is a step that the browser's "back" takes back.
export function note() {
  const now = fragment();
  if (now === location.hash.slice(1)) return;
  const same = (text) => { const known = new URLSearchParams(text); known.delete("start"); return String(known); };
  const step = same(now) === same(location.hash.slice(1)) ? "replaceState" : "pushState";
  history[step](null, "", now ? `#${now}` : location.pathname);
}

// Take it from the address. What is not offered (any more) is left out.
export function restore() {
  const known = new URLSearchParams(location.hash.slice(1));
  for (const [key, id] of Object.entries(FILTERS)) {
    at(id).value = known.get(key) ?? PLAIN[key] ?? "";
    if (at(id).selectedIndex < 0) at(id).value = PLAIN[key] ?? "";
  }
  at("words").value = known.get("words") ?? "";
  place.like = known.get("like");
  place.start = /^\d{1,9}$/.test(known.get("start") ?? "") ? Number(known.get("start")) : 0;
}

export function leave() {
  place.like = null;
  place.start = 0;
  at("words").value = "";
}
