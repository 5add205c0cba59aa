// The review page. Names of classes and files come from anybody: they are only ever textContent.

import { choose, remember } from "./chooser.js";
import { keyboard, touch } from "./hands.js";
import { isBusy, oneAtATime } from "./order.js";
import { filters, isList, leave, narrowed, note, place, query, restore, state } from "./place.js";
import { looked, run, tell } from "./status.js";
import { called, enlarged, fit, isAnswered, isDoubtful, lay, made, pictures, reasons, refresh, tileOf } from "./tiles.js";
import { confirming, many, nothing, notice, question, saved } from "./wording.js";
import { aware, call, identify } from "./wire.js";

const at = (id) => document.getElementById(id);

let tiles = [];          // what is on the screen, as the server said it
let selected = new Set();
let framed = 0;
let columns = 1;
let screenful = 24;
let last = null;         // the answer before: { kind, name }
let title = null;        // of a screen that is none of the list's: what an undo opened, what is left
let before = false;      // whether an undo is of answers from before the server started
let touched = false;     // something was done on this screen

const doing = (work) => oneAtATime(work, work === load, (words) => notice(words, true));
const unknown = () => (run.audit === null ? "no class" : "?");
const openOnes = () => tiles.filter((tile) => !isAnswered(tile));
const chosen = () => tiles.filter((tile) => selected.has(tile.id));
// Enter leaves out what is selected.
const others = () => openOnes().filter((tile) => !selected.has(tile.id));
const heard = (said) => tell(said, (name) => give("class", name));

async function load() {
  screenful = fit().shown;
  let said = await call(`api/screen?${query(screenful)}`);
  while (said.wait) {
    at("question").textContent = "Working out what to ask next …";
    await new Promise((done) => setTimeout(done, 300));
    said = await call(`api/screen?${query(screenful)}`);
  }
  note();
  const seen = show(said.tiles);
  notice(null);
  if (tiles.length <= fit().shown) return seen;
  // What is written around the pictures has left less room than there was.
  screenful = fit().shown;
  return show(tiles.slice(0, screenful));
}

// Shows pictures; nothing is taken for an answer about them before they can be seen.
async function show(fresh, heading = null, selection = []) {
  tiles = fresh;
  title = heading;
  touched = false;
  selected = new Set(selection);
  framed = 0;
  at("grid").replaceChildren(...tiles.map(tileOf));
  touch([...at("grid").children], { tapped, held: (number) => { framed = number; enlarge(); } });
  if (!tiles.length) at("grid").append(made("p", "empty", nothing()));
  at("grid").scrollTop = 0;
  columns = lay(tiles.length);
  mark();
  focus();
  await pictures();
}

// The keyboard's focus goes with the frame, unless it is at work elsewhere.
function focus() {
  const there = document.activeElement;
  if (there !== document.body && !at("grid").contains(there)) return;
  at("grid").querySelector(".tile.framed")?.focus({ preventScroll: true });
}

function mark() {
  [...at("grid").querySelectorAll(".tile")].forEach((element, number) => {
    const tile = tiles[number];
    refresh(element, tile, number, { framed: number === framed, selected: selected.has(tile.id), unknown: unknown() });
  });
  const open = openOnes(), left = others();
  const button = at("accept");
  button.replaceChildren(made("kbd", "", "Enter"), confirming(open.length, left));
  button.disabled = !tiles.length || (open.length > 0 && (run.audit !== null || !left.length));
  at("confirm").hidden = !selected.size || run.audit !== null;
  at("escape").hidden = !selected.size && !title && !isList() && state() !== "teach" && !at("class-filter").value;
  at("escape").querySelector("span").textContent = selected.size ? "select nothing" : "back";
  at("earlier").hidden = !isList() || place.start === 0;
  at("later").hidden = !isList() || tiles.length < screenful;
  at("doubtful").disabled = !tiles.some(isDoubtful);
  at("fold").textContent = narrowed() ? `filters (${narrowed()})` : "filters";
  ask();
}

