// The pictures: how many fit on the screen, how large, and what is said of each.

const at = (id) => document.getElementById(id);
const MOST = 24;         // a screenful at most
const LEAST = 130;       // pixels that a picture is wide, at least
const LARGEST = 340;     // no thumbnail is wider
const GAP = 8, WORDS = 30;
export const DOUBTFUL = 0.5;

export const isAnswered = (tile) => tile.kind !== null;
export const isDoubtful = (tile) => !isAnswered(tile) && tile.doubt !== null && tile.doubt >= DOUBTFUL;
export const letter = (number) => (number < 26 ? String.fromCharCode(65 + number) : "");

export function called(tile, unknown = "no class") {
  if (tile.kind === "none") return "none of these";
  if (tile.kind === "skip") return "skipped";
  return tile.answer ?? tile.guess ?? unknown;
}

// Columns and rows in which pictures of 4 to 3 are largest, among those that show the most of `count`.
export function fit(count = MOST) {
  const box = at("grid"), style = getComputedStyle(box);
  const width = box.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
  const height = box.clientHeight - parseFloat(style.paddingTop) - parseFloat(style.paddingBottom);
  let best = null;
  for (let columns = 1; columns <= Math.min(MOST, count); columns += 1) {
    for (let rows = 1; rows <= Math.ceil(MOST / columns); rows += 1) {
      const wide = (width - GAP * (columns - 1)) / columns;
      const row = (height - GAP * (rows - 1)) / rows;
      const picture = Math.min(wide, LARGEST, ((row - WORDS) * 4) / 3);
      const shown = Math.min(count, columns * rows);
      if (picture < LEAST) continue;
      if (!best || shown > best.shown || (shown === best.shown && picture >= best.picture)) {
        best = { columns, row, picture, shown };
      }
    }
  }
  // On a tiny screen nothing fits, and one scrolls.
  return best ?? { columns: Math.max(1, Math.floor(width / (LEAST + GAP))), row: LEAST * 0.75 + WORDS, picture: LEAST, shown: 6 };
}

export function lay(count) {
  const { columns, row, picture } = fit(Math.max(1, Math.min(MOST, count)));
  const box = at("grid").style;
  box.setProperty("--columns", String(columns));
  box.setProperty("--wide", `${Math.ceil(LARGEST * 1.1)}px`);
  box.setProperty("--row", `${Math.floor(Math.min(row, picture * 1.1 + WORDS))}px`);
  return columns;
}

export function tileOf(tile, number) {
  const button = document.createElement("button");
  button.className = "tile";
  button.type = "button";
  button.dataset.id = tile.id;
  button.title = tile.place;
  const image = made("img");
  image.alt = "";
  image.draggable = false;
  image.loading = number < MOST ? "eager" : "lazy";
  image.decoding = "async";
  image.src = `image/${encodeURIComponent(tile.id)}`;
  image.addEventListener("error", () => image.replaceWith(made("span", "gone", "cannot be shown any more")));
  const words = made("span", "words");
  words.append(made("span", "name"), made("span", "doubt", tile.doubt === null ? "" : tile.doubt.toFixed(2)));
  words.lastChild.title = "doubt, from 0 to 1";
  button.append(image, words);
  if (letter(number)) button.append(made("kbd", "letter", letter(number)));
  return button;
}

// Draw anew what may have changed of a tile.
export function refresh(element, tile, number, how) {
  element.classList.toggle("framed", how.framed);
  element.classList.toggle("selected", how.selected);
  element.classList.toggle("answered", isAnswered(tile));
  element.classList.toggle("doubtful", isDoubtful(tile));
  element.setAttribute("aria-pressed", String(how.selected));
  element.tabIndex = how.framed ? 0 : -1;
  const name = called(tile, how.unknown);
  element.querySelector(".name").textContent = name;
  element.setAttribute("aria-label", [letter(number), isAnswered(tile) ? `answered: ${name}` : name,
    isDoubtful(tile) ? `in doubt, ${tile.doubt.toFixed(2)}` : "", tile.place].filter(Boolean).join(", "));
}

// When the pictures are there (or cannot be shown), or some seconds have passed.
export function pictures() {
  const open = [...at("grid").querySelectorAll("img[loading=eager]")].filter((image) => !image.complete);
  const all = Promise.all(open.map((image) => new Promise((done) => {
    image.addEventListener("load", done);
    image.addEventListener("error", done);
  })));
  return Promise.race([all, new Promise((done) => setTimeout(done, 4000))]);
}

// Why an image is in doubt, as far as it is known.
export function reasons(tile) {
  const known = [];
  if (tile.doubt !== null) known.push(`doubt ${tile.doubt.toFixed(2)}`);
  if (tile.plain && tile.plain !== tile.guess) known.push(`the words alone say ${tile.plain}`);
  if (tile.unlike !== null && tile.unlike >= 0.5) known.push(`unlike all classes: ${tile.unlike.toFixed(2)}`);
  return known;
}

// Show one large, with what is known of it.
export function enlarged(tile, known, isSelected) {
  at("large").src = `image/${encodeURIComponent(tile.id)}?large=1`;
  at("large").alt = tile.place;
  at("about").textContent = known.join(" · ");
  at("select-one").querySelector("span").textContent = isSelected ? "selected" : "select";
  at("select-one").setAttribute("aria-pressed", String(isSelected));
  if (!at("picture").open) at("picture").showModal();
}

export function made(tag, name, words) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (words !== undefined) element.textContent = words;
  return element;
}
