// `functions`: each entry of functions/ as files to deploy, in dist/functions/NAME. Runs under Node, Bun and Deno.

import { Buffer } from "node:buffer";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { root } from "./runtimes.mjs";

/** The oldest workerd that the tests run. */
export const compatibilityDate = "2026-07-01";

const json = (value) => `${JSON.stringify(value, null, 2)}\n`;

/** What is written for each host: the bundle's name, what is known to be there, and what the host's tools want beside it. */
const hosts = {
  cloudflare: {
    file: "worker.js",
    target: "webworker",
    beside: {
      "wrangler.json": json({
        name: "braid-node",
        main: "worker.js",
        compatibility_date: compatibilityDate,
        no_bundle: true,
        find_additional_modules: true,
        rules: [{ type: "CompiledWasm", globs: ["**/*.wasm"] }],
      }),
    },
  },
  "deno-deploy": { file: "main.js", target: "node", beside: {} },
  "aws-lambda": { file: "index.mjs", target: "node", beside: {} },
  vercel: {
    file: "api/node.js",
    target: "node",
    beside: {
      "package.json": json({ type: "module" }),
      "vercel.json": json({ rewrites: [{ source: "/(.*)", destination: "/api/node" }] }),
    },
  },
};

export const hostNames = Object.keys(hosts);
export const kernelsPath = join(root, "build/kernels.wasm");

/** The code of an entry with all that it imports; Cloudflare's imports `./kernels.wasm`, which lies beside it. */
export async function bundleFunction(name) {
  const { target } = hosts[name];
  const beside = {
    name: "kernels-beside",
    enforce: "pre",
    resolveId: (id) => (id.endsWith(".wasm") ? { id: "./kernels.wasm", external: true } : null),
  };
  const { output } = await build({
    root,
    configFile: false,
    logLevel: "error",
    publicDir: false,
    plugins: [beside],
    ssr: { noExternal: true, target },
    build: {
      ssr: join(root, "functions", `${name}.ts`),
      write: false,
      minify: true,
      target: "es2023",
      rolldownOptions: { output: { codeSplitting: false } },
    },
  });
  return output[0].code;
}

/** Bundles the named functions, or all. */
export async function buildFunctions(names) {
  for (const name of names) {
    if (!Object.hasOwn(hosts, name)) {
      console.error(`error: Cannot bundle "${name}": there are ${hostNames.join(", ")}`);
      return 2;
    }
  }
  for (const name of names.length > 0 ? names : hostNames) {
    const { file, beside } = hosts[name];
    const folder = join(root, "dist/functions", name);
    rmSync(folder, { recursive: true, force: true });
    const code = await bundleFunction(name);
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), code);
    for (const [other, text] of Object.entries(beside)) writeFileSync(join(folder, other), text);
    let bytes = Buffer.from(code);
    if (name === "cloudflare") {
      copyFileSync(kernelsPath, join(folder, "kernels.wasm"));
      bytes = Buffer.concat([bytes, readFileSync(kernelsPath)]);
    }
    const sizes = `${(bytes.length / 1000).toFixed(0)} kB, ${(gzipSync(bytes).length / 1000).toFixed(0)} kB with gzip`;
    process.stdout.write(
      `dist/functions/${name}/${file}: ${sizes}${name === "cloudflare" ? ", kernels included" : ""}\n`,
    );
  }
  return 0;
}
