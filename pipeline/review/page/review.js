// The review page. Names of classes and files come from anybody: they are only ever textContent.

const at = (id) => document.getElementById(id);
const who = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);
const FILTERS = { state: "state-filter", class: "class-filter", doubt: "doubt", split: "split",
                  moved: "moved", source: "source" };

let tiles = [];          // what is on the screen, as the server said it
let selected = new Set();
let framed = 0;
let classes = [];
let like = null;         // id of the image that more are wanted of
let start = 0;           // in lists: number of the first
let screenful = 24;
let busy = false;
let waiting = false;     // filters were changed while something else was done
let audit = null;        // how many images an audit asks about; null: answers are to teach
let undone = false;      // the screen shows what an undo opened again

async function call(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    throw new Error("The server does not answer. Nothing was saved; start `clip2yolo review` again.");
  }
  const said = await answer.json().catch(() => null);
  if (!answer.ok) throw new Error(said?.error ?? "The server refused. Open the address it printed.");
  return said;
}

// One thing at a time, so that no key is taken for the next screenful's. What another list is asked
// for with is not lost: the last of it is done afterwards.
async function doing(work) {
  if (busy) {
    if (work === load) waiting = true;
    return;
  }
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    notice(error.message);
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
  }
  if (waiting) {
    waiting = false;
    await doing(load);
  }
}

function notice(words) {
  at("notice").textContent = words ?? "";
  at("notice").hidden = !words;
}

function made(tag, name, words) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (words !== undefined) element.textContent = words;
  return element;
}

const isList = () => Boolean(like || at("words").value.trim() || !["open", "teach"].includes(at("state-filter").value));
const isAnswered = (tile) => tile.kind !== null;
const openOnes = () => tiles.filter((tile) => !isAnswered(tile));

function called(tile) {
  if (tile.kind === "none") return "none of these";
  if (tile.kind === "skip") return "skipped";
  return tile.answer ?? tile.guess ?? (audit === null ? "no class" : "?");
}

async function load() {
  const asked = new URLSearchParams();
  for (const [key, id] of Object.entries(FILTERS)) if (at(id).value) asked.set(key, at(id).value);
  const words = at("words").value.trim();
  if (like) asked.set("like", like); else if (words) asked.set("words", words);
  asked.set("start", String(start));
  let said = await call(`api/screen?${asked}`);
  while (said.wait) {
    at("question").textContent = "Working out what to ask next …";
    await new Promise((done) => setTimeout(done, 300));
    said = await call(`api/screen?${asked}`);
  }
  show(said.tiles);
}

function show(fresh) {
  tiles = fresh;
  undone = false;
  selected = new Set();
  framed = 0;
  draw();
  window.scrollTo(0, 0);
}

function draw() {
  const grid = at("grid");
  grid.replaceChildren(...tiles.map(tileOf));
  if (!tiles.length) {
    const words = audit !== null ? "All that was drawn is answered. Go on with: clip2yolo audit"
      : at("state-filter").value === "teach" ? "Nothing is chosen here. Widen the filters, or press t for what is open."
      : isList() ? "Nothing more is found here. Esc leaves the list."
      : "Nothing is open here. Widen the filters, or go on with: clip2yolo label";
    grid.append(made("p", "empty", words));
  }
  ask();
  mark();
}

function tileOf(tile, number) {
  const button = made("button", "tile");
  button.type = "button";
  button.dataset.id = tile.id;
  button.title = tile.place;
  const image = made("img");
  image.alt = tile.place;
  image.loading = "lazy";
  image.decoding = "async";
  image.src = `image/${encodeURIComponent(tile.id)}`;
  image.addEventListener("error", () => image.replaceWith(made("span", "gone", "cannot be shown any more")));
  const words = made("span", "words");
  words.append(made("span", "name", called(tile)), made("span", "doubt", tile.doubt === null ? "" : tile.doubt.toFixed(2)));
  words.lastChild.title = "doubt, from 0 to 1";
  button.append(image, words);
  button.addEventListener("click", () => { framed = number; toggle(number); });
  button.addEventListener("dblclick", () => { framed = number; enlarge(); });
  return button;
}

