// The reader of JUnit reports that `npm test` counts by: what Bun and Deno write.

import { expect, test } from "bun:test";
import { join } from "node:path";
import { root } from "../cli/braid.ts";

const { readJunit } = (await import(join(root, "tools/junit.mjs"))) as {
  readJunit(xml: string): {
    passed: number;
    failed: number;
    skipped: number;
    failures: { name: string; message: string }[];
  };
};

test("counts tests one by one, whatever the totals say", () => {
  const xml = `<?xml version="1.0"?><testsuites tests="99">
  <testsuite name="a"><testcase name="one" file="a.test.ts" time="0"/>
    <testcase name="two &lt;b&gt; &#10; &#x41;" file="a.test.ts"><failure message="x &quot;y&quot;" type="E"/></testcase>
    <testcase name="three"><skipped/></testcase>
    <testcase name="four"><error>at line 1 &amp; 2</error></testcase>
    <testcase name="a > b"><system-out>fine</system-out></testcase>
  </testsuite></testsuites>`;
  const { failures, ...counts } = readJunit(xml);
  expect(counts).toEqual({ passed: 2, failed: 2, skipped: 1 });
  expect(failures.map(({ name, message }) => [name, message])).toEqual([
    ["two <b> \n A", 'x "y"'],
    ["four", "at line 1 & 2"],
  ]);
});

test("an empty report has nothing", () => {
  expect(readJunit("<testsuites/>")).toEqual({ passed: 0, failed: 0, skipped: 0, failures: [] });
});
