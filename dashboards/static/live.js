/** What happens to a search, as it happens: server-sent events, and asking again and again where those do not come. */

import { address, get, searchPath, withQuery } from "./api.js";

const POLL_MILLISECONDS = 2000;
// Errors in a row, without an event between, after which the stream is given up.
const MOST_ERRORS = 3;
const KINDS = ["state", "progress", "submitted"];

/** Follow a search until `signal` aborts; `listener` gets the kind and the body of every event. */
export function follow(id, listener, signal) {
  const follower = new Follower(id, listener, signal);
  signal.addEventListener("abort", () => follower.stop());
  document.addEventListener("visibilitychange", () => follower.start(), { signal });
  follower.start();
}

class Follower {
  constructor(id, listener, signal) {
    Object.assign(this, { id, listener, signal, last: 0, errors: 0, source: null, timer: null });
  }

  /** A hidden page holds no connection: a browser has few of them for one host. */
  start() {
    this.stop();
    if (this.signal.aborted || document.hidden) return;
    if (this.errors < MOST_ERRORS && "EventSource" in window) this.stream();
    else this.poll();
  }

  stop() {
    this.source?.close();
    clearTimeout(this.timer);
    this.source = this.timer = null;
  }

  stream() {
    this.source = new EventSource(address(withQuery(searchPath(this.id, "/events"), { after: this.last || null })));
    for (const kind of KINDS) this.source.addEventListener(kind, (event) => this.receive(kind, event));
    this.source.onerror = () => this.fail();
  }

  receive(kind, event) {
    this.errors = 0;
    this.last = Math.max(this.last, Number(event.lastEventId) || 0);
    this.listener(kind, JSON.parse(event.data));
  }

  fail() {
    this.errors += 1;
    if (this.errors >= MOST_ERRORS || this.source?.readyState === EventSource.CLOSED) {
      this.errors = MOST_ERRORS;
      this.start();
    }
  }

  async poll() {
    try {
      const answer = await get(withQuery(searchPath(this.id, "/events"), { after: this.last }), this.signal);
      for (const event of answer.events) this.listener(event.kind, event.body);
      this.last = answer.last ?? this.last;
    } catch (error) {
      if (error.name === "AbortError") return;
      this.listener("lost", { detail: error.message });
    }
    if (!this.signal.aborted && !document.hidden) this.timer = setTimeout(() => this.poll(), POLL_MILLISECONDS);
  }
}

/**
 * Return a function that calls `work` at once, and then at most every so many milliseconds; the last call is kept.
 * Work that takes longer is waited for, so that what it asked for never comes after what was asked later.
 */
export function atMostEvery(milliseconds, work, signal) {
  let [timer, before, busy, wanted] = [null, 0, false, false];
  const call = () => {
    if (busy) wanted = true;
    else if (timer === null) timer = setTimeout(run, Math.max(0, before ? before + milliseconds - performance.now() : 0));
  };
  const run = async () => {
    [timer, before, busy, wanted] = [null, performance.now(), true, false];
    try {
      if (!signal.aborted) await work();
    } finally {
      busy = false;
      if (wanted) call();
    }
  };
  return call;
}