function mark() {
  [...at("grid").querySelectorAll(".tile")].forEach((element, number) => {
    const tile = tiles[number];
    element.classList.toggle("framed", number === framed);
    element.classList.toggle("selected", selected.has(tile.id));
    element.classList.toggle("answered", isAnswered(tile));
    element.setAttribute("aria-pressed", String(selected.has(tile.id)));
    element.querySelector(".name").textContent = called(tile);
  });
  const left = openOnes().length;
  const names = new Set(openOnes().map((tile) => tile.guess));
  const button = at("accept");
  button.replaceChildren(made("kbd", "", "Enter"));
  if (!left) button.append("next screenful");
  else if (audit !== null) button.append(`${left} to say; s skips what cannot be said`);
  else if (names.size === 1) button.append(left === 1 ? `it is ${[...names][0]}` : `all ${left} are ${[...names][0]}`);
  else button.append(`all ${left} are what they are called`);
  button.disabled = !tiles.length || (audit !== null && left > 0);
  at("earlier").hidden = !isList() || start === 0;
  at("later").hidden = !isList() || tiles.length < screenful;
}

function ask() {
  const title = at("question");
  const names = [...new Set(tiles.map((tile) => tile.guess))];
  title.replaceChildren();
  if (!tiles.length) title.textContent = "All done here";
  else if (audit !== null) title.textContent = "Audit: what does each show?";
  else if (undone) title.textContent = "Taken back: what are these?";
  else if (like) title.textContent = "More like the picture you chose";
  else if (at("words").value.trim()) title.append("Found by ", made("em", "", at("words").value.trim()));
  else if (at("state-filter").value === "teach") title.textContent = "These teach most: is each what it is called?";
  else if (isList()) title.textContent = "Most doubtful first";
  else if (names.length === 1) title.append(tiles.length === 1 ? "Is this " : "Are these all ", made("em", "", names[0] ?? "without a class"), "?");
  else title.textContent = "Is each what it is called?";
}

function tell(said) {
  classes = said.classes;
  const parts = [`${said.answered.toLocaleString("en")} answered`];
  if (audit !== null) parts[0] += ` of ${audit.toLocaleString("en")} drawn`;
  else if (said.trouble) parts.push("labels are not refined");
  else if (!said.ready) parts.push("loading the teacher …");
  else if (said.busy) parts.push("refining …");
  else {
    parts.push(`${said.moved.toLocaleString("en")} labels moved by your answers`);
    if (said.accuracy) {
      const share = (value) => `${(100 * value).toFixed(1)}`;
      parts.push(`${share(said.accuracy.value)} % right by the audit (${share(said.accuracy.low)}–${share(said.accuracy.high)})`);
    }
    if (said.enough) parts.push("enough: one more minute would change next to nothing");
    else if (said.gain !== null) parts.push(`one more minute: about ${Math.round(said.gain).toLocaleString("en")} labels put right`);
  }
  at("state").textContent = parts.join(" · ");
  at("state").title = said.trouble ?? "";
  const box = at("classes");
  box.replaceChildren(...classes.map((one, number) => {
    const button = made("button");
    button.type = "button";
    if (number < 9) button.append(made("kbd", "", String(number + 1)));
    button.append(one.name);
    if (audit === null) {
      button.append(made("span", "count", one.images.toLocaleString("en")));
      button.title = `${one.images} images are called so, ${one.open} of them open`;
    }
    button.addEventListener("click", () => give("class", one.name));
    return button;
  }));
  const filter = at("class-filter");
  const chosen = filter.value;
  const options = [new Option("any class", ""), ...classes.filter((one) => one.images).map((one) => new Option(one.name, one.name))];
  filter.replaceChildren(...options);
  filter.value = chosen;
  if (filter.selectedIndex < 0) filter.value = "";
}

const answerOf = (tile, kind, name) => ({ id: tile.id, kind, class: name, seen: tile.act });

