// The page at /worker: starts and stops threads, and says what they do.

import { tabRoutes } from "../remote/tab-wire.ts";
import type { FromThread, Start } from "./messages.ts";

const secretKey = "braid-worker-secret";
/** The rate is that of the last so many milliseconds. */
const rateMs = 5_000;
const drawMs = 200;

const find = <T extends HTMLElement>(id: string): T => {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
};
const [state, detail] = [find("state"), find("detail")];
const [tasks, bytes, rate] = [find("tasks"), find("bytes"), find("rate")];
const button = find<HTMLButtonElement>("toggle");
const threads = find<HTMLSelectElement>("threads");

type Phase = "idle" | "connecting" | "waiting" | "lost" | "refused" | "stopped";
const words: Record<Phase, readonly [string, string]> = {
  idle: ["Not started", "Start, and this tab merges for the node."],
  connecting: ["Connecting", "This tab shows the node that its kernels are right."],
  waiting: ["Joined", "This tab takes tasks as long as it is open. It may be in the background."],
  lost: ["Connection lost", "It is tried again. Nothing is lost: the node does what this tab had."],
  refused: ["Not taken", ""],
  stopped: ["Stopped", "The node does what this tab had."],
};

let running: Worker[] = [];
let [done, moved] = [0, 0];
let recent: { readonly at: number; readonly bytes: number }[] = [];

/** The secret comes behind the # of the address, which no server sees; then it is taken out of sight. */
function readSecret(): string {
  const given = location.hash.slice(1);
  if (given !== "") {
    sessionStorage.setItem(secretKey, given);
    history.replaceState(null, "", location.pathname);
  }
  return sessionStorage.getItem(secretKey) ?? "";
}

/** The same for all threads of this page, and for as long as it is loaded. */
const id = [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

function show(phase: Phase, more = ""): void {
  const [title, text] = words[phase];
  document.body.dataset.phase = phase;
  state.textContent = title;
  detail.textContent = more || text;
  const on = running.length > 0;
  button.textContent = on ? "Stop" : "Start";
  threads.disabled = on;
}

const shownBytes = (n: number) => (n < 1e9 ? `${(n / 1e6).toFixed(1)} MB` : `${(n / 1e9).toFixed(2)} GB`);

function draw(): void {
  const since = performance.now() - rateMs;
  recent = recent.filter(({ at }) => at >= since);
  const sum = recent.reduce((total, r) => total + r.bytes, 0);
  tasks.textContent = done.toLocaleString("en");
  bytes.textContent = shownBytes(moved);
  rate.textContent = `${shownBytes(sum / (rateMs / 1000))}/s`;
}

function stop(): void {
  for (const worker of running) worker.terminate();
  running = [];
}

function hear(worker: Worker, message: FromThread): void {
  if (!running.includes(worker)) return;
  if (message.type === "done") {
    done++;
    moved += message.bytes;
    recent.push({ at: performance.now(), bytes: message.bytes });
  } else if (message.type === "refused") {
    stop();
    show("refused", `The node says: ${message.message}.`);
  } else show(message.state);
}

function start(): void {
  const secret = readSecret();
  if (!/^[0-9a-f]{64}$/.test(secret)) {
    show("refused", "The address is not whole. Open the one that braid serve printed, with all that is behind the #.");
    return;
  }
  const socket = new URL(tabRoutes.socket, location.href);
  socket.protocol = socket.protocol === "https:" ? "wss:" : "ws:";
  running = Array.from({ length: Number(threads.value) }, () => {
    const worker = new Worker(tabRoutes.thread, { type: "module" });
    worker.onmessage = ({ data }: MessageEvent<FromThread>) => hear(worker, data);
    worker.onerror = () => {
      if (!running.includes(worker)) return;
      stop();
      show("refused", "A thread stopped: this browser may lack WebAssembly SIMD, or memory.");
    };
    worker.postMessage({ socket: socket.href, secret, id } satisfies Start);
    return worker;
  });
  show("connecting");
}

const cores = Math.min(64, navigator.hardwareConcurrency || 1);
for (let n = 1; n <= cores; n++) threads.add(new Option(String(n), String(n)));
button.onclick = () => {
  if (running.length === 0) start();
  else {
    stop();
    show("stopped");
  }
};
// Another address in the same tab: another node, or another start of it.
addEventListener("hashchange", () => {
  stop();
  start();
});
setInterval(draw, drawMs);
draw();
show("idle");
start();
