// What the server says of the whole run: classes, progress, and what another minute would bring.

import { made } from "./tiles.js";

const at = (id) => document.getElementById(id);
const whole = (number) => number.toLocaleString("en");

export const run = { classes: [], images: 0, audit: null, edition: null };

// Takes what was said; `give` is called with the class whose button is pressed. Returns whether the
// labels were made anew meanwhile.
export function tell(said, give) {
  const anew = run.edition !== null && said.edition !== run.edition;
  run.edition = said.edition;
  run.images = said.images;
  const trouble = [said.trouble && `Labels are not refined now: ${said.trouble}`, said.note].filter(Boolean).join(" ");
  if (at("trouble").textContent !== trouble) at("trouble").textContent = trouble;
  at("trouble").hidden = !trouble;
  at("state").textContent = sentence(said).join(" · ");
  document.title = `${whole(said.answered)} of ${whole(run.audit ?? run.images)} answered · clip2yolo review`;
  if (said.sources) sources(said.sources);
  // What has not changed is left alone: a button may be under a finger.
  if (JSON.stringify(said.classes) !== JSON.stringify(run.classes)) {
    run.classes = said.classes;
    buttons(give);
    const others = run.classes.filter((one) => one.images || one.name === at("class-filter").value).map((one) => new Option(one.name, one.name));
    options(at("class-filter"), [new Option("any class", ""), ...others]);
  }
  return anew;
}

function sentence(said) {
  const parts = [`${whole(said.answered)} of ${whole(run.audit ?? run.images)} answered`];
  if (run.audit !== null) return parts;
  if (said.trouble) return [...parts, "labels are not refined"];
  if (!said.ready) return [...parts, "loading the teacher …"];
  const first = said.busy && said.gain === null && !said.moved;
  if (first) return [...parts, "refining …"];
  parts.push(`${whole(said.moved)} labels moved by your answers`);
  if (said.accuracy) {
    const share = (value) => `${(100 * value).toFixed(1)}`;
    parts.push(`${share(said.accuracy.value)} % right by the audit (${share(said.accuracy.low)}–${share(said.accuracy.high)})`);
  }
  if (said.enough) parts.push("enough: one more minute would change next to nothing");
  else if (said.gain !== null) parts.push(`one more minute: about ${whole(Math.round(said.gain))} labels put right`);
  if (said.busy) parts.push("refining …");
  return parts;
}

function buttons(give) {
  at("classes").replaceChildren(...run.classes.map((one, number) => {
    const button = made("button");
    button.type = "button";
    button.append(made("kbd", "", number < 9 ? String(number + 1) : number === 9 ? "0" : `c${number + 1}`), one.name);
    if (run.audit === null && one.images) {
      const looked = one.images - one.open;
      button.append(made("span", "count", `${whole(looked)}/${whole(one.images)}`));
      button.classList.toggle("done", !one.open);
      button.title = `${one.name}: ${whole(looked)} of the ${whole(one.images)} images that are called so are looked at`;
    }
    button.addEventListener("click", () => give(one.name));
    return button;
  }));
}

// How far one class is, where the screen shows one.
export function looked(name) {
  const one = run.classes.find((known) => known.name === name);
  at("looked").hidden = !one || !one.images;
  if (!one) return;
  at("bar").max = Math.max(1, one.images);
  at("bar").value = one.images - one.open;
  at("bar").setAttribute("aria-label", `looked at of ${name}`);
  at("bar-words").textContent = `${whole(one.images - one.open)} of ${whole(one.images)} ${name} looked at`;
}

function sources(names) {
  const short = (name) => (name.length > 40 ? `…${name.slice(-39)}` : name);
  options(at("source"), [new Option("anywhere", ""), ...names.map((name) => new Option(short(name), name))]);
  at("source-label").hidden = !names.length;
}

function options(select, wanted) {
  const chosen = select.value;
  const same = wanted.length === select.options.length && wanted.every((one, number) => one.value === select.options[number].value);
  if (same) return;
  select.replaceChildren(...wanted);
  select.value = chosen;
  if (select.selectedIndex < 0) select.value = "";
}
