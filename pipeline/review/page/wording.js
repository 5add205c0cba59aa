// What the page asks, and what it says of answers.

import { isList, narrowed, place, state, words } from "./place.js";
import { run } from "./status.js";
import { called, made } from "./tiles.js";

const at = (id) => document.getElementById(id);

export const many = (number) => `${number.toLocaleString("en")} ${number === 1 ? "image" : "images"}`;

// The question, as nodes; title: of a screen that is none of the list's.
export function question(tiles, title) {
  const names = [...new Set(tiles.map((tile) => tile.guess))];
  if (!tiles.length) return ["All done here"];
  if (title) return [title];
  if (run.audit !== null) return ["Audit: what does each show?"];
  if (place.like) return ["More like the picture you chose"];
  if (words()) return ["Found by ", made("em", "", words())];
  if (state() === "teach") return ["These teach most: is each what it is called?"];
  if (isList()) return ["Most doubtful first"];
  if (names.length > 1) return ["Is each what it is called?"];
  return [tiles.length === 1 ? "Is this " : "Are these all ", made("em", "", names[0] ?? "without a class"), "?"];
}

// What stands in the place of pictures where there are none.
export function nothing() {
  if (run.audit !== null) return "All that was drawn is answered. Go on with: clip2yolo audit";
  if (state() === "teach") return "Nothing is chosen here. Widen the filters, or press t for what is open.";
  if (isList()) return "Nothing more is found here. Esc leaves the list.";
  return narrowed() ? "Nothing is open here. Esc shows all classes, or widen the filters."
    : "Nothing is open here. Go on with: clip2yolo label";
}

// Says something (null: nothing). act: what a button beside it is called, and does.
export function notice(text, bad = false, act = null) {
  const hinted = document.querySelector(".tile") ? hint() : "";
  at("notice-words").textContent = text ?? hinted;
  at("notice").classList.toggle("quiet", !text);
  at("notice").classList.toggle("bad", bad);
  at("notice-act").hidden = !act;
  if (act) [at("notice-act").textContent, at("notice-act").onclick] = act;
}

function hint() {
  if (run.audit !== null) return "Say what each shows: a number, c, n or s. Nothing is confirmed at one stroke.";
  return "Select what is something else and say what it is; Enter confirms the others. ? lists the keys.";
}

// What Enter does. open: how many are open; left: those of them that are not selected.
export function confirming(open, left) {
  const names = new Set(left.map((tile) => tile.guess)), name = [...names][0] ?? "without a class";
  const some = left.length < open, number = left.length;
  if (!open) return "next screenful";
  if (run.audit !== null) return `${open} to say; s skips what cannot be said`;
  if (!number) return `${open} to say`;
  if (names.size > 1) return `${some ? "the other" : "all"} ${number} are what they are called`;
  if (number === 1) return `${some ? "the other one" : "it"} is ${name}`;
  return `${some ? "the other" : "all"} ${number} are ${name}`;
}

// What was saved, or that somebody else had answered.
export function saved(answers, conflicts) {
  const more = conflicts.length;
  if (more) {
    const theirs = called({ kind: conflicts[0].kind, answer: conflicts[0].class_name });
    return `Somebody else had answered about ${more === 1 ? "one" : more} of these meanwhile (${theirs}). `
      + "Both answers are kept, yours stands; u takes it back.";
  }
  const { kind, class: name } = answers[0];
  const same = answers.every((one) => one.class === name);
  return `Saved: ${many(answers.length)}, ${same ? called({ kind, answer: name }) : "what they were called"}.`;
}
