// Reads the JUnit reports of `bun test` and `deno test`. Both write plain, attribute-only XML, so this is no XML parser.

function attributes(tag) {
  return Object.fromEntries([...tag.matchAll(/([\w:]+)="([^"]*)"/g)].map(([, name, value]) => [name, decode(value)]));
}

function decode(text) {
  const entities = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
  return text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(lt|gt|quot|apos|amp));/gi, (_, hex, decimal, name) =>
    name ? entities[name] : String.fromCodePoint(hex ? Number.parseInt(hex, 16) : Number(decimal)),
  );
}

/** `{ passed, failed, skipped, failures: [{ file, name, message }] }`, counted test by test. */
export function readJunit(xml) {
  const result = { passed: 0, failed: 0, skipped: 0, failures: [] };
  for (const [, head, selfClosed, body = ""] of xml.matchAll(/<testcase\b([^>]*?)(?:(\/)>|>([\s\S]*?)<\/testcase>)/g)) {
    void selfClosed;
    const test = attributes(head);
    const failure = /<(failure|error)\b([^>]*?)(?:\/>|>([\s\S]*?)<\/\1>)/.exec(body);
    if (failure) {
      result.failed++;
      const message = attributes(failure[2]).message ?? "";
      result.failures.push({
        file: test.file ?? test.classname ?? "",
        name: test.name ?? "",
        message: message || decode(failure[3] ?? "").trim(),
      });
    } else if (/<skipped\b/.test(body)) result.skipped++;
    else result.passed++;
  }
  return result;
}
