// How the files of mounts are opened in a worker.

import { BlobSource } from "./blob-source.ts";
import type { OpenMounted } from "./mounts.ts";
import { UrlSource } from "./url-source.ts";

export const openMounted: OpenMounted = (path, file) =>
  file.kind === "blob"
    ? new BlobSource(path.slice(1), file.blob)
    : new UrlSource(file.url, file, (url, init) => fetch(url, init));
