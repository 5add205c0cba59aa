"use strict";
/* The page: pictures come in by choosing, dropping, pasting, and from the camera. */

const KEPT = 60; // answered pictures on the page

const at = (id) => document.getElementById(id);
let student;
let waiting = Promise.resolve(); // one picture after the other

document.addEventListener("DOMContentLoaded", start);

async function start() {
  try {
    student = await openStudent();
  } catch (error) {
    at("state").hidden = true;
    at("trouble").textContent = wordsOf(error, "The model cannot be opened");
    at("trouble").hidden = false;
    return;
  }
  at("state").textContent = "Ready.";
  describe(student);
  for (const button of document.querySelectorAll("#ways button")) button.disabled = false;
  at("choose").addEventListener("click", () => at("files").click());
  at("files").addEventListener("change", () => {
    take(at("files").files);
    at("files").value = ""; // so that the same file may be chosen again
  });
  takeDrops();
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  at("clear").addEventListener("click", clear);
  new Camera(student, take);
}

/* Sentences of our own as they are, and anything else after a beginning. */
function wordsOf(error, beginning) {
  if (error instanceof Told) return error.message;
  return `${beginning} (${String(error.message || error).replace(/[.]$/, "")}).`;
}

function takeDrops() {
  let depth = 0; // elements that the pointer is over
  const over = (event) => event.dataTransfer.types.includes("Files");
  addEventListener("dragenter", (event) => {
    if (!over(event)) return;
    depth += 1;
    document.body.classList.add("dragged");
  });
  addEventListener("dragleave", (event) => {
    if (!over(event)) return;
    depth -= 1;
    if (depth <= 0) document.body.classList.remove("dragged");
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    document.body.classList.remove("dragged");
    take(event.dataTransfer.files);
  });
}

/* Answers files in their order; each stands on the page at once. */
function take(files) {
  for (const file of files) {
    const card = cardOf(file);
    waiting = waiting.then(() => answered(file, card));
  }
  while (at("cards").children.length > KEPT) drop(at("cards").lastElementChild);
}

function cardOf(file) {
  const address = URL.createObjectURL(file);
  const image = element("img", { src: address, alt: "" });
  const name = element("p", { className: "file" }, named(file.name));
  const said = element("div", { className: "said" }, element("p", { className: "soft" }, "Waiting …"));
  const card = element("li", { className: "card" }, image, element("div", {}, name, said));
  image.addEventListener("error", () => image.remove());
  card.address = address;
  at("cards").prepend(card);
  at("answered").hidden = false;
  return card;
}

async function answered(file, card) {
  if (!card.isConnected) return; // taken away meanwhile
  const said = card.querySelector(".said");
  document.body.setAttribute("aria-busy", "true");
  await new Promise((resolve) => setTimeout(resolve)); // let the page be drawn
  try {
    const picture = await pictureOfFile(file);
    const answer = await student.answer(picture);
    picture.close();
    said.replaceChildren(...linesOf(answer), moreOf(answer), timeOf(answer, picture));
    at("state").textContent = `${file.name}: ${sentenceOf(answer)}`;
  } catch (error) {
    const words = wordsOf(error, "It cannot be answered");
    said.replaceChildren(element("p", { className: "bad" }, words));
    at("state").textContent = `${file.name}: ${words}`;
  }
  document.body.removeAttribute("aria-busy");
}

function moreOf(answer) {
  const { length } = answer.answers;
  if (length <= SHOWN) return "";
  const more = element("button", { type: "button", className: "more" }, `all ${length} classes`);
  more.addEventListener("click", () => {
    more.previousElementSibling.replaceWith(linesOf(answer, length)[1]);
    more.remove();
  });
  return more;
}

function timeOf(answer, picture) {
  const words = `${picture.width} × ${picture.height} pixels, ${answer.took.toFixed(0)} ms`;
  return element("p", { className: "soft" }, words);
}

function drop(card) {
  URL.revokeObjectURL(card.address);
  card.remove();
}

function clear() {
  for (const card of [...at("cards").children]) drop(card);
  at("answered").hidden = true;
  at("state").textContent = "Ready.";
  at("choose").focus();
}

/* What this page is of. */
function describe({ labels, proof }) {
  const { format, precision, imgsz, fit, classes, none, student: digest } = labels;
  const facts = [
    ["model", `${format}, ${precision}, ${imgsz} × ${imgsz} pixels, ${fit}`],
    ["none of these", none ? `from ${none.threshold.toFixed(3)} on` : "is never the answer"],
    ["proof", proof || "none"],
    ["student", String(digest).slice(0, 12)],
  ];
  for (const [term, words] of facts) {
    at("facts").append(element("dt", {}, term), element("dd", {}, words));
  }
  at("count").textContent = classes.length === 1 ? "1 class" : `${classes.length} classes`;
  for (const name of classes) at("classes").append(element("li", {}, named(name)));
  at("about").hidden = false;
}
