// A strict reader of the XML that charts are made of: elements, attributes in double quotes, text. It refuses what an XML
// parser must refuse, so that a chart that this test reads is well-formed.

export interface Node {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly Node[];
  /** Of this element alone, decoded. */
  readonly text: string;
}

const entities: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', "#39": "'" };

function decode(raw: string): string {
  for (const c of raw) {
    const code = c.codePointAt(0)!;
    const allowed =
      code === 9 ||
      code === 10 ||
      code === 13 ||
      (code >= 0x20 && code <= 0xd7ff) ||
      (code >= 0xe000 && code <= 0xfffd) ||
      code > 0xffff;
    if (!allowed) throw new Error(`U+${code.toString(16)} is not a character of XML`);
  }
  if (/</.test(raw)) throw new Error(`"<" in text or an attribute: ${raw}`);
  return raw.replace(/&([^;&]*;?)/g, (whole, name: string) => {
    const found = name.endsWith(";") ? entities[name.slice(0, -1)] : undefined;
    if (found === undefined) throw new Error(`unknown entity in ${whole}`);
    return found;
  });
}

export function parseXml(xml: string): Node {
  let at = 0;
  const need = (pattern: RegExp): RegExpExecArray => {
    const sticky = new RegExp(pattern.source, "y");
    sticky.lastIndex = at;
    const found = sticky.exec(xml);
    if (!found) throw new Error(`expected ${pattern} at ${at}: ${xml.slice(at, at + 60)}`);
    at = sticky.lastIndex;
    return found;
  };
  const parse = (): Node => {
    const name = need(/<([A-Za-z][\w:-]*)/)[1]!;
    const attributes = new Map<string, string>();
    for (;;) {
      const [, closed, key, value] = need(/\s*(\/?>)|\s+([A-Za-z_][\w:-]*)="([^"]*)"/);
      if (closed === "/>") return { name, attributes, children: [], text: "" };
      if (closed === ">") break;
      if (attributes.has(key!)) throw new Error(`${key} twice in <${name}>`);
      attributes.set(key!, decode(value!));
    }
    const children: Node[] = [];
    let text = "";
    for (;;) {
      text += decode(need(/[^<]*/)[0]);
      if (xml.startsWith("</", at)) {
        const end = need(/<\/([A-Za-z][\w:-]*)\s*>/)[1];
        if (end !== name) throw new Error(`</${end}> closes <${name}>`);
        return { name, attributes, children, text };
      }
      children.push(parse());
    }
  };
  const root = parse();
  if (xml.slice(at).trim() !== "") throw new Error(`text after the root: ${xml.slice(at, at + 60)}`);
  return root;
}

/** The element and all in it for which `test` holds, in document order. */
export function findAll(node: Node, test: (node: Node) => boolean): Node[] {
  return [...(test(node) ? [node] : []), ...node.children.flatMap((child) => findAll(child, test))];
}

export const hasClass = (node: Node, name: string): boolean =>
  (node.attributes.get("class") ?? "").split(" ").includes(name);

export const numberOf = (node: Node, name: string): number => Number(node.attributes.get(name));
