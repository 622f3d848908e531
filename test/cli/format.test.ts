// Numbers and lines as people read them, and the progress line, without a terminal.

import { describe, expect, test } from "bun:test";
import * as f from "../../src/cli/format.ts";
import { ProgressLine, progressText, type Screen } from "../../src/cli/terminal.ts";

describe("format", () => {
  test.each([
    [f.formatCount(1234567), "1,234,567"],
    [f.formatCount(12), "12"],
    [f.plural(1, "tensor"), "1 tensor"],
    [f.plural(1000, "tensor"), "1,000 tensors"],
    [f.formatBytes(999), "999 B"],
    [f.formatBytes(1_530_136), "1.53 MB"],
    [f.formatBytes(999_999), "1.00 MB"],
    [f.formatBytes(15.3e9), "15.3 GB"],
    [f.formatMemory(256 * 2 ** 20), "256 MiB"],
    [f.formatParameters(763_008), "763 k"],
    [f.formatParameters(7.24e9), "7.24 B"],
    [f.formatSeconds(0.2), "0.20 s"],
    [f.formatSeconds(42), "42.0 s"],
    [f.formatSeconds(187), "3:07"],
    [f.formatSeconds(3723), "1:02:03"],
    [f.formatSeconds(Number.NaN), "–"],
    [f.formatShare(0.89987), "89.987 %"],
    [f.formatShare(0.9), "90 %"],
    [f.formatShape([]), "scalar"],
    [f.formatShape([96, 128]), "96 × 128"],
    [f.truncate("abcdef", 4), "abc…"],
    [f.printable("a\u001b[31mb\u202e"), "a\\u{1b}[31mb\\u{202e}"],
  ])("%s", (actual, expected) => {
    expect(actual).toBe(expected);
  });

  test("tables align and leave no blanks at line ends", () => {
    expect(
      f.formatTable(
        [
          ["a", "1"],
          ["bbb", "22"],
          ["c", ""],
        ],
        [1],
      ),
    ).toBe("  a     1\n  bbb  22\n  c\n");
  });
});

describe("progress", () => {
  const state = { doneBytes: 41e7, totalBytes: 1e9, seconds: 0.5, label: "model.layers.3.mlp.up_proj.weight" };

  test("says share, rate, time left and tensor", () => {
    expect(progressText(state, 120)).toBe(
      "[████████············]  41 %  0.82 GB/s  ETA 0.72 s  model.layers.3.mlp.up_proj.weight",
    );
  });

  test.each([1, 2, 10, 40, 80])("fits %d columns", (columns) => {
    expect(progressText(state, columns).length).toBeLessThanOrEqual(Math.max(columns - 1, 1));
  });

  test("survives nothing to do and no time", () => {
    expect(progressText({ doneBytes: 0, totalBytes: 0, seconds: 0, label: "" }, 80)).toContain("0 %");
  });

  function record(isTTY: boolean) {
    const written: string[] = [];
    const screen: Screen = { isTTY, color: false, columns: () => 80, write: (text) => void written.push(text) };
    let now = 0;
    const line = new ProgressLine(screen, () => now);
    return {
      written,
      line,
      wait: (ms: number) => {
        now += ms;
      },
    };
  }

  test("redraws ten times a second at most, on one line, and the last state always", () => {
    const { written, line, wait } = record(true);
    for (let i = 0; i < 1000; i++) {
      line.update({ ...state, doneBytes: i * 1e6 });
      wait(1);
    }
    expect(written.length).toBe(10);
    line.update({ ...state, doneBytes: 1e9 });
    expect(written.length).toBe(11);
    expect(written.every((text) => text.startsWith("\r") && text.endsWith("\u001b[K") && !text.includes("\n"))).toBe(
      true,
    );
    line.clear();
    line.clear();
    expect(written.slice(11)).toEqual(["\r\u001b[K"]);
  });

  test("writes nothing into a pipe", () => {
    const { written, line } = record(false);
    line.update(state);
    line.note("hashing x");
    line.clear();
    expect(written).toEqual([]);
  });
});
