// Vercel Functions: docs/functions/vercel.md.

import { compileKernel } from "../src/kernel/kernel.ts";
import { createEdgeNode, edgeLimits } from "../src/remote/edge.ts";

const node = createEdgeNode({
  module: compileKernel(),
  runtime: `vercel ${process.version}`,
  limits: edgeLimits.vercel,
  env: process.env,
  fetch: (...all) => fetch(...all),
  now: () => performance.now(),
  today: () => Date.now(),
});

export default { fetch: (request: Request) => node(request, request.headers.get("x-real-ip")) };
