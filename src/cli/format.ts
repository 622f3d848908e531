// Commands say `./format.ts`; reports need the same numbers and lie below the command line.

export * from "../format.ts";
