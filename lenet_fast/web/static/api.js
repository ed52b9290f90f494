// What goes to the server and comes back.

export class Refused extends Error {}

async function answer(response) {
  const body = await response.json().catch(() => ({ error: response.statusText }));
  if (!response.ok) throw new Refused(body.error);
  return body;
}

export async function get(path) {
  return answer(await fetch(path));
}

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(body) }));
}

// Tell of every change of the training. There is room for so many listeners only: who finds none
// asks once, and tries again.
export function listen(tell, lost) {
  const source = new EventSource("/api/events");
  source.onmessage = (event) => tell(JSON.parse(event.data));
  source.onerror = async () => {
    if (source.readyState !== EventSource.CLOSED) return;
    try {
      tell(await get("/api/training"));
    } catch (error) {
      lost(error);
    }
    setTimeout(() => listen(tell, lost), 1000);
  };
}
