// `playground`: the page, served while it is worked on; with `--build` a folder of static files that any host can serve.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { root } from "./runtimes.mjs";

const examples = join(root, "examples");
/** What the page ships with: the three fine-tunes and their base, the prompts to try them on, and the recipe of the demo. */
const shipped = [
  ...["base", "ft-add", "ft-rev", "ft-sort", "tests"].flatMap((folder) =>
    readdirSync(join(examples, "models", folder)).map((name) => `models/${folder}/${name}`),
  ),
  "dare-ties.yml",
];

const types = { json: "application/json", jsonl: "text/plain", yml: "text/plain" };

/** Only what comes from the page's own host may be loaded; the kernels are compiled, no other code is made from text. */
const policy = [
  "default-src 'self'",
  "script-src 'self' 'wasm-unsafe-eval'",
  "style-src 'self'",
  "img-src 'self' blob: data:",
  "connect-src 'self'",
  "worker-src 'self'",
  "object-src 'none'",
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");

/** The example models, beside the page. */
function examplesPlugin() {
  return {
    name: "braid-examples",
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const path = decodeURI(new URL(request.url, "http://localhost").pathname).slice(1);
        if (!shipped.includes(path)) return next();
        response.setHeader("content-type", types[path.split(".").pop()] ?? "application/octet-stream");
        response.end(readFileSync(join(examples, path)));
      });
    },
    generateBundle() {
      for (const fileName of shipped)
        this.emitFile({ type: "asset", fileName, source: readFileSync(join(examples, fileName)) });
    },
  };
}

/** In the page itself, so that it holds on hosts without headers. Vite's own server needs more while the page is worked on. */
function policyPlugin() {
  return {
    name: "braid-policy",
    apply: "build",
    transformIndexHtml: () => [
      { tag: "meta", attrs: { "http-equiv": "Content-Security-Policy", content: policy }, injectTo: "head-prepend" },
    ],
    generateBundle() {
      // Netlify and Cloudflare Pages read it: then workers are held to the policy too, and to this host.
      this.emitFile({ type: "asset", fileName: "_headers", source: `/*\n  Content-Security-Policy: ${policy}\n` });
    },
  };
}

export const outFolder = join(root, "dist", "playground");

export function viteConfig({ outDir = outFolder } = {}) {
  return {
    configFile: false,
    root: join(root, "src", "web"),
    base: "./",
    publicDir: false,
    logLevel: "warn",
    clearScreen: false,
    plugins: [examplesPlugin(), policyPlugin()],
    worker: { format: "es", rolldownOptions: { checks: { pluginTimings: false } } },
    build: {
      outDir,
      emptyOutDir: true,
      target: "es2022",
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      rolldownOptions: { checks: { pluginTimings: false } },
      chunkSizeWarningLimit: 2000,
    },
    server: { host: "127.0.0.1", port: 5173 },
  };
}

/** Builds the page into `outDir`; answers the names and sizes of what was written. */
export async function buildPlayground(outDir = outFolder) {
  const { build } = await import("vite");
  const { output } = await build(viteConfig({ outDir }));
  return output.map((part) => ({
    name: part.fileName,
    bytes: Buffer.byteLength(part.type === "chunk" ? part.code : part.source),
  }));
}

export async function playground(args) {
  const unknown = args.filter((arg) => arg !== "--build");
  if (unknown.length > 0) {
    console.error(`Unknown: ${unknown.join(" ")}\nUsage: npm run playground [-- --build]`);
    return 2;
  }
  if (args.includes("--build")) {
    const files = await buildPlayground();
    const code = files.filter(({ name }) => /\.(js|css|html)$/.test(name));
    const sum = (list) => `${(list.reduce((total, { bytes }) => total + bytes, 0) / 1e6).toFixed(2)} MB`;
    console.log(
      `dist/playground: ${sum(code)} of page, ${sum(files)} with the example models. Any static host can serve it.`,
    );
    return 0;
  }
  const { createServer } = await import("vite");
  const server = await createServer(viteConfig());
  await server.listen();
  console.log(`Playground: ${server.resolvedUrls.local[0]}  (Ctrl+C ends it)`);
  await new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, resolve);
  });
  await server.close();
  return 0;
}
