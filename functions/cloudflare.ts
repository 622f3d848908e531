// Cloudflare Workers: docs/functions/cloudflare.md.

import module from "../build/kernels.wasm";
import { createEdgeNode, type EdgeNode, edgeLimits } from "../src/remote/edge.ts";

const limits = edgeLimits.cloudflare;
const now = () => performance.now();
const today = () => Date.now();
let node: EdgeNode | undefined;

export default {
  fetch(request: Request, env: Record<string, string | undefined>) {
    node ??= createEdgeNode({ module, runtime: "workerd", limits, env, fetch: (...all) => fetch(...all), now, today });
    return node(request, request.headers.get("cf-connecting-ip"));
  },
};
