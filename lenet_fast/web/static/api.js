// Requests to the server and its answers.

import { t } from "./strings.js";

export class Refused extends Error {}

async function ask(path, options) {
  const response = await fetch(path, options).catch(() => {
    throw new Refused(t("first.noServer")); // browsers have different messages for this
  });
  if (response.ok) return response;
  const { error, key, values } = await response.json().catch(() => ({ error: response.statusText }));
  throw new Refused(key ? t(`refused.${key}`, values) : error);
}

async function answer(path, options) {
  return (await ask(path, options)).json();
}

// Return an answer's headers, and its body as an ArrayBuffer.
export async function bytes(path) {
  const response = await ask(path);
  return { headers: response.headers, body: await response.arrayBuffer() };
}

export async function get(path) {
  return answer(path);
}

export async function post(path, body = {}) {
  const headers = { "Content-Type": "application/json" };
  return answer(path, { method: "POST", headers, body: JSON.stringify(body) });
}

// Report every change of the training. The server has a limited number of event streams; without a
// free one it tells the state once, and the browser asks again a second later. A browser has six connections to a server for all its tabs, so
// hidden tabs keep none.
export function listen(tell, lost) {
  let source = null;
  const open = () => {
    source?.close();
    source = document.hidden ? null : new EventSource("/api/events");
    if (!source) return;
    source.onmessage = (event) => tell(JSON.parse(event.data));
    // The stream's time is over, or there was no free one, or it was refused, or the server is gone.
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
