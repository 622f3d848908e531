// A file in a folder that the user picked. Only one writer can have it, so workers send what they write to the coordinator, which
// owns the stream: the bytes are moved, not copied again, and a worker waits until its last piece is taken.

import type { ByteSink } from "../bytes/sink.ts";
import { fail, quote } from "../errors.ts";

export interface WriteMessage {
  readonly id: number;
  readonly path: string;
  readonly position: number;
  readonly data: Uint8Array<ArrayBuffer>;
}

export interface WrittenMessage {
  readonly id: number;
  /** What went wrong, and whether for lack of space. */
  readonly error: { readonly full: boolean; readonly message: string } | null;
}

const waiting = new WeakMap<MessagePort, Map<number, (answer: WrittenMessage) => void>>();
let nextId = 1;

function answersOf(port: MessagePort): Map<number, (answer: WrittenMessage) => void> {
  const known = waiting.get(port);
  if (known) return known;
  const answers = new Map<number, (answer: WrittenMessage) => void>();
  waiting.set(port, answers);
  port.onmessage = ({ data }: MessageEvent<WrittenMessage>) => {
    answers.get(data.id)?.(data);
    answers.delete(data.id);
  };
  return answers;
}

export function openStreamSink(path: string, port: MessagePort): ByteSink {
  const answers = answersOf(port);
  return {
    name: path,
    async write(position, data) {
      const id = nextId++;
      const end = position + data.length;
      const copy = data.slice() as Uint8Array<ArrayBuffer>;
      const { promise, resolve } = Promise.withResolvers<WrittenMessage>();
      answers.set(id, resolve);
      port.postMessage({ id, path, position, data: copy } satisfies WriteMessage, [copy.buffer]);
      const { error } = await promise;
      if (error) {
        fail(
          error.full ? "no-space" : "io",
          `Cannot write bytes ${position} to ${end} of ${quote(path)}: ${error.message}`,
        );
      }
    },
    // Every write was answered; the stream is closed when the output is complete.
    sync() {},
    close() {},
  };
}
