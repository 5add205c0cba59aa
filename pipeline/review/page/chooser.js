// A class by its number or the beginning of its name, or a new one: works for hundreds of them.

import { made } from "./tiles.js";

const at = (id) => document.getElementById(id);
const SHOWN = 100;
let names = [];          // all, in their order
let recent = [];         // those that were given last, the newest first
let ask = null;          // what is being asked for: { taken, fresh, first }
let offered = [];
let marked = 0;

export const remember = (name) => { recent = [name, ...recent.filter((one) => one !== name)].slice(0, 6); };

// taken: called with the name that was chosen. fresh: whether new names may be. first: [name, words]
// offered before the classes.
export function choose(title, classes, { taken, fresh, first = [] }) {
  names = classes;
  ask = { taken, fresh, first };
  at("chooser-title").textContent = title;
  at("typed").value = "";
  marked = 0;
  offer();
  at("chooser").showModal();
  at("typed").focus();
}

function found(typed) {
  const low = typed.toLocaleLowerCase();
  if (!low) return [...recent.filter((name) => names.includes(name)), ...names.filter((name) => !recent.includes(name))];
  const numbered = /^\d+$/.test(low) ? names.slice(Number(low) - 1, Number(low)).filter(() => Number(low) > 0) : [];
  const begins = (name) => name.toLocaleLowerCase().startsWith(low);
  const word = (name) => name.toLocaleLowerCase().split(/[^\p{L}\p{N}]+/u).some((part) => part.startsWith(low));
  const holds = (name) => name.toLocaleLowerCase().includes(low);
  return [...new Set([...numbered, ...names.filter(begins), ...names.filter(word), ...names.filter(holds)])];
}

function offer() {
  const typed = at("typed").value.trim();
  const classes = found(typed).slice(0, SHOWN).map((name) => ({ name, words: name, number: names.indexOf(name) + 1 }));
  offered = [...(typed ? [] : ask.first.map(([name, words]) => ({ name, words }))), ...classes];
  if (ask.fresh && typed && !names.includes(typed)) offered.push({ name: typed, words: `new class: ${typed}` });
  marked = Math.max(0, Math.min(marked, offered.length - 1));
  at("matches").replaceChildren(...offered.map((one, number) => {
    const item = made("li", number === marked ? "marked" : "");
    item.id = `match-${number}`;
    item.setAttribute("role", "option");
    item.setAttribute("aria-selected", String(number === marked));
    if (one.number) item.append(made("kbd", "", String(one.number)));
    item.append(one.words);
    item.addEventListener("click", () => take(number));
    return item;
  }));
  if (offered.length) at("typed").setAttribute("aria-activedescendant", `match-${marked}`);
  else at("typed").removeAttribute("aria-activedescendant");
}

function take(number) {
  const one = offered[number];
  if (!one) return;
  at("chooser").close();
  ask.taken(one.name);
}

at("typed").addEventListener("input", () => { marked = 0; offer(); });
at("typed").addEventListener("keydown", (event) => {
  if (event.isComposing) return;
  if (event.key === "ArrowDown") marked += 1;
  else if (event.key === "ArrowUp") marked -= 1;
  else if (event.key === "Enter") { event.preventDefault(); return take(marked); }
  else return;
  event.preventDefault();
  offer();
  at("matches").children[marked]?.scrollIntoView({ block: "nearest" });
});
