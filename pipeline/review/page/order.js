// One thing at a time, so that no key is taken for the next screenful's.

let busy = false;
let next = null;

export const isBusy = () => busy;

// waits: where something else is being done, this is done after it, the last of such alone; other
// work is left undone then. failed: told why it failed.
export async function oneAtATime(work, waits, failed) {
  if (busy) {
    if (waits) next = work;
    return;
  }
  busy = true;
  document.body.setAttribute("aria-busy", "true");
  try {
    await work();
  } catch (error) {
    if (error.message) failed(error.message);
  } finally {
    busy = false;
    document.body.removeAttribute("aria-busy");
  }
  if (!next) return;
  const then = next;
  next = null;
  await oneAtATime(then, waits, failed);
}
