// Keys, buttons and fingers: who asks for what.

const at = (id) => document.getElementById(id);
const LONG = 450;        // milliseconds of a long press
const BUTTONS = ["accept", "confirm", "escape", "undo", "pick", "again", "none", "skip", "doubtful", "select-all", "enlarge", "like",
                 "teach", "goto", "earlier", "later", "help"];
const KEYS = { Enter: "accept", u: "undo", c: "pick", r: "again", n: "none", s: "skip", d: "doubtful", a: "select-all",
               f: "enlarge", m: "like", t: "teach", g: "goto", "/": "search", "?": "help", " ": "toggle",
               Escape: "escape", PageUp: "earlier", PageDown: "later" };

// hands: what can be done, by name. filters: the selects.
export function keyboard(hands, filters) {
  document.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const open = document.querySelector("dialog[open]");
    if (open) return open.id === "chooser" ? null : inDialog(event, open, hands);
    const { target } = event;
    if (target === at("words")) return searching(event, hands);
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !event.shiftKey) return done(event, hands.undo);
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.tagName === "SELECT") {
      if (event.key === "Escape") { target.blur(); hands.back(); }
      return;
    }
    // A button that the keyboard has gone to is pressed by it.
    if (target.tagName === "BUTTON" && !target.closest("#grid") && ["Enter", " "].includes(event.key)) return;
    // A key that is held down answers once: the next screenful is to be looked at.
    if (event.repeat && !event.key.startsWith("Arrow")) return event.preventDefault();
    if (event.key.startsWith("Arrow")) return done(event, () => hands.move(event.key));
    if (/^\d$/.test(event.key)) return done(event, () => hands.number((Number(event.key) + 9) % 10));
    if (event.key === "Enter" && event.shiftKey) return done(event, hands.confirm);
    if (/^[a-z]$/i.test(event.key) && event.shiftKey) {
      return done(event, () => hands.toggle(event.key.toUpperCase().charCodeAt(0) - 65));
    }
    // Caps lock changes no key's meaning.
    const name = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (name) done(event, () => hands[name]());
  });
  for (const id of BUTTONS) at(id).addEventListener("click", () => hands[id]());
  // After a click the keys belong to the pictures again.
  document.querySelector("footer").addEventListener("click", (event) => { if (event.detail > 0) hands.back(); });
  at("filters").addEventListener("submit", (event) => event.preventDefault());
  for (const filter of filters) filter.addEventListener("change", () => hands.filtered());
  at("words").addEventListener("search", () => { if (!at("words").value) hands.found(); });
  at("before").addEventListener("click", () => step(hands, "ArrowLeft"));
  at("after").addEventListener("click", () => step(hands, "ArrowRight"));
  at("select-one").addEventListener("click", () => { hands.toggle(); hands.enlarge(); });
  for (const button of document.querySelectorAll("dialog .close")) {
    button.addEventListener("click", () => button.closest("dialog").close());
  }
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });  // beside it
    dialog.addEventListener("close", () => hands.back());
  }
}

function done(event, act) {
  event.preventDefault();
  act();
}

function step(hands, key) {
  hands.move(key);
  hands.enlarge();
}

function inDialog(event, open, hands) {
  if (event.target.tagName === "BUTTON" && ["Enter", " "].includes(event.key)) return null;  // presses it
  if (["Enter", "f", "?"].includes(event.key)) return done(event, () => open.close());
  if (open.id !== "picture") return null;
  if (["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].includes(event.key)) return done(event, () => step(hands, event.key));
  if (event.key === " " && !event.repeat) return done(event, () => { hands.toggle(); hands.enlarge(); });
  return null;
}

function searching(event, hands) {
  if (event.key === "Enter") { at("words").blur(); done(event, hands.found); }
  if (event.key === "Escape") { at("words").blur(); done(event, hands.escape); }
}

// A tap or click selects, with Shift all from the frame to there; a double click or a long press
// enlarges.
export function touch(elements, { tapped, held }) {
  elements.forEach((element, number) => {
    let timer = null, was = false;
    const end = () => { clearTimeout(timer); timer = null; };
    element.addEventListener("pointerdown", (event) => {
      was = false;
      if (event.pointerType === "mouse") return;
      timer = setTimeout(() => { was = true; held(number); }, LONG);
    });
    for (const name of ["pointerup", "pointercancel", "pointerleave"]) element.addEventListener(name, end);
    element.addEventListener("contextmenu", (event) => { if (timer || was) event.preventDefault(); });
    element.addEventListener("click", (event) => { if (was) was = false; else tapped(number, event.shiftKey); });
    element.addEventListener("dblclick", () => held(number));
  });
}
