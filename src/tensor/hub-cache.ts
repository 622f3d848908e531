// The cache that Python's huggingface_hub keeps on this machine: models--org--name/{blobs,refs,snapshots}.

import type { FileSystem } from "../bytes/source.ts";

export interface HubId {
  /** `org/name`, or `name` of the oldest models. */
  readonly repo: string;
  /** A branch, a tag, `refs/pr/N` or a whole commit hash. */
  readonly revision: string;
}

/** What the Hub takes as names: no `--`, no `..`, no dash or dot at either end. */
const repoName =
  /^(?!.*(?:--|\.\.))(?:[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?\/)?[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?$/;
const revisionName = /^(?!.*(?:\.\.|\/\/))[A-Za-z0-9_](?:[\w./+-]{0,254}[\w+-])?$/;
const commitHash = /^[0-9a-f]{40}$/;
const maxRefBytes = 1024;

/** `org/name[@revision]`, or null if it cannot be one. */
export function parseHubId(reference: string): HubId | null {
  const at = reference.indexOf("@");
  const repo = at < 0 ? reference : reference.slice(0, at);
  const revision = at < 0 ? "main" : reference.slice(at + 1);
  return repoName.test(repo) && revisionName.test(revision) ? { repo, revision } : null;
}

export type Environment = Readonly<Record<string, string | undefined>>;

/** Where the cache is, by the variables that huggingface_hub reads, in its order. */
export function hubCacheFolder(env: Environment, home: string, fs: FileSystem): string {
  const path = (value: string): string => fs.resolve(home, value.replace(/^~(?=$|[/\\])/, "."));
  const whole = env.HF_HUB_CACHE || env.HUGGINGFACE_HUB_CACHE;
  if (whole) return path(whole);
  if (env.HF_HOME) return fs.resolve(path(env.HF_HOME), "hub");
  const cache = env.XDG_CACHE_HOME ? path(env.XDG_CACHE_HOME) : fs.resolve(home, ".cache");
  return fs.resolve(cache, "huggingface/hub");
}

/** The snapshot of a model in the cache, or what is not there. */
export function findSnapshot(
  cache: string,
  { repo, revision }: HubId,
  fs: FileSystem,
): { path: string; commit: string } | { missing: string } {
  const model = fs.resolve(cache, `models--${repo.replaceAll("/", "--")}`);
  if (fs.kind(model) === null) return { missing: model };
  let commit = revision;
  if (!commitHash.test(revision)) {
    const ref = fs.resolve(model, `refs/${revision}`);
    if (fs.kind(ref) !== "file") return { missing: ref };
    commit = fs.readText(ref, maxRefBytes).trim();
    // What a ref holds becomes a path.
    if (!commitHash.test(commit)) return { missing: `${ref} (it holds no commit hash)` };
  }
  const path = fs.resolve(model, `snapshots/${commit}`);
  return fs.kind(path) === "folder" ? { path, commit } : { missing: path };
}
