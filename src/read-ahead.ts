// Reads ahead of the workers while it is the disk that they wait for: a disk answers several long reads at a time faster than
// the workers' own, which stop for arithmetic and for writes. What is read is thrown away; the system keeps it for the workers.
// With the inputs in memory already nothing is read twice.

import type { Receipt, Task } from "./kernel/program.ts";
import { readAheadLanes } from "./plan/memory.ts";
import type { Plan, PlanTensor } from "./plan/plan.ts";
import { byteWidth } from "./tensor/dtype.ts";

/** How far ahead of the last finished task: a bound for the system's memory, not for ours. */
export const windowBytes = 384 * 1024 * 1024;
/** The longest range that one lane reads. */
export const rangeBytes = 8 * 1024 * 1024;
/** What a worker reads more slowly comes from a disk: out of memory it takes 0.2 to 0.4 ns a byte, 0.6 on busy cores. */
const slowWorker = 1;
/** What is this slow comes from no memory, however busy the cores are: a file system that the system does not count as a disk. */
const neverMemory = 4;
/** The share of what the workers read that has to come from the disk, where the system counts it, and of how much at least. */
const diskShare = 1 / 8;
const judgedBytes = 16 * 1024 * 1024;
/** What a lane reads faster was in memory already. */
const fastLane = 0.4;
/** Weights of the newest figure in a running mean. One slice that was held up must not look like a disk. */
const newestOfWorkers = 0.14;
const newestOfLanes = 0.25;

interface Range {
  readonly file: number;
  readonly start: number;
  readonly end: number;
  /** Bytes of the plan that lie before it, in the order in which workers come to them. */
  readonly before: number;
}

export interface ReadAheadHost {
  now(): number;
  /** Brings a range of a file into the system's memory. */
  readAhead(path: string, start: number, end: number, signal: AbortSignal): Promise<void>;
  /** Bytes that this process has had the disk read so far, or null where the system does not count them. */
  diskBytes(): number | null;
}

export class ReadAhead {
  private readonly plan: Plan;
  private readonly host: ReadAheadHost;
  private readonly stop = new AbortController();
  /** Bytes of the inputs before a tensor. */
  private readonly before = new Map<PlanTensor, number>();
  private ranges: Iterator<Range>;
  private next: Range | null = null;
  /** Where the workers are, in bytes of the plan. */
  private at = 0;
  private reading = new Set<Promise<void>>();
  private active = false;
  /** Nanoseconds a byte: of the workers while nothing is read ahead, of the lanes while it is. */
  private mean = 0;
  /** What the workers have read, and what the disk, when it was last asked whether they wait for it. */
  private since = { read: 0, disk: 0 };
  private read = 0;

  constructor(plan: Plan, host: ReadAheadHost) {
    this.plan = plan;
    this.host = host;
    this.since.disk = host.diskBytes() ?? 0;
    let sum = 0;
    for (const tensor of plan.tensors) {
      this.before.set(tensor, sum);
      sum += tensor.count * readWidth(tensor);
    }
    this.ranges = rangesOf(plan, this.before);
  }

  /** Notes a finished task. */
  done(task: Task, tensor: PlanTensor, receipt: Receipt): void {
    // Pieces from all over a tensor are slow to read wherever they are, and tell nothing of a disk.
    if (task.kind === "survey" && task.pieces) return;
    const width = readWidth(tensor);
    const bytes = task.count * width;
    // A view reads elsewhere and computes meanwhile.
    if (bytes === 0 || tensor.inputs.some((i) => i.view) || this.stop.signal.aborted) return;
    this.read += bytes;
    this.at = Math.max(this.at, this.before.get(tensor)! + (task.first + task.count) * width);
    if (!this.active) {
      // A norm's few kilobytes say nothing: a call alone takes as long as a thousand of them.
      const weight = newestOfWorkers * Math.min(1, bytes / judgedBytes);
      this.mean += weight * (receipt.nanoseconds.read / bytes - this.mean);
      if (this.mean <= slowWorker) return;
      if (!this.waitsForDisk()) return;
      this.active = true;
      this.mean = 2 * fastLane;
    }
    this.fill();
  }

  /** Reads no more; resolves when nothing is under way. */
  async end(): Promise<void> {
    this.stop.abort();
    await Promise.all(this.reading);
  }

  /** Cores that others take make reads slow too: the clock alone does not tell them from a disk. */
  private waitsForDisk(): boolean {
    const disk = this.host.diskBytes();
    if (disk === null) return true;
    const read = this.read - this.since.read;
    if (read < judgedBytes) return false;
    const share = (disk - this.since.disk) / read;
    this.since = { read: this.read, disk };
    return share >= diskShare || this.mean > neverMemory;
  }

  private fill(): void {
    while (this.active && this.reading.size < readAheadLanes) {
      const range = this.take();
      if (!range) return;
      const started = this.host.now();
      const { location } = this.plan.inputFiles[range.file]!;
      const reading = this.host
        .readAhead(location, range.start, range.end, this.stop.signal)
        .then(() => this.judge(((this.host.now() - started) * 1e6) / (range.end - range.start)))
        // A worker meets the same fault and tells it.
        .catch(() => this.stop.abort())
        .finally(() => {
          this.reading.delete(reading);
          if (!this.stop.signal.aborted) this.fill();
        });
      this.reading.add(reading);
    }
  }

  private judge(nanosecondsPerByte: number): void {
    this.mean += newestOfLanes * (nanosecondsPerByte - this.mean);
    if (this.mean >= fastLane) return;
    this.active = false;
    this.mean = 0;
  }

  /** The next range that no worker has come to, if it is not too far ahead. */
  private take(): Range | null {
    for (;;) {
      this.next ??= this.ranges.next().value ?? null;
      const range = this.next;
      if (!range || range.before > this.at + windowBytes) return null;
      this.next = null;
      if (range.before >= this.at) return range;
    }
  }
}

const readWidth = (tensor: PlanTensor) => tensor.inputs.reduce((sum, i) => sum + byteWidth(i.dtype), 0);

/** What workers read, in about their order: slice by slice, input by input. */
function* rangesOf(plan: Plan, before: ReadonlyMap<PlanTensor, number>): Generator<Range> {
  for (const tensor of plan.tensors) {
    if (tensor.inputs.some((i) => i.view)) continue;
    const width = readWidth(tensor);
    const step = Math.max(1, Math.floor(rangeBytes / Math.max(...tensor.inputs.map((i) => byteWidth(i.dtype)))));
    const size = Math.min(step, plan.memory.sliceElements);
    for (let first = 0; first < tensor.count; first += size) {
      const count = Math.min(size, tensor.count - first);
      for (const input of tensor.inputs) {
        const start = input.start + first * byteWidth(input.dtype);
        const end = start + count * byteWidth(input.dtype);
        yield { file: input.file, start, end, before: before.get(tensor)! + first * width };
      }
    }
  }
}