function ask() {
  const names = [...new Set(tiles.map((tile) => tile.guess))];
  const about = run.audit === null && !isList() && names.length === 1 ? names[0] : null;
  looked(about ?? (at("class-filter").value || null));
  at("question").replaceChildren(...question(tiles, title));
}

// Writes answers; says what they were once the server has them on its disk.
async function send(some, kind, name) {
  const answers = some.map((tile) => ({ id: tile.id, kind, class: kind === "class" ? name ?? tile.guess : null, seen: tile.act }));
  const said = await call("api/answer", { who: aware.who, answers });
  before = false;
  const fresh = new Map(said.tiles.map((tile) => [tile.id, tile]));
  tiles = tiles.map((tile) => fresh.get(tile.id) ?? tile);
  heard(said);
  const text = saved(answers, said.conflicts);
  return () => (said.conflicts.length ? notice(text, true) : notice(text, false, ["undo (u)", undo]));
}

// What is selected, or what has the frame, gets an answer.
function give(kind, name = null) {
  return doing(async () => {
    const some = selected.size ? chosen() : tiles.slice(framed, framed + 1);
    if (!some.length) return;
    const told = await send(some, kind, name);
    if (kind === "class" && name) remember(name);
    last = { kind, name };
    at("again").hidden = false;
    at("again").querySelector("span").textContent = `again: ${kind === "class" ? name ?? "as called" : called({ kind })}`;
    selected = new Set();
    touched = true;
    if (!openOnes().length && !isList()) await load();
    else {
      const open = tiles.map((tile, number) => (isAnswered(tile) ? -1 : number)).filter((number) => number >= 0);
      framed = open.find((number) => number >= framed) ?? open[0] ?? Math.min(framed + 1, tiles.length - 1);
      mark();
      focus();
    }
    told();
  });
}

// What is open and not selected is what it is called; what is selected stays, to be told.
function accept() {
  return doing(async () => {
    const open = openOnes(), some = others().filter((tile) => tile.guess !== null);
    if (open.length && run.audit !== null) return notice("Say what each shows; s skips what cannot be said.");
    if (open.length && !some.length) {
      return notice("Say what these show: a number, c, n or s. Shift+Enter: they are what they are called.");
    }
    const told = some.length ? await send(some, "class") : () => {};
    const rest = openOnes();
    if (rest.length && some.length) {
      const heading = rest.length === 1 ? "And what is this one?" : `And what are these ${rest.length}?`;
      await show(rest, heading, rest.map((tile) => tile.id));
    } else {
      if (isList() && ["answered", "all"].includes(state())) place.start += screenful;
      await load();
    }
    told();
  });
}

function undo() {
  return doing(async () => {
    const said = await call("api/undo", { who: aware.who, before });
    heard(said);
    if (said.tiles.length) await show(said.tiles, "Taken back: what are these?");
    if (said.theirs) return notice(`${many(said.theirs)} of these have another's answer by now, which stays.`, true);
    if (said.tiles.length) return notice(`Taken back: ${many(said.tiles.length)}.`);
    if (before) return notice("There is nothing to take back.");
    before = true;
    return notice("Nothing of yours is left to take back. Once more takes back the last answers from before this start.",
      false, ["take them back (u)", undo]);
  });
}

function toggle(number) {
  const tile = tiles[number];
  if (!tile) return;
  if (!selected.delete(tile.id)) selected.add(tile.id);
  touched = true;
  mark();
  focus();
}

function tapped(number, range) {
  const from = framed;
  framed = number;
  if (!range) return toggle(number);
  for (const tile of tiles.slice(Math.min(from, number), Math.max(from, number) + 1)) selected.add(tile.id);
  touched = true;
  return mark();
}

function select(some) {
  const all = some.length > 0 && some.every((tile) => selected.has(tile.id));
  for (const tile of some) if (all) selected.delete(tile.id); else selected.add(tile.id);
  touched = true;
  mark();
}

function move(key) {
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  if (framed + step < 0 || framed + step >= tiles.length) return;
  framed += step;
  mark();
  const element = at("grid").querySelector(".tile.framed");
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "nearest" });
}