async function send(answers) {
  const said = await call("api/answer", { who, answers });
  const fresh = new Map(said.tiles.map((tile) => [tile.id, tile]));
  tiles = tiles.map((tile) => fresh.get(tile.id) ?? tile);
  tell(said);
  const others = said.conflicts.length;
  notice(others ? `Somebody else had answered about ${others === 1 ? "one" : others} of these meanwhile (${called({ kind: said.conflicts[0].kind, answer: said.conflicts[0].class_name })}). Both answers are kept, yours stands; u takes it back.` : "");
}

// What is selected, or what has the frame, gets an answer.
function give(kind, name = null, all = false) {
  return doing(async () => {
    let some = tiles.filter((tile) => selected.has(tile.id));
    if (all) some = openOnes();
    else if (!some.length && tiles[framed]) some = [tiles[framed]];
    if (!some.length) return;
    await send(some.map((tile) => answerOf(tile, kind, name)));
    selected = new Set();
    if (!openOnes().length && !isList()) return load();
    const next = tiles.findIndex((tile, number) => number > framed && !isAnswered(tile));
    framed = next >= 0 ? next : Math.max(0, tiles.findIndex((tile) => !isAnswered(tile)));
    mark();
  });
}

function accept() {
  return doing(async () => {
    const some = openOnes().filter((tile) => tile.guess !== null);
    if (audit !== null && openOnes().length) return;
    if (some.length) await send(some.map((tile) => answerOf(tile, "class", tile.guess)));
    if (isList() && ["answered", "all"].includes(at("state-filter").value)) start += screenful;
    await load();
  });
}

function undo() {
  return doing(async () => {
    const said = await call("api/undo", { who });
    tell(said);
    if (said.theirs) notice(`${said.theirs} of these have another's answer by now, which stays.`);
    else notice(said.tiles.length ? "" : "There is nothing of yours to take back.");
    if (!said.tiles.length) return;
    show(said.tiles);
    undone = true;
    ask();
  });
}

function toggle(number) {
  const tile = tiles[number];
  if (!tile) return;
  if (!selected.delete(tile.id)) selected.add(tile.id);
  mark();
}

function selectAll() {
  selected = selected.size ? new Set() : new Set(openOnes().map((tile) => tile.id));
  mark();
}

function turn(by) {
  if (!isList()) return;
  start = Math.max(0, start + by * screenful);
  doing(load);
}

function move(key) {
  const elements = [...at("grid").querySelectorAll(".tile")];
  if (!elements.length) return;
  const columns = elements.filter((element) => element.offsetTop === elements[0].offsetTop).length;
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  if (framed + step >= 0 && framed + step < elements.length) framed += step;
  mark();
  elements[framed].scrollIntoView({ block: "nearest" });
}

function enlarge() {
  const tile = tiles[framed];
  if (!tile) return;
  at("large").src = `image/${encodeURIComponent(tile.id)}?large=1`;
  at("large").alt = tile.place;
  at("about").textContent = `${tile.place} · ${called(tile)}${tile.doubt === null ? "" : ` · doubt ${tile.doubt.toFixed(2)}`}${tile.moved ? " · moved by the batch" : ""}`;
  at("picture").showModal();
}

function more() {
  const tile = tiles[framed];
  if (!tile || audit !== null) return;
  like = tile.id;
  start = 0;
  doing(load);
}

function teach() {
  if (audit !== null) return;
  const filter = at("state-filter");
  filter.value = filter.value === "teach" ? "open" : "teach";
  like = null;
  start = 0;
  at("words").value = "";
  doing(load);
}

function leave() {
  if (selected.size) { selected = new Set(); return mark(); }
  if (!isList()) return;
  like = null;
  start = 0;
  at("words").value = "";
  at("state-filter").value = "open";
  notice("");
  doing(load);
}

// The chooser: classes that hold what is typed, and what is typed as a new one.
let offered = [];
let marked = 0;

function offer() {
  const typed = at("typed").value.trim();
  const low = typed.toLowerCase();
  const names = classes.map((one) => one.name);
  const begins = names.filter((name) => name.toLowerCase().startsWith(low));
  const holds = names.filter((name) => !begins.includes(name) && name.toLowerCase().includes(low));
  offered = [...begins, ...holds].map((name) => ({ name, words: name }));
  if (typed && !names.includes(typed)) offered.push({ name: typed, words: `new class: ${typed}` });
  marked = Math.min(marked, Math.max(0, offered.length - 1));
  at("matches").replaceChildren(...offered.map((one, number) => {
    const item = made("li");
    const button = made("button", number === marked ? "marked" : "", one.words);
    button.type = "button";
    button.tabIndex = -1;
    button.addEventListener("click", () => choose(number));
    item.append(button);
    return item;
  }));
}

