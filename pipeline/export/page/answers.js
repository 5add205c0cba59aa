"use strict";
/* What was answered, as it is shown. Names of classes and files are text and nothing else. */

const SHOWN = 5; // classes of a picture
const NONE = "none of these";

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function percent(share) {
  return `${(share * 100).toFixed(1)} %`;
}

/* One line: what it is, and how sure that is. */
function sentenceOf({ answers, none, unlike }) {
  if (none) return `${NONE}: unlike any of them (${unlike.toFixed(3)})`;
  return `${answers[0].name}, ${percent(answers[0].probability)}`;
}

/* The answer as elements, to be put wherever it is shown. */
function linesOf(answer, all = SHOWN) {
  const { answers, none, unlike } = answer;
  const headline = none
    ? [NONE, element("small", {}, ` unlike any of them, ${unlike.toFixed(3)}`)]
    : [named(answers[0].name)];
  const list = element("ol", { className: "shares" });
  for (const one of answers.slice(0, all)) {
    const bar = element("span", { className: "bar" });
    bar.style.setProperty("--share", one.probability);
    const value = element("data", { value: String(one.probability) }, percent(one.probability));
    list.append(element("li", {}, named(one.name), value, bar));
  }
  return [element("p", { className: none ? "best none" : "best" }, ...headline), list];
}

/* A name that reads from left to right or from right to left, whatever stands around it. */
function named(text) {
  return element("bdi", { className: "name", title: text }, text);
}