function enlarge() {
  const tile = tiles[framed];
  if (!tile) return;
  const where = `${framed + 1} of ${tiles.length}: ${tile.place}`;
  enlarged(tile, [where, isAnswered(tile) ? `answered: ${called(tile)}` : called(tile, unknown()), ...reasons(tile)], selected.has(tile.id));
}

// Another list, or another page of it.
function go(change) {
  change();
  if (document.activeElement?.closest("#filters")) document.activeElement.blur();
  return doing(load);
}

function turn(by) {
  if (isList()) go(() => { place.start = Math.max(0, place.start + by * screenful); });
}

function more() {
  const tile = tiles[framed];
  if (tile && run.audit === null && !at("like").hidden) go(() => { place.start = 0; place.like = tile.id; });
}

function teach() {
  if (run.audit === null) go(() => { leave(); at("state-filter").value = state() === "teach" ? "open" : "teach"; });
}

function escape() {
  if (selected.size) { selected = new Set(); return mark(); }
  if (title) return go(() => {});
  if (isList() || state() === "teach") return go(() => { leave(); at("state-filter").value = "open"; });
  return at("class-filter").value ? go(() => { at("class-filter").value = ""; }) : null;
}

const classNames = () => run.classes.map((one) => one.name);
const pick = () => choose("Which class?", classNames(), { taken: (name) => give("class", name), fresh: true });
const one = () => run.audit === null && choose("Look at one class", [...at("class-filter").options].slice(1).map((option) => option.value),
  { taken: (name) => go(() => { leave(); at("class-filter").value = name; }), fresh: false, first: [["", "any class"]] });

const HANDS = {
  accept, pick, undo, enlarge, move, turn, escape, teach,
  none: () => give("none"), skip: () => give("skip"), again: () => last && give(last.kind, last.name),
  confirm: () => run.audit === null && give("class"), like: more, goto: one, toggle: (number = framed) => toggle(number),
  doubtful: () => select(tiles.filter(isDoubtful)), "select-all": () => (selected.size ? select(chosen()) : select(openOnes())),
  earlier: () => turn(-1), later: () => turn(1), help: () => at("keys").showModal(),
  number: (number) => run.classes[number] && give("class", run.classes[number].name),
  search: () => { fold(true); at("words").focus(); at("words").select(); },
  found: () => go(() => { place.like = null; place.start = 0; }), filtered: () => go(() => { place.start = 0; }),
  back: () => at("grid").querySelector(".tile.framed")?.focus({ preventScroll: true }),
};

function fold(open) {
  at("filters").classList.toggle("open", open);
  at("fold").setAttribute("aria-expanded", String(at("filters").classList.contains("open")));
}

async function watch() {
  if (!document.hidden && !isBusy()) {
    const was = aware.gone;
    try {
      const anew = heard(await call("api/status"));
      if (anew) heard(await call("api/start"));
      if (was && aware.unsure) {
        aware.unsure = false;
        await doing(load);
        notice("The server is back. What is shown is what it has on its disk.");
      } else if (anew && (touched || selected.size || document.querySelector("dialog[open]"))) {
        notice("New labels were made.", false, ["show them", () => doing(load)]);
      } else if (anew) {
        await doing(load);
        notice("New labels were made; this is what is open now.");
      }
      ask();
    } catch (error) {
      if (error.message) notice(error.message, true);
    }
  }
  setTimeout(watch, aware.gone ? 1500 : 3000);
}

keyboard(HANDS, filters());
at("fold").addEventListener("click", () => fold());
new ResizeObserver(() => { columns = lay(tiles.length); }).observe(at("grid"));
window.addEventListener("popstate", () => { restore(); doing(load); });

doing(async () => {
  await identify();
  const said = await call("api/start");
  run.audit = said.audit;
  if (run.audit !== null) for (const id of ["filters", "fold", "like", "teach", "goto", "doubtful"]) at(id).hidden = true;
  at("like").hidden = !said.compares || run.audit !== null;
  heard(said);
  restore();
  await load();
}).then(() => setTimeout(watch, 3000));
