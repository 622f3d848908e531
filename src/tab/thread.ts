// A thread of the page: one kernel, one memory, one socket to the node. It does tasks one after the other.

import { compileKernel, kernelSha256 } from "../kernel/kernel.ts";
import { decodeFrame, encodeFrame } from "../remote/frame.ts";
import { createInlineKernels } from "../remote/kernels.ts";
import { frameOverhead, nodeLimits } from "../remote/limits.ts";
import { rangeBytes, rangesFault } from "../remote/ranges.ts";
import { joinProof, type NodeText, type TabResult, type TabTask, tabProtocol } from "../remote/tab-wire.ts";
import { outputBytes, taskFault } from "../remote/wire.ts";
import type { FromThread, Start } from "./messages.ts";

/** What a thread's kernel may use for tensors: as much as a worker of a node. */
const workerBytes = nodeLimits.workerBytes;
/** After a lost connection it is tried again, later each time. */
const retryMs = 1_000;
const maxRetryMs = 30_000;

const scope = globalThis as unknown as {
  postMessage(message: FromThread): void;
  onmessage: ((event: MessageEvent<Start>) => void) | null;
};
const now = () => performance.now();
const say = (message: FromThread) => scope.postMessage(message);
const never = new AbortController().signal;

const kernels = createInlineKernels({ module: compileKernel(), workerBytes, now });

async function work(message: TabTask): Promise<TabResult> {
  const { lease, task, ranges, bytes } = message;
  const none = { lease, slice: null, receipt: null, output: new Uint8Array() };
  const fault = taskFault(task) ?? rangesFault(ranges);
  if (fault) return { ...none, fault };
  if (bytes.length !== rangeBytes(ranges) || outputBytes(task) > nodeLimits.sliceBytes)
    return { ...none, fault: "its bytes are not those of its ranges" };
  try {
    const started = now();
    const { receipt, output } = await kernels.run(task, { ranges, bytes }, never);
    say({ type: "done", bytes: bytes.length + output.length, ms: now() - started });
    return { lease, slice: { kind: task.kind, first: task.first, count: task.count }, receipt, output, fault: null };
  } catch (error) {
    return { ...none, fault: error instanceof Error ? error.message : "no reason" };
  }
}

function connect(start: Start, tries: number): void {
  const socket = new WebSocket(start.socket);
  socket.binaryType = "arraybuffer";
  let refused = false;
  let welcome = false;
  say({ type: "state", state: "connecting" });
  const hear = (text: NodeText) => {
    if (text.type === "challenge" && text.protocol === tabProtocol && text.kernel === kernelSha256) {
      const proof = joinProof(start.secret, text.nonce, start.id);
      socket.send(JSON.stringify({ type: "join", id: start.id, kernel: kernelSha256, proof }));
    } else if (text.type === "welcome") {
      welcome = true;
      say({ type: "state", state: "waiting" });
    } else {
      refused = true;
      const message = text.type === "refused" ? text.message : "the node is of another version: load the page again";
      say({ type: "refused", message });
      socket.close();
    }
  };
  socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data === "string") {
      hear(JSON.parse(data) as NodeText);
      return;
    }
    if (data.byteLength > nodeLimits.sliceBytes + frameOverhead(nodeLimits)) {
      socket.close();
      return;
    }
    const message = decodeFrame(new Uint8Array(data), nodeLimits.descriptorBytes) as TabTask;
    void work(message).then((result) => {
      if (socket.readyState === WebSocket.OPEN) socket.send(encodeFrame(result).bytes);
    });
  };
  socket.onclose = () => {
    if (refused) return;
    say({ type: "state", state: "lost" });
    const next = welcome ? 0 : tries + 1;
    setTimeout(() => connect(start, next), Math.min(maxRetryMs, retryMs * 2 ** next));
  };
}

scope.onmessage = ({ data }) => connect(data, 0);
