import { FileSink, FileSource } from "../bytes/file.ts";
import type { Opener } from "./files.ts";

/** The files of this machine, by positioned and synchronous calls. Outputs exist already: the stage made them. */
export const fileOpener: Opener = {
  source: (path) => new FileSource(path),
  sink: (path) => new FileSink(path, "existing"),
};
