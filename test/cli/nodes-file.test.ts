// The file of nodes, read again while a merge goes on, and what the progress line says of them.

import { expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nodesLine } from "../../src/cli/merge-nodes.ts";
import { parseNodes, watchNodes } from "../../src/cli/nodes-file.ts";
import { realClock } from "../../src/remote/clock.ts";
import { inFolder } from "./braid.ts";

test("a file of nodes has an address a line, each once", () => {
  const text = "# ours\nhttp://10.0.0.2:7433\r\n\n  https://node.example/  # by TLS\nhttp://10.0.0.2:7433\n";
  expect(parseNodes(text, "nodes")).toEqual(["http://10.0.0.2:7433", "https://node.example"]);
});

test.each(["node2", "ftp://10.0.0.2", "http://user:secret@10.0.0.2", "10.0.0.2:7433"])("%j is refused", (line) => {
  expect(() => parseNodes(`http://a:1\n${line}`, "nodes")).toThrow("nodes:2:1: Cannot use line 2");
});

test("new lists are told of; a file that is gone or wrong for a moment changes nothing", () =>
  inFolder(async (folder) => {
    const path = join(folder, "nodes");
    const told: (readonly string[])[] = [];
    const problems: string[] = [];
    const over = new AbortController();
    const until = async (holds: () => boolean) => {
      while (!holds()) await new Promise((later) => setTimeout(later, 2));
    };
    writeFileSync(path, "http://a:1\n");
    const clock = realClock(() => performance.now(), 1000);
    const watching = watchNodes(
      path,
      clock,
      over.signal,
      (n) => told.push(n),
      (e) => problems.push(String(e)),
    );
    writeFileSync(path, "http://a:1\nhttp://b:2\n");
    await until(() => told.length === 1);
    rmSync(path);
    await until(() => problems.length === 1);
    writeFileSync(path, "nonsense");
    await until(() => problems.length === 2);
    writeFileSync(path, "http://a:1\nhttp://b:2\n");
    await new Promise((later) => setTimeout(later, 20));
    writeFileSync(path, "http://b:2\n");
    await until(() => told.length === 2);
    over.abort();
    await watching;
    expect(told).toEqual([["http://a:1", "http://b:2"], ["http://b:2"]]);
    expect(problems.map((p) => /file-not|Cannot \w+ \w+ \w+/.exec(p)?.[0])).toEqual([
      "Cannot read the nodes",
      "Cannot use line 1",
    ]);
  }));

test("the progress line names every node and its share, or why it has none", () => {
  const node = (url: string, state: "ready" | "away", bytes: number) => ({
    url,
    state,
    bytes,
    message: "",
    tasks: 1,
    inFlight: 0,
  });
  const nodes = [
    node("http://10.0.0.2:7433", "ready", 3e9),
    node("https://far", "ready", 1e9),
    node("http://c", "away", 0),
  ];
  expect(nodesLine(nodes)).toBe("10.0.0.2:7433 75 %  far 25 %  c away");
});