function choose(number) {
  const one = offered[number];
  at("chooser").close();
  if (one) give("class", one.name);
}

function pick() {
  at("typed").value = "";
  marked = 0;
  offer();
  at("chooser").showModal();
  at("typed").focus();
}

at("typed").addEventListener("input", () => { marked = 0; offer(); });
at("typed").addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") marked = Math.min(offered.length - 1, marked + 1);
  else if (event.key === "ArrowUp") marked = Math.max(0, marked - 1);
  else if (event.key === "Enter") { event.preventDefault(); return choose(marked); }
  else return;
  event.preventDefault();
  offer();
  at("matches").children[marked]?.scrollIntoView({ block: "nearest" });
});

const KEYS = {
  Enter: accept, c: pick, 0: () => give("none"), s: () => give("skip"),
  S: () => give("skip", null, true), a: selectAll, u: undo, z: undo, m: more, f: enlarge,
  " ": () => toggle(framed), t: teach, Escape: leave, PageDown: () => turn(1), PageUp: () => turn(-1),
  "/": () => { at("words").focus(); at("words").select(); }, "?": () => at("keys").showModal(),
};

document.addEventListener("keydown", (event) => {
  const open = document.querySelector("dialog[open]");
  if (open) {
    if (open.id !== "chooser" && ["Enter", "f", "?"].includes(event.key)) { event.preventDefault(); open.close(); }
    return;
  }
  if (event.target === at("words")) {
    if (event.key === "Enter") { event.preventDefault(); at("words").blur(); like = null; start = 0; doing(load); }
    if (event.key === "Escape") { at("words").blur(); leave(); }
    return;
  }
  if (event.target.tagName === "SELECT" || event.ctrlKey || event.metaKey || event.altKey) return;
  // A key that is held down answers once: the next screenful is to be looked at.
  if (event.repeat && !event.key.startsWith("Arrow")) return event.preventDefault();
  if (event.key.startsWith("Arrow")) { event.preventDefault(); return move(event.key); }
  if (/^[1-9]$/.test(event.key)) {
    const one = classes[Number(event.key) - 1];
    if (one) { event.preventDefault(); give("class", one.name); }
    return;
  }
  const act = KEYS[event.key];
  if (act) { event.preventDefault(); act(); }
});

at("filters").addEventListener("submit", (event) => event.preventDefault());
for (const id of Object.values(FILTERS)) {
  at(id).addEventListener("change", () => { at(id).blur(); start = 0; doing(load); });
}
at("words").addEventListener("search", () => { if (!at("words").value) { start = 0; doing(load); } });
const BUTTONS = { accept, pick, none: () => give("none"), skip: () => give("skip"),
                  "select-all": selectAll, undo, like: more, enlarge, teach, earlier: () => turn(-1),
                  later: () => turn(1), help: () => at("keys").showModal() };
for (const [id, act] of Object.entries(BUTTONS)) at(id).addEventListener("click", () => act());

async function watch() {
  if (!document.hidden && !busy) {
    try {
      tell(await call("api/status"));
    } catch (error) {
      notice(error.message);
    }
  }
  setTimeout(watch, 3000);
}

doing(async () => {
  const said = await call("api/start");
  screenful = said.screenful;
  audit = said.audit;
  if (audit !== null) for (const id of ["filters", "like", "teach"]) at(id).hidden = true;
  document.title = `${said.images.toLocaleString("en")} images · clip2yolo review`;
  at("source").replaceChildren(new Option("anywhere", ""), ...said.sources.map((name) => new Option(name.length > 40 ? `…${name.slice(-39)}` : name, name)));
  at("source-label").hidden = !said.sources.length;
  at("like").hidden = !said.compares || audit !== null;
  tell(said);
  await load();
}).then(() => setTimeout(watch, 3000));
