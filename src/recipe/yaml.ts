// YAML as PyYAML reads it (YAML 1.1), with a position for every node.

import { type Node as LibraryNode, LineCounter, parseAllDocuments } from "yaml";
import { BraidError, type Diagnostic, type Position, quote } from "../errors.ts";
import { build, type Duplicate, type YamlDocument } from "./nodes.ts";
import { checkTokens, padFlows } from "./tokens.ts";

export {
  describeNode,
  get,
  type ListNode,
  type MapEntry,
  type MapNode,
  maxNodes,
  type Node,
  present,
  type ScalarNode,
  toPlain,
  type YamlDocument,
} from "./nodes.ts";
export { maxDepth } from "./tokens.ts";

/** Characters of a recipe file. Recipes are a few kilobytes; the largest published ones stay below 100 kB. */
export const maxRecipeLength = 1024 * 1024;
/** Errors of one file; what follows is mostly a consequence of the first ones. */
const maxSyntaxErrors = 10;

/** All documents of a file. Throws one `recipe-syntax` error with everything found. */
export function parseYaml(source: string, file: string): YamlDocument[] {
  if (source.length > maxRecipeLength) {
    const message = `Cannot read recipe ${quote(file)}: it has ${source.length} characters, the limit is ${maxRecipeLength}`;
    throw new BraidError({ kind: "recipe-syntax", message });
  }
  // A BOM opens the file or is refused below; a lone CR ends a line in YAML but not in the library.
  const given = (source.startsWith("\ufeff") ? source.slice(1) : source).replace(/\r(?!\n)/g, "\n");
  const { text, original } = padFlows(given);
  const lines = new LineCounter();
  const errors: Diagnostic[] = [];
  const position = (offset: number): Position => {
    const { line, col } = lines.linePos(original(Math.min(offset, text.length)));
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const report = (offset: number, message: string, hint?: string): void => {
    errors.push({ kind: "recipe-syntax", message, where: position(offset), ...(hint ? { hint } : {}) });
  };
  lines.addNewLine(0);
  for (let i = given.indexOf("\n"); i >= 0; i = given.indexOf("\n", i + 1)) lines.addNewLine(i + 1);
  checkTokens(text, report);
  if (errors.length > 0) throw new BraidError(errors.slice(0, maxSyntaxErrors));

  const documents = parseAllDocuments(text, {
    version: "1.1",
    schema: "failsafe",
    resolveKnownTags: false,
    merge: false,
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: "silent",
  });
  const list = Array.isArray(documents) ? documents : [];
  for (const document of list) {
    for (const error of document.errors) report(error.pos[0], `Cannot read the YAML: ${error.message.split("\n")[0]}`);
    for (const warning of document.warnings) {
      if (warning.code !== "TAG_RESOLVE_FAILED") report(warning.pos[0], `Cannot read the YAML: ${warning.message}`);
    }
  }
  const result: YamlDocument[] = [];
  if (errors.length === 0) {
    for (const document of list) {
      const duplicates: Duplicate[] = [];
      const root = build(document.contents as LibraryNode | null, {
        text,
        position,
        report,
        duplicates,
        anchors: new Map(),
      });
      result.push({ root, duplicates });
    }
  }
  if (errors.length > 0) {
    errors.sort((a, b) => a.where!.line - b.where!.line || a.where!.column - b.where!.column);
    throw new BraidError(errors.slice(0, maxSyntaxErrors));
  }
  return result;
}
