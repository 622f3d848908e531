// Reads what locators name, where the node's owner allowed it: paths below a root, https addresses of listed hosts. Everything
// else a coordinator could point at (metadata services, routers, files of the machine) is refused before a byte is asked for.

import type { ByteSource } from "../bytes/source.ts";
import { quote } from "../errors.ts";
import { BodyError, readBody } from "./body.ts";
import type { Clock } from "./clock.ts";
import type { NodeLimits } from "./limits.ts";
import { pathVersion, type TaskPlaces } from "./places.ts";
import type { Range } from "./ranges.ts";
import { inputRoute, type Locator, type TaskMessage } from "./wire.ts";

/** Refused (403), changed (409), or not to be had (502). */
export class LocatorError extends Error {
  readonly status: 403 | 409 | 502;
  constructor(status: LocatorError["status"], message: string) {
    super(message);
    this.status = status;
  }
}

/** What a node may read itself. All of it is off unless its owner says so. */
export interface Reach {
  readonly roots: readonly string[];
  /** Opens a file below a root, all links followed; throws LocatorError 403 for any other. */
  readonly openPath?: (path: string) => ByteSource | Promise<ByteSource>;
  /** Those of the roots that outputs may be written to. */
  readonly writeRoots?: readonly string[];
  /** The path of a file below a root (to write: one for writing), all links followed; throws LocatorError 403 for any other. */
  readonly place?: (path: string, write: boolean) => string;
  /** Lower-case host names. */
  readonly hosts: readonly string[];
  /**
   * Coordinators whose inputs may be fetched, as `http://10.0.0.5:7500`. The owner wrote down scheme, address and port, so none of
   * the rules for hosts on the internet are needed; and nothing but inputs is asked for there.
   */
  readonly origins?: readonly string[];
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>;
  /** The addresses that a host has now. Without it hosts that are no address cannot be checked, and are refused. */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
}

export const noReach: Reach = { roots: [], hosts: [] };

/** Whether an address is one of the public internet: none that is private, shared, local, reserved or a disguise of those. */
export function isPublicAddress(address: string): boolean {
  const v4 = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(address);
  if (v4) {
    const [a, b, c] = v4.slice(1).map(Number) as [number, number, number];
    if (v4.slice(1).some((n) => Number(n) > 255)) return false;
    if (a === 0 || a === 10 || a === 127 || a >= 224) return false;
    if (a === 100 && b >= 64 && b < 128) return false;
    if (a === 169 && b === 254) return false;
    if (a === 172 && b >= 16 && b < 32) return false;
    if (a === 192 && (b === 168 || (b === 0 && (c === 0 || c === 2)) || (b === 88 && c === 99))) return false;
    return !(a === 198 && (b === 18 || b === 19 || (b === 51 && c === 100))) && !(a === 203 && b === 0 && c === 113);
  }
  const groups = expand6(address);
  if (!groups) return false;
  const [first, second] = groups as [number, number];
  // 2000::/3 is all that is given out; of it Teredo, documentation and 6to4 can lead elsewhere.
  if (first < 0x2000 || first > 0x3fff) return false;
  if (first === 0x2001 && (second < 0x200 || second === 0xdb8)) return false;
  return first !== 0x2002 && !(first === 0x3fff && second < 0x1000);
}

function expand6(address: string): number[] | null {
  const halves = address.split("::");
  if (!address.includes(":") || halves.length > 2) return null;
  const [head = [], tail = []] = halves.map((h) => (h === "" ? [] : h.split(":")));
  const gap = halves.length === 2 ? 8 - head.length - tail.length : 0;
  if (gap < 0) return null;
  const groups = [...head, ...Array<string>(gap).fill("0"), ...tail];
  if (groups.length !== 8 || !groups.every((g) => /^[0-9a-f]{1,4}$/i.test(g))) return null;
  return groups.map((g) => Number.parseInt(g, 16));
}

/** Throws unless an address may be fetched: https on port 443 of an allowed host, all of whose addresses are public. */
export async function checkAddress(address: string, reach: Reach): Promise<URL> {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw new LocatorError(403, "the locator is no address");
  }
  const host = url.hostname.replace(/^\[|\]$/g, "").toLowerCase();
  if (reach.origins?.includes(url.origin)) {
    if (url.username !== "" || url.password !== "" || !url.pathname.startsWith(inputRoute))
      throw new LocatorError(403, `a coordinator is asked for ${inputRoute}… only`);
    return url;
  }
  if (url.protocol !== "https:" || url.port !== "") throw new LocatorError(403, "only https on port 443 is fetched");
  if (url.username !== "" || url.password !== "")
    throw new LocatorError(403, "an address must not hold a user or password");
  if (!reach.hosts.includes(host))
    throw new LocatorError(403, `this node may not fetch from ${quote(host)} (--allow-host)`);
  const literal = /^[\d.]+$/.test(host) || host.includes(":");
  const addresses = literal ? [host] : await reach.resolve?.(host).catch(() => []);
  if (!addresses?.length || !addresses.every(isPublicAddress))
    throw new LocatorError(403, `${quote(host)} has no public address, or another one as well`);
  return url;
}

