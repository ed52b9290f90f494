// What goes to the server and comes back.

export class Refused extends Error {}

async function answer(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw new Refused("The server does not answer."); // browsers have words of their own for it
  });
  const body = await response.json().catch(() => ({ error: response.statusText }));
  if (!response.ok) throw new Refused(body.error);
  return body;
}

export async function get(path) {
  return answer(path);
}

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return answer(path, { method: "POST", headers, body: JSON.stringify(body) });
}

// Tell of every change of the training. There is room for so many listeners only: who finds none
// asks once, and tries again. A browser has six connections to a server, for all of its tabs, so
// those that nobody sees keep none.
export function listen(tell, lost) {
  let source = null;
  const open = () => {
    source?.close();
    source = document.hidden ? null : new EventSource("/api/events");
    if (!source) return;
    source.onmessage = (event) => tell(JSON.parse(event.data));
    // Either the stream has had its time, or there was no room, or nobody is there any more.
    source.onerror = async ({ target }) => {
      const refused = target.readyState === EventSource.CLOSED;
      try {
        tell(await get("/api/training"));
      } catch (error) {
        lost(error);
      }
      if (refused) setTimeout(() => { if (target === source) open(); }, 1000);
    };
  };
  document.addEventListener("visibilitychange", open);
  open();
}
