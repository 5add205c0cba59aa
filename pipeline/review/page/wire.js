// Talks to the server, and knows whether it is there. An answer is saved when the server has said
// so, and not before: nothing is kept here to be sent later.

const at = (id) => document.getElementById(id);
const AWAY = "The server does not answer, and nothing is saved while this stands here. The page goes on by "
  + "itself when it is back; where it has ended, start `clip2yolo review` again and open the address it prints.";
const ANEW = "The server was started anew. Open the address that it printed; the answers that it had taken are on its disk.";

export const aware = { who: "", gone: false, unsure: false };

// Who answers: a tab, which stays the same when it is loaded again, so that its answers can be undone.
// A copy of a tab copies its name too: the one that comes second takes another.
export async function identify() {
  const fresh = crypto.randomUUID ? crypto.randomUUID() : String(Math.random()).slice(2);
  let known = null;
  try { known = sessionStorage.getItem("who"); } catch { /* the browser keeps nothing */ }
  aware.who = known && (await isFree(known) || await isFree(known, 150)) ? known : fresh;
  if (aware.who === fresh) await isFree(fresh);
  try { sessionStorage.setItem("who", aware.who); } catch { /* likewise */ }
}

// Whether no other tab has the name; from then on this one has it, until it is closed.
async function isFree(name, after = 0) {
  if (!navigator.locks) return true;
  if (after) await new Promise((done) => setTimeout(done, after));
  return new Promise((done) => {
    navigator.locks.request(name, { ifAvailable: true }, (lock) => {
      done(Boolean(lock));
      return lock ? new Promise(() => {}) : null;
    }).catch(() => done(true));
  });
}

function banner(words) {
  aware.gone = Boolean(words);
  document.body.classList.toggle("gone", aware.gone);
  if (at("banner").textContent !== (words ?? "")) at("banner").textContent = words ?? "";
  at("banner").hidden = !words;
}

export async function call(path, body) {
  let answer;
  try {
    answer = await fetch(path, body === undefined ? {} : {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
  } catch {
    const before = aware.gone;
    banner(AWAY);
    if (body === undefined) throw new Error("");
    aware.unsure = true;
    throw new Error(before ? "Not saved: the server does not answer."
      : "That is not known to be saved: the server went away. When it is back, the page shows what it has.");
  }
  const said = await answer.json().catch(() => null);
  if (said === null) {
    banner(answer.ok ? AWAY : ANEW);
    throw new Error("");
  }
  banner(null);
  if (!answer.ok) throw new Error(said.error ?? "The server refused this.");
  return said;
}