/** Fills `target` with a range of a URL. Redirects are followed by hand, and each is checked like the first address. */
async function readUrl(
  locator: Extract<Locator, { url: string }>,
  { start, end }: Range,
  target: Uint8Array<ArrayBuffer>,
  reach: Reach,
  limits: NodeLimits,
  clock: Clock,
): Promise<void> {
  let address = locator.url;
  for (let redirects = 0; ; redirects++) {
    // Nobody but the task itself leads to a coordinator.
    const url = await checkAddress(address, redirects === 0 ? reach : { ...reach, origins: [] });
    if (!reach.fetch) throw new LocatorError(403, "this node fetches nothing");
    const range: Record<string, string> = { range: `bytes=${start}-${end - 1}`, "accept-encoding": "identity" };
    if (locator.version !== null) range["if-match"] = locator.version;
    let response: Response;
    try {
      response = await reach.fetch(url.href, { headers: range, redirect: "manual", credentials: "omit" });
    } catch (e) {
      throw new LocatorError(502, `Cannot fetch from ${quote(url.hostname)}: ${(e as Error).name}`);
    }
    const to = response.headers.get("location");
    if (response.status >= 300 && response.status < 400 && to !== null) {
      await response.body?.cancel();
      if (reach.origins?.includes(url.origin)) throw new LocatorError(502, "a coordinator does not redirect");
      if (redirects >= limits.redirects) throw new LocatorError(502, `more than ${limits.redirects} redirects`);
      address = new URL(to, url).href;
      continue;
    }
    const refuse = async (status: 409 | 502, message: string): Promise<never> => {
      await response.body?.cancel();
      throw new LocatorError(status, message);
    };
    if (response.status === 412) await refuse(409, "the file is not the one that was planned with");
    if (response.status !== 206) await refuse(502, `a range was answered with status ${response.status}`);
    const etag = response.headers.get("etag");
    if (locator.version !== null && etag !== null && etag !== locator.version)
      await refuse(409, "the file is not the one that was planned with");
    const says = /^bytes (\d+)-(\d+)\/(?:\d+|\*)$/.exec(response.headers.get("content-range") ?? "");
    if (!says || Number(says[1]) !== start || Number(says[2]) !== end - 1)
      await refuse(502, "another range was answered than was asked for");
    const unsized = { ...limits, unsizedBytes: target.length };
    const bytes = await readBody(response, target.length, unsized, clock, target).catch((e: unknown): never => {
      throw new LocatorError(502, e instanceof BodyError ? `a range: ${e.message}` : "a range broke off");
    });
    if (bytes.length !== target.length)
      throw new LocatorError(502, `a range has ${bytes.length} bytes, not ${target.length}`);
    return;
  }
}

/** The files of a task when all that it reads is on this disk; null when bytes must be carried. */
export function placesOf(message: TaskMessage, reach: Reach): TaskPlaces | null {
  const { task, ranges, locators, target } = message;
  const { place } = reach;
  if (!place) return null;
  const by = new Map(locators.map((l) => [l.file, l]));
  const inputs: TaskPlaces["inputs"][number][] = [];
  for (const file of new Set(ranges.map((r) => r.file))) {
    const locator = by.get(file);
    if (!locator || !("path" in locator)) return null;
    inputs.push({ file, path: place(locator.path, false), version: locator.version });
  }
  const writes = target && task.kind === "merge";
  return { inputs, output: writes ? { path: place(target.path, true), version: target.version } : null };
}

/** The bytes of all ranges, one after the other: inline ones copied, located ones read. */
export async function readRanges(
  ranges: readonly Range[],
  locators: readonly Locator[],
  inline: Uint8Array<ArrayBuffer>,
  reach: Reach,
  limits: NodeLimits,
  clock: Clock,
): Promise<Uint8Array<ArrayBuffer>> {
  if (locators.length === 0) return inline;
  const bytes = new Uint8Array(ranges.reduce((sum, r) => sum + r.end - r.start, 0));
  const by = new Map(locators.map((l) => [l.file, l]));
  const open = new Map<number, ByteSource>();
  const fetching: (() => Promise<void>)[] = [];
  let at = 0;
  let taken = 0;
  try {
    for (const range of ranges) {
      const target = bytes.subarray(at, at + range.end - range.start);
      at += target.length;
      const locator = by.get(range.file);
      if (!locator) {
        target.set(inline.subarray(taken, taken + target.length));
        taken += target.length;
      } else if ("url" in locator) {
        fetching.push(() => readUrl(locator, range, target, reach, limits, clock));
      } else {
        let source = open.get(range.file);
        if (!source) {
          if (!reach.openPath) throw new LocatorError(403, "this node reads no files (--allow-root)");
          source = await reach.openPath(locator.path);
          open.set(range.file, source);
          if (pathVersion(source) !== locator.version)
            throw new LocatorError(409, "the file is not the one that was planned with");
        }
        await source.read(range.start, target);
      }
    }
    await together(fetching);
  } finally {
    for (const source of open.values()) await source.close();
  }
  return bytes;
}

/** Ranges that a task fetches at the same time. */
const fetchLanes = 4;

async function together(work: (() => Promise<void>)[]): Promise<void> {
  const lane = async () => {
    for (let next = work.shift(); next; next = work.shift()) await next();
  };
  await Promise.all(Array.from({ length: fetchLanes }, lane));
}
